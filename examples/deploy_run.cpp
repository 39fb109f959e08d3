// Does by linking what `respeft train`, `eval`, `merge` and `export` do: trains a run, loads it, evaluates it, merges it with a
// certificate and writes a checked file. The data and the weights are random, so that the program runs anywhere.

#include <respeft/respeft.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

namespace {

using namespace respeft;
namespace fs = std::filesystem;

/// Writes `images` of 8 × 8 pixels in the layout of Fashion-MNIST. The label, 0 or 1, is the image's brightness.
void write_split(const fs::path& folder, const std::string& prefix, int images) {
  std::ofstream pixels(folder / (prefix + "-images-idx3-ubyte"), std::ios::binary);
  std::ofstream labels(folder / (prefix + "-labels-idx1-ubyte"), std::ios::binary);
  const auto number = [](std::ofstream& file, int value) {  // 32 bits, big endian
    for (const int shift : {24, 16, 8, 0}) file.put(static_cast<char>(value >> shift & 0xff));
  };
  for (const int value : {0x0803, images, 8, 8}) number(pixels, value);
  for (const int value : {0x0801, images}) number(labels, value);
  std::mt19937 random(1);
  for (int i = 0; i < images; ++i) {
    const int label = i % 2;
    labels.put(static_cast<char>(label));
    for (int pixel = 0; pixel < 64; ++pixel) pixels.put(static_cast<char>(random() % 96 + 128 * label));
  }
}

/// Fine-tunes a small ViT and leaves a run directory.
void train_run(const std::string& data, const std::string& out) {
  // docs begins: train
  runs::TrainConfig config;  // every member is a flag of `respeft train`
  config.model = "vit_tiny_patch16_224";
  config.image_size = 32;
  config.data = data;
  config.method = "rlrr";
  config.lr = 3e-3;
  config.epochs = 4;
  config.warmup_epochs = 0;
  config.batch_size = 8;
  config.out = out;
  train::Observer silent;  // override its functions to follow the training
  runs::run(runs::resolve(config), {}, silent);
  // docs ends
}

}  // namespace

int main() {
  const fs::path folder = "deploy-example";
  fs::remove_all(folder);
  fs::create_directories(folder / "data");
  write_split(folder / "data", "train", 64);
  write_split(folder / "data", "t10k", 32);
  const std::string directory = (folder / "run").string(), file = (folder / "model.pt").string();
  train_run("fashion-mnist:" + (folder / "data").string(), directory);

  // docs begins: deploy
  const runs::LoadedRun run = runs::load_run(directory);
  const auto test = data::open_dataset(run.data, data::Split::test, run.dataset_options(run.data));
  const double accuracy = runs::evaluate(run, test).accuracy();

  const Probe probe = runs::make_probe(run);                 // images to compare on, from the run's data
  const Merged merged = merge_certified(*run.model, probe);  // throws if the logits change by more than 1e-4
  export_checked(*run.model, exporting::find("torchscript"), file, run.export_info(), probe);

  runs::LoadOptions exported;
  exported.torchscript = file;
  const double accuracy_of_file = runs::evaluate(runs::load_run(exported), test).accuracy();
  // docs ends

  std::printf("accuracy %.1f %%, of the exported file %.1f %%; merging changed the logits by %.1e\n", 100.0 * accuracy,
              100.0 * accuracy_of_file, merged.comparison.relative_difference);
  return accuracy > 0.9 && accuracy == accuracy_of_file ? 0 : 1;
}
