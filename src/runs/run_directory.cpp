#include <respeft/runs/run_directory.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>

namespace respeft::runs {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw std::runtime_error(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

}  // namespace

void RunDirectory::create() const {
  std::error_code error;
  std::filesystem::create_directories(path_ / "checkpoint", error);
  if (error) throw std::runtime_error(fmt::format("{}: cannot make the run's directory: {}", path_.string(), error.message()));
  if (::access(path_.c_str(), W_OK | X_OK) != 0) fail(path_.string(), "cannot write to the run's directory");
}

void RunDirectory::remove_if_empty() const {
  std::error_code not_empty;
  for (const auto& folder : {path_ / "checkpoint", path_}) std::filesystem::remove(folder, not_empty);
}

void RunDirectory::begin(const TrainConfig& config) const {
  std::filesystem::remove(adapter_path());
  std::filesystem::remove(summary_path());
  formats::write_file(config_path(), to_toml(config));
}

data::DataFingerprint RunDirectory::kept_data() const {
  try {
    return data::data_fingerprint_from_json(formats::read_file(data_path()));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", data_path(), error.what()));
  }
}

void RunDirectory::check_data(const data::DataFingerprint& now) const {
  if (!has_checkpoint() || !std::filesystem::exists(data_path())) return;
  const auto changes = differences(kept_data(), now);
  if (changes.empty()) return;
  throw std::invalid_argument(
      fmt::format("cannot resume {}: its data have changed since it was started: {}", path_.string(), text::join(changes, "; ")));
}

void RunDirectory::keep_data(const data::DataFingerprint& now) const {
  formats::write_file(data_path(), data::to_json(now));
}

void RunDirectory::truncate_metrics(const train::RunProgress& progress) const {
  std::string kept;
  if (std::filesystem::exists(metrics_path())) {
    for (const auto& line : text::split(formats::read_file(metrics_path()), '\n')) {
      try {
        if (progress.contains(train::epoch_record_from_json(line))) kept += line + "\n";
      } catch (const std::runtime_error&) {
        break;  // a line cut short when the program was ended, of an epoch that is not in the checkpoint
      }
    }
  }
  formats::write_file(metrics_path(), kept);
}

void RunDirectory::append_metrics(const train::EpochRecord& record) const {
  const std::string line = to_json(record) + "\n";
  const int descriptor = ::open(metrics_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(metrics_path(), "cannot open");
  const bool written = ::write(descriptor, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  if (!written) fail(metrics_path(), "cannot write");
}

void RunDirectory::write_adapter(const adapters::AdapterFile& adapter) const {
  adapters::save_adapter(adapter_path(), adapter);
}

void RunDirectory::write_summary(const std::string& summary) const {
  formats::write_file(summary_path(), summary + "\n");
}

TrainConfig RunDirectory::read_config() const {
  namespace fs = std::filesystem;
  const std::string directory = path_.string();
  if (!fs::is_directory(path_)) throw std::runtime_error(directory + ": there is no such run directory");
  if (fs::exists(path_ / "suite.toml")) throw std::runtime_error(directory + ": holds a suite; give one of the runs in it");
  TrainConfig config;
  try {
    config = runs::read_config(config_path());
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(error.what());
  }
  const fs::path moved = path_ / fs::path(config.weights).filename();
  if (!fs::exists(config.weights) && fs::is_regular_file(moved)) config.weights = moved.string();
  return config;
}

TrainedRun RunDirectory::read() const {
  TrainConfig config = read_config();
  if (!has_adapter()) return read_checkpoint(std::move(config));
  TrainedRun run;
  run.config = std::move(config);
  run.adapter = adapters::load_adapter(adapter_path());
  run.files = {config_path(), adapter_path()};
  return run;
}

TrainedRun RunDirectory::read_checkpoint(TrainConfig config) const {
  const std::string directory = path_.string();
  if (!has_checkpoint() && std::filesystem::exists(summary_path()))
    throw std::runtime_error(fmt::format("{0}: holds several runs; give one of them, e.g. {0}/seed-N", directory));
  if (!has_checkpoint()) {
    throw std::runtime_error(
        directory + ": the run has trained no epoch: it has neither adapter.safetensors nor a checkpoint (train with --resume)");
  }
  train::Checkpoint checkpoint = load();
  TrainedRun run;
  run.finished = false;
  run.epochs = checkpoint.progress.epochs;
  run.frozen_sha256 = checkpoint.frozen_sha256;
  run.files = {config_path(), checkpoint_path()};
  constexpr std::string_view kTrained = "trained/", kAverage = "ema/";
  for (const auto& [key, tensor] : checkpoint.tensors) {
    if (key.starts_with(kTrained)) run.adapter.tensors.emplace(key.substr(kTrained.size()), tensor);
  }
  for (const auto& [key, tensor] : checkpoint.tensors) {
    if (key.starts_with(kAverage)) run.adapter.tensors[key.substr(kAverage.size())] = tensor;
  }
  auto& info = run.adapter.info;
  info.method = config.method;
  info.model = config.model;
  info.options = config.method_options;
  info.preprocessing = config.preprocessing();
  if (std::filesystem::exists(data_path())) info.class_names = kept_data().class_names;
  info.pool = config.pool;
  run.config = std::move(config);
  return run;
}

}  // namespace respeft::runs
