#include "src/cli/datasets.h"

#include <fmt/format.h>

#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

data::Split parse_split(const std::string& name) {
  try {
    return data::split_from_name(name);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("--split: {}", error.what()));
  }
}

}  // namespace

void DataFlags::declare(CLI::App& app, const std::string& limit_flag, const std::string& limit_help) {
  std::vector<std::string> kinds;
  for (const auto& kind : data::dataset_kinds()) kinds.push_back(kind.name + ":PATH");
  const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
    return app.add_option(flag, value, help)->type_name(type)->group("Data");
  };
  add("--data", data, "KIND:PATH", text::join(kinds, ", ") + "; default: the run's");
  add("--split", split, "NAME", "train, val, trainval (both) or test")->default_str("test");
  add("--shares", shares, "X,…", "how a folder of classes is split: see train's --split; default: as in the run");
  add(limit_flag, limit, "N", limit_help);
  add("--workers", workers, "N", "threads that decode images ahead of the computation")->default_str("2");
}

void DataFlags::check() const {
  if (limit < 0) throw std::invalid_argument("the number of images must be at least 1");
  if (workers < 0) throw std::invalid_argument("--workers: must be at least 0");
  parse_split(split);
}

data::DatasetPtr DataFlags::open(const runs::LoadedRun& run) const {
  check();
  const std::string& spec = data.empty() ? run.data : data;
  if (spec.empty()) throw std::invalid_argument("which images? Give --data KIND:PATH");
  auto dataset =
      data::open_dataset(spec, parse_split(split), shares.empty() ? run.dataset_options(spec) : data::DatasetOptions{shares});
  runs::check_classes(run, *dataset);
  return limit > 0 ? data::sample(dataset, limit) : dataset;
}

}  // namespace respeft::cli
