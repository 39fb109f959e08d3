#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <respeft/adapters/adapter_file.h>
#include <respeft/data/image/fingerprint.h>
#include <respeft/runs/config.h>
#include <respeft/train/checkpoint.h>
#include <respeft/train/record.h>

namespace respeft::runs {

/// The trained tensors of a run so far, with their information.
struct TrainedRun {
  TrainConfig config;
  adapters::AdapterFile adapter;
  std::vector<std::string> files;  ///< that this was read from
  bool finished = true;            ///< false: taken from the checkpoint
  int64_t epochs = 0;              ///< that the checkpoint holds, where the run has not finished
  std::string frozen_sha256;       ///< of the base that the checkpoint was made on; empty where the run has finished
};

/// The files of one run, by the names other programs rely on.
class RunDirectory {
 public:
  explicit RunDirectory(const std::string& path) : path_(path) {}

  /// Makes the directory and makes sure that it can be written to. Throws `std::runtime_error` with the system's reason.
  void create() const;
  /// Takes the directory away again while nothing lies in it.
  void remove_if_empty() const;
  bool has_config() const { return std::filesystem::exists(config_path()); }
  bool has_checkpoint() const { return std::filesystem::exists(checkpoint_path()); }
  /// True if the run has finished.
  bool has_adapter() const { return std::filesystem::exists(adapter_path()); }
  /// True if a new run would destroy results.
  bool has_results() const { return has_checkpoint() || has_adapter(); }

  std::string config_path() const { return file("config.toml"); }
  std::string checkpoint_path() const { return file("checkpoint/state.safetensors"); }
  std::string data_path() const { return file("checkpoint/data.json"); }
  std::string adapter_path() const { return file("adapter.safetensors"); }
  std::string summary_path() const { return file("summary.json"); }
  std::string metrics_path() const { return file("metrics.jsonl"); }
  std::string random_base_path() const { return file("base.safetensors"); }

  /// Writes the configuration and removes the files of a finished run.
  void begin(const TrainConfig& config) const;
  /// Throws `std::invalid_argument` that names the changes if there is a checkpoint of other data. A run without
  /// `checkpoint/data.json` is accepted.
  void check_data(const data::DataFingerprint& now) const;
  void keep_data(const data::DataFingerprint& now) const;
  /// Keeps the lines of the training up to `progress`.
  void truncate_metrics(const train::RunProgress& progress) const;
  void append_metrics(const train::EpochRecord& record) const;
  void save(const train::Checkpoint& checkpoint) const { train::save_checkpoint(checkpoint_path(), checkpoint); }
  train::Checkpoint load() const { return train::load_checkpoint(checkpoint_path()); }
  void write_adapter(const adapters::AdapterFile& adapter) const;
  void write_summary(const std::string& summary) const;

  /// The run's configuration. Weights that are no longer at their path are looked for in the directory, so that a run can be
  /// moved with its weights. Throws `std::runtime_error` that names the file and the fault, also if the directory holds a suite
  /// or several runs.
  TrainConfig read_config() const;
  /// The run's adapter or, if it has not finished, the trained parameters of its checkpoint (their moving average, if there is
  /// one). Throws `std::runtime_error` that names the file and the fault, also if there is neither.
  TrainedRun read() const;

 private:
  std::string file(const char* name) const { return (path_ / name).string(); }
  data::DataFingerprint kept_data() const;
  TrainedRun read_checkpoint(TrainConfig config) const;

  std::filesystem::path path_;
};

}  // namespace respeft::runs
