#include <png.h>

#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

const std::vector<std::string> class_names = {"ant", "bee", "cat", "dog", "eel", "fox", "gnu"};

/// An image folder whose test split has two noise images of the model's size for each class, and what the model should see
/// of them: `(value / 255 - 0.5) / 0.5`.
struct NoiseImages {
  std::string folder;
  std::vector<std::string> paths;
  at::Tensor pixels;  ///< `[14, 3, S, S]`
  at::Tensor labels;  ///< int64 `[14]`

  explicit NoiseImages(const Folder& parent) : folder(parent / "noise") {
    std::vector<at::Tensor> images;
    std::vector<int64_t> classes;
    for (size_t c = 0; c < class_names.size(); ++c) {
      for (int n = 0; n < 2; ++n) {
        const at::Tensor values = at::randint(256, {kSize, kSize, 3}, at::kByte);
        const std::string place = folder + "/test/" + class_names[c];
        std::filesystem::create_directories(place);
        paths.push_back(place + "/" + std::to_string(n) + ".png");
        write_png(paths.back(), values);
        images.push_back((values.to(at::kFloat) / 255 - 0.5) / 0.5);
        classes.push_back(static_cast<int64_t>(c));
      }
    }
    pixels = at::stack(images).permute({0, 3, 1, 2}).contiguous();
    labels = at::tensor(classes);
  }

  static void write_png(const std::string& path, const at::Tensor& values) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = image.height = kSize;
    image.format = PNG_FORMAT_RGB;
    ASSERT_TRUE(png_image_write_to_file(&image, path.c_str(), 0, values.data_ptr(), 0, nullptr));
  }
};

/// The model's logits for the noise images.
at::Tensor logits_of(const SmallModel& small, const NoiseImages& noise) {
  formats::save_safetensors(small.pixels(), {{"pixels", noise.pixels}});
  return small.predict({"--weights", small.base(), "--adapter", small.adapter()});
}

TEST(PredictImages, AreNormalizedAsTheWeightsFolderSays) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  auto tensors = formats::SafetensorsFile(small.base()).tensors();
  tensors["head.weight"] = at::randn({kClasses, 192});
  const std::string weights = small.folder / "weights.safetensors";
  formats::save_safetensors(weights, tensors);
  const auto predict = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"predict", "--model", kModel, "--image-size", "32", "--weights", weights, noise.paths[0]});
    const Outcome outcome = run(more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  };
  const std::string half = predict({}), imagenet = predict({"--mean", "imagenet", "--std", "imagenet"});
  EXPECT_NE(half, imagenet);
  small.folder.write("preprocessor_config.json", R"({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})");
  EXPECT_EQ(predict({}), imagenet);
  EXPECT_EQ(predict({"--mean", "half", "--std", "half"}), half);
}

TEST(Eval, AccuracyAndLossAreThoseOfTheLogits) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const at::Tensor logits = logits_of(small, noise);
  const Outcome outcome = run({"eval", "--weights", small.base(), "--adapter", small.adapter(), "--data",
                               "imagefolder:" + noise.folder, "--batch-size", "4", "--per-class", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto result = outcome.json();
  EXPECT_EQ(result["images"], 14);
  EXPECT_NEAR(result["accuracy"].get<double>(), (logits.argmax(1) == noise.labels).to(at::kDouble).mean().item<double>(), 1e-12);
  EXPECT_NEAR(result["loss"].get<double>(), at::cross_entropy_loss(logits, noise.labels).item<double>(), 1e-4);
  ASSERT_EQ(result["classes"].size(), 7u);
  EXPECT_EQ(result["classes"][2]["class"], "cat");
  EXPECT_EQ(result["classes"][2]["images"], 2);
  const Outcome text = run({"eval", "--weights", small.base(), "--adapter", small.adapter(), "--data",
                            "imagefolder:" + noise.folder, "--limit", "5", "--per-class"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("accuracy"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("5 of them drawn evenly from the classes"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find("images/s"), std::string::npos) << "a rate of a single batch: " << text.out;
}

/// Sorted by class, the first five images would be of three classes.
TEST(Eval, ALimitTakesImagesOfEveryClass) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const Outcome outcome = run({"eval", "--weights", small.base(), "--adapter", small.adapter(), "--data",
                               "imagefolder:" + noise.folder, "--limit", "7", "--per-class", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto report = outcome.json();
  for (const auto& one : report["classes"]) EXPECT_EQ(one["images"], 1) << one;
  EXPECT_TRUE(report["images_per_second"].is_null());
}

TEST(Eval, TablesAlignWideAndCombiningCharacters) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const std::string wide = "熊猫", combining = "re\u0301mi", weights = small.folder / "plain.safetensors";
  std::filesystem::rename(noise.folder + "/test/fox", noise.folder + "/test/" + wide);
  std::filesystem::rename(noise.folder + "/test/eel", noise.folder + "/test/" + combining);
  auto tensors = formats::SafetensorsFile(small.base()).tensors();
  tensors["head.weight"] = at::randn({kClasses, 192});
  formats::save_safetensors(weights, tensors);
  const Outcome outcome = run({"eval", "--model", kModel, "--image-size", "32", "--weights", weights, "--data",
                               "imagefolder:" + noise.folder, "--per-class"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  // "class" is as wide as any name: 熊猫 takes four columns, rémi four, so that each has one blank more than "class".
  for (const auto& name : {wide, combining}) {
    EXPECT_NE(outcome.out.find("\n" + name + "        2"), std::string::npos) << outcome.out;
  }
  EXPECT_NE(outcome.out.find("\nclass  images"), std::string::npos) << outcome.out;
}

TEST(Eval, MissingSplitAndForeignClassesAreRefused) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const std::vector<std::string> flags = {"eval", "--weights", small.base(), "--adapter", small.adapter(), "--data"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), flags.begin(), flags.end());
    return run(more);
  };
  expect_error(with({"imagefolder:" + noise.folder, "--split", "val"}), 1, {noise.folder});
  expect_error(with({"imagefolder:" + noise.folder, "--split", "tset"}), 2, {"did you mean 'test'"});
  expect_error(with({"imagefoldr:" + noise.folder}), 2, {"did you mean 'imagefolder'"});
  std::filesystem::rename(noise.folder + "/test/fox", noise.folder + "/test/frog");
  expect_error(with({"imagefolder:" + noise.folder}), 2, {"'fox'", "'frog'"});
  std::filesystem::remove_all(noise.folder + "/test/frog");
  expect_error(with({"imagefolder:" + noise.folder}), 2, {"7 classes", "6"});
}

TEST(PredictImages, PrintsTheLikeliestClasses) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const at::Tensor probabilities = logits_of(small, noise).softmax(1);
  const std::string script = small.folder / "model.pt";
  ASSERT_EQ(run({"export", "--weights", small.base(), "--adapter", small.adapter(), "--out", script}).status, 0);
  for (const std::vector<std::string>& model :
       {std::vector<std::string>{"--weights", small.base(), "--adapter", small.adapter()}, {"--torchscript", script}}) {
    std::vector<std::string> arguments = {"predict", noise.paths[0], noise.paths[9], "--top", "2", "--json"};
    arguments.insert(arguments.end(), model.begin(), model.end());
    const Outcome outcome = run(arguments);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto result = outcome.json();
    ASSERT_EQ(result.size(), 2u);
    EXPECT_EQ(result[1]["image"], noise.paths[9]);
    ASSERT_EQ(result[1]["predictions"].size(), 2u);
    const auto best = probabilities[9].argmax().item<int64_t>();
    EXPECT_EQ(result[1]["predictions"][0]["index"], best);
    EXPECT_EQ(result[1]["predictions"][0]["class"], class_names[static_cast<size_t>(best)]);
    EXPECT_NEAR(result[1]["predictions"][0]["probability"].get<double>(), probabilities[9][best].item<double>(), 1e-4);
  }
}

TEST(PredictImages, FlagsSayHowImagesAreCropped) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const std::string script = small.folder / "cropping.pt", side = std::to_string(kSize + 8);
  const std::vector<std::string> model = {"--weights", small.base(), "--adapter", small.adapter()};
  const auto first = [&](std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()[0]["predictions"][0]["probability"].get<double>();
  };
  const std::vector<std::string> predict = {"predict", noise.paths[0], "--json", "--resize-size", side};
  const std::vector<std::string> plain = {"predict", noise.paths[0], "--json"};
  std::vector<std::string> exporting = {"export", "--out", script, "--resize-size", side};
  exporting.insert(exporting.end(), model.begin(), model.end());
  ASSERT_EQ(run(exporting).status, 0);
  EXPECT_GT(std::abs(first(predict, model) - first(plain, model)), 1e-4);
  EXPECT_NEAR(first(predict, model), first(plain, {"--torchscript", script}), 1e-4);
  expect_error(run({"predict", noise.paths[0], "--torchscript", script, "--resize-size", "5"}), 2, {"resize_size", "5"});
  expect_error(run({"predict", noise.paths[0], "--torchscript", script, "--resize-size", "-5"}), 2, {"--resize-size", "-5"});
  expect_error(run({"predict", noise.paths[0], "--torchscript", script, "--resize-mode", "squish"}), 2,
               {"--resize-mode", "did you mean 'squash'"});
}

TEST(PredictImages, ACorruptImageIsNamed) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const std::string cut = small.folder / "cut.png";
  write_text(cut, read_text(noise.paths[0]).substr(0, 400));
  expect_error(run({"predict", "--weights", small.base(), "--adapter", small.adapter(), cut}), 1, {cut});
}

TEST(MergeOnData, ReportsAccuracyBeforeAndAfter) {
  const SmallModel small;
  const NoiseImages noise(small.folder);
  const double accuracy = (logits_of(small, noise).argmax(1) == noise.labels).to(at::kDouble).mean().item<double>();
  const Outcome outcome = run({"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out",
                               small.folder / "m.safetensors", "--data", "imagefolder:" + noise.folder, "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto comparison = outcome.json()["comparison"];
  EXPECT_EQ(comparison["images"], 14);
  EXPECT_NEAR(comparison["accuracy_before"].get<double>(), accuracy, 1e-12);
  EXPECT_NEAR(comparison["accuracy_after"].get<double>(), accuracy, 1e-12);
}

}  // namespace
}  // namespace respeft::test
