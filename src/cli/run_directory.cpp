#include "src/cli/run_directory.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <filesystem>
#include <stdexcept>

#include <respeft/formats/file.h>

namespace respeft::cli {

RunDirectory read_run(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) throw std::runtime_error(directory + ": there is no such run directory");
  RunDirectory run;
  run.config = (fs::path(directory) / "config.toml").string();
  run.adapter = (fs::path(directory) / "adapter.safetensors").string();
  if (fs::exists(fs::path(directory) / "suite.toml"))
    throw std::runtime_error(fmt::format("{}: holds a suite; give one of the runs in it", directory));
  const std::string content = formats::read_file(run.config);
  if (!fs::exists(run.adapter) && fs::exists(fs::path(directory) / "summary.json")) {
    throw std::runtime_error(fmt::format("{0}: holds several runs; give one of them, e.g. {0}/seed-N", directory));
  }
  if (!fs::exists(run.adapter)) {
    throw std::runtime_error(directory + ": the run has not finished: it has no adapter.safetensors (train with --resume)");
  }
  try {
    const toml::table config = toml::parse(content);
    const auto text = [&](const char* key) { return config[key].value_or(std::string()); };
    run.model = text("model");
    run.weights = text("weights");
    run.pool = text("pool");
    run.data = text("data");
    run.split = text("split");
    run.image_size = config["image_size"].value<int64_t>();
  } catch (const toml::parse_error& error) {
    throw std::runtime_error(fmt::format("{}:{}: {}", run.config, error.source().begin.line, error.description()));
  }
  const fs::path moved = fs::path(directory) / fs::path(run.weights).filename();
  if (!fs::exists(run.weights) && fs::is_regular_file(moved)) run.weights = moved.string();  // the run was moved with its weights
  if (run.image_size && *run.image_size <= 0) run.image_size.reset();
  return run;
}

}  // namespace respeft::cli
