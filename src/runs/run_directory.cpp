#include "src/runs/run_directory.h"

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

void RunDirectory::check_data(const data::DataFingerprint& now) const {
  if (!has_checkpoint() || !std::filesystem::exists(data_path())) return;
  data::DataFingerprint before;
  try {
    before = data::data_fingerprint_from_json(formats::read_file(data_path()));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", data_path(), error.what()));
  }
  const auto changes = differences(before, now);
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

void RunDirectory::save(const train::Checkpoint& checkpoint) const {
  train::save_checkpoint(checkpoint_path(), checkpoint);
}

void RunDirectory::write_adapter(const adapters::AdapterFile& adapter) const {
  adapters::save_adapter(adapter_path(), adapter);
}

void RunDirectory::write_summary(const std::string& summary) const {
  formats::write_file(summary_path(), summary + "\n");
}

}  // namespace respeft::runs
