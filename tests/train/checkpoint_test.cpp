#include <respeft/train/checkpoint.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace respeft::train {
namespace {

// The run directories in tests/golden were written by version 0.1.0.
TEST(Checkpoint, OfEarlierVersionsIsRead) {
  int64_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden")) {
    if (!entry.is_directory()) continue;
    const Checkpoint checkpoint = load_checkpoint((entry.path() / "checkpoint/state.safetensors").string());
    EXPECT_EQ(checkpoint.progress.epochs, 2) << entry.path();
    EXPECT_TRUE(checkpoint.tensors.contains("generator")) << entry.path();
    std::ifstream metrics(entry.path() / "metrics.jsonl");
    std::optional<EpochRecord> last;
    for (std::string line; std::getline(metrics, line);) last = epoch_record_from_json(line);
    EXPECT_EQ(checkpoint.progress.last, last) << entry.path();
    EXPECT_TRUE(last->evaluation->metrics.contains("accuracy")) << entry.path();
    EXPECT_EQ(last->evaluation->unit, "images") << entry.path();
    ++found;
  }
  EXPECT_GE(found, 10) << "run from the project's root";
}

}  // namespace
}  // namespace respeft::train
