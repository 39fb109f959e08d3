#include <png.h>

#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

/// KITTI (4 classes) in VTAB-1k's layout, with four different images a split.
struct SmallKitti {
  Folder folder;

  SmallKitti() {
    int value = 0;
    for (const std::string split : {"train800", "val200", "test"}) {
      std::string lines;
      for (int label = 0; label < 4; ++label, ++value) {
        const std::string name = "images/" + split + "/" + std::to_string(label) + ".png";
        folder.write("kitti/" + name, "");
        write_png(folder / ("kitti/" + name), value);
        lines += name + " " + std::to_string(label) + "\n";
      }
      folder.write("kitti/" + split + ".txt", lines);
    }
  }
  std::string root() const { return folder / "kitti"; }
  std::string data() const { return "vtab:" + root(); }

  static void write_png(const std::string& path, int value) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = 8, image.height = 6, image.format = PNG_FORMAT_RGB;
    const std::vector<uint8_t> pixels(8 * 6 * 3, static_cast<uint8_t>(value));
    ASSERT_TRUE(png_image_write_to_file(&image, path.c_str(), 0, pixels.data(), 0, nullptr));
  }
};

/// The messages of these findings.
std::string messages(const nlohmann::json& document, const std::string& severity) {
  std::string text;
  for (const auto& finding : document["findings"]) {
    if (finding["severity"] == severity)
      text += finding["check"].get<std::string>() + ": " + finding["message"].get<std::string>() + "\n";
  }
  return text;
}

void expect_contains(const std::string& text, const std::vector<std::string>& parts) {
  for (const auto& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}

TEST(Doctor, ASoundDataSetExitsWithZero) {
  const SmallKitti kitti;
  const Outcome outcome = run({"doctor", "--data", kitti.data(), "--any-size"});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  expect_contains(outcome.out, {"VTAB-1k's kitti (" + kitti.data() + ")", "stored as  12 PNG RGB", "8×6", "Nothing is wrong."});
  const Outcome json = run({"doctor", "--data", kitti.data(), "--any-size", "--json"});
  EXPECT_EQ(json.status, 0);
  const auto document = json.json();
  EXPECT_EQ(document["ok"], true);
  EXPECT_TRUE(document["findings"].empty());
  EXPECT_EQ(document["data"]["splits"][2]["split"], "test");
  EXPECT_EQ(document["data"]["splits"][2]["published"], 711);
  EXPECT_EQ(document["data"]["splits"][2]["class_images"], (std::vector<int>{1, 1, 1, 1}));
}

TEST(Doctor, ErrorsAreAllPrintedAndExitWithOne) {
  const SmallKitti kitti;
  std::vector<std::string> expected = {"error: 11 images missing or unreadable", "test: 4 images; VTAB-1k's kitti has 711",
                                       "2 errors, 0 warnings."};
  for (const std::string name : {"train800/0", "train800/1", "train800/2", "test/0", "test/1", "test/2", "test/3"}) {
    std::filesystem::remove(kitti.root() + "/images/" + name + ".png");
    expected.push_back("/images/" + name + ".png: No such file");
  }
  for (const std::string name : {"0", "1", "2", "3"}) {
    write_text(kitti.root() + "/images/val200/" + name + ".png", "not an image");
    expected.push_back("/images/val200/" + name + ".png: neither a JPEG nor a PNG image");
  }
  const Outcome outcome = run({"doctor", "--data", kitti.data(), "--allow-warnings"});
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  expect_contains(outcome.out, expected);
  EXPECT_EQ(outcome.out.find("more; --json"), std::string::npos) << outcome.out;
}

TEST(Doctor, WarningsExitWithOneUnlessAllowed) {
  const SmallKitti kitti;
  SmallKitti::write_png(kitti.root() + "/images/test/2.png", 1);  // the training image of class 1
  const std::vector<std::string> arguments = {"doctor", "--data", kitti.data(), "--any-size"};
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  expect_contains(outcome.out, {"warning: 1 picture occurs in several splits", "train800/1.png (label 1) = test",
                                "warning: 1 picture occurs with different labels", "0 errors, 2 warnings."});
  auto allowed = arguments;
  allowed.insert(allowed.end(), {"--allow-warnings", "--json"});
  const Outcome fine = run(allowed);
  EXPECT_EQ(fine.status, 0) << fine.err;
  EXPECT_EQ(fine.json()["ok"], true);
  expect_contains(messages(fine.json(), "warning"), {"duplicates: 1 picture occurs in several splits"});
}

TEST(Doctor, WeightsAreComparedWithModelDataAndNormalization) {
  const SmallKitti kitti;
  const SmallModel small;
  const auto doctor = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"doctor", "--weights", small.base()});
    return run(more);
  };
  const Outcome fits = doctor({"--model", kModel, "--image-size", "32"});
  EXPECT_EQ(fits.status, 0) << fits.out << fits.err;
  expect_contains(fits.out,
                  {"layout", "timm", "150 match, 0 missing, 2 without a place", "left out  ", "head.weight", "is not known"});

  const Outcome with_data = doctor({"--model", kModel, "--image-size", "64", "--data", kitti.data(), "--any-size", "--json"});
  EXPECT_EQ(with_data.status, 0) << with_data.out << with_data.err;
  expect_contains(messages(with_data.json(), "note"),
                  {"the file's head of 7 classes is left out: the data have 4", "resampled from 2×2 to 4×4 patches"});
  EXPECT_EQ(with_data.json()["weights"]["matched"].size(), 150u);
  EXPECT_EQ(with_data.json()["weights"]["loads"], true);

  const std::string tagged = std::string(kModel) + ".dino";
  const Outcome taken = doctor({"--model", tagged, "--image-size", "32"});
  EXPECT_EQ(taken.status, 0) << "training takes the weights' normalization";
  expect_contains(taken.out, {"normalized", "mean 0.485,0.456,0.406"});
  const Outcome foreign = doctor({"--model", tagged, "--image-size", "32", "--mean", "half", "--std", "half"});
  EXPECT_EQ(foreign.status, 1);
  expect_contains(foreign.out, {"warning: the weights were trained with mean 0.485,0.456,0.406", "--std 0.229,0.224,0.225"});
  EXPECT_EQ(doctor({"--model", tagged, "--image-size", "32", "--mean", "imagenet", "--std", "imagenet"}).status, 0);

  const Outcome other = doctor({"--model", "vit_tiny_patch32_224", "--image-size", "32", "--json"});
  EXPECT_EQ(other.status, 1);
  expect_contains(messages(other.json(), "error"),
                  {"its patches are 16 pixels a side, the model's 32", "it looks made for vit_tiny_patch16_224"});

  formats::save_safetensors(kitti.folder / "nan.safetensors", {{"norm.weight", at::full({3}, NAN)}});
  expect_contains(run({"doctor", "--weights", kitti.folder / "nan.safetensors", "--model", kModel}).out,
                  {"infinite or not a number in 1 of its tensors", "  norm.weight"});
  const Outcome both =
      run({"doctor", "--data", kitti.data(), "--any-size", "--weights", kitti.folder / "none", "--model", kModel});
  EXPECT_EQ(both.status, 1);
  expect_contains(both.out, {"images     12", "error: cannot read " + kitti.folder / "none" + ": No such file"});

  formats::save_safetensors(kitti.folder / "foreign.safetensors", {{"conv1.weight", at::zeros({3})}});
  const Outcome unknown =
      run({"doctor", "--weights", kitti.folder / "foreign.safetensors", "--model", kModel, "--image-size", "32"});
  EXPECT_EQ(unknown.status, 1);
  expect_contains(unknown.out, {"not recognized", "0 match, 150 missing, 1 without a place", "'conv1.weight' has no place in"});
}

TEST(Doctor, WrongArgumentsAreRefused) {
  const SmallKitti kitti;
  expect_error(run({"doctor"}), 2, {"--data", "--weights"});
  expect_error(run({"doctor", "--weights", "w.safetensors"}), 2, {"--model"});
  expect_error(run({"doctor", "--data", "vtab:" + kitti.folder.path()}), 2, {"which dataset?", "kitti"});
  expect_error(run({"doctor", "--data", kitti.data() + "y"}), 1, {"no such folder", "did you mean 'kitti'"});
  expect_error(run({"doctor", "--data", kitti.data(), "--workers", "-1"}), 2, {"--workers"});
  expect_error(run({"doctor", "--weights", "none.safetensors", "--model", kModel}), 1, {"none.safetensors"});
}

}  // namespace
}  // namespace respeft::test
