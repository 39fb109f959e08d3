#include <respeft/train/checkpoint.h>

#include <fmt/format.h>

#include <stdexcept>

namespace respeft::train {
namespace {

constexpr const char* kFormat = "respeft-checkpoint-1";

const std::string& metadata_value(const formats::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) throw std::runtime_error(fmt::format("{}: no '{}' in the metadata", file.path(), key));
  return found->second;
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  formats::save_safetensors(
      path, checkpoint.tensors,
      {{"format", kFormat}, {"progress", to_json(checkpoint.progress)}, {"frozen_sha256", checkpoint.frozen_sha256}});
}

Checkpoint load_checkpoint(const std::string& path) {
  const formats::SafetensorsFile file(path);
  if (metadata_value(file, "format") != kFormat)
    throw std::runtime_error(fmt::format("{}: not a checkpoint of this version (format '{}', expected '{}')", path,
                                         metadata_value(file, "format"), kFormat));
  Checkpoint checkpoint;
  try {
    checkpoint.progress = run_progress_from_json(metadata_value(file, "progress"));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: bad 'progress' in the metadata: {}", path, error.what()));
  }
  // Version 0.1.0 called it `base_sha256`, which in an adapter file is the hash of the weights file.
  checkpoint.frozen_sha256 = metadata_value(file, file.metadata().contains("frozen_sha256") ? "frozen_sha256" : "base_sha256");
  checkpoint.tensors = file.tensors();
  return checkpoint;
}

}  // namespace respeft::train
