// Augments images for test_augment.py to compare. One job a line on stdin, its fields separated by tabs:
//   apply IN OUT NAME ARGUMENT FILTER R,G,B     an operation of RandAugment; OUT becomes a binary PPM
//   policy CONFIG SEED COUNT                    prints the steps for COUNT images: NAME:ARGUMENT:FILTER, images separated by '|'
//   train IN OUT SIZE SEED CONFIG PROBABILITY   OUT becomes raw float32 [3, SIZE, SIZE] after ImageNet's normalization: flipped
//                                               by chance, RandAugment as CONFIG says, erased with PROBABILITY; prints
//                                               whether flipped, '|' and the steps, as in policy
//   boxes HEIGHT WIDTH SEED COUNT PROBABILITY RECTANGLES    prints random erasing's boxes for COUNT images, as in policy
//   erase OUT SIZE SEED MODE                    OUT becomes raw float32 [3, SIZE, SIZE]: ones, erased
//   mixes MIXUP CUTMIX PROB SWITCH_PROB HEIGHT WIDTH SEED COUNT     prints draws for COUNT batches: LAM, or
//                                                                   LAM:TOP:BOTTOM:LEFT:RIGHT, separated by blanks
//   mix IN OUT LAM TOP:BOTTOM:LEFT:RIGHT|- CLASSES SMOOTHING        IN holds `images` and `labels`; OUT gets `images`, `targets`
//   ema IN OUT DECAY                            IN holds `steps [T, N]`: a parameter at first and after each step; OUT gets `ema`
// and one line a job on stdout: what was asked for, `ok`, or `error` and the message.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <respeft/data/image/augment.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/mixup.h>
#include <respeft/data/image/transforms.h>
#include <respeft/formats/safetensors.h>
#include <respeft/train/ema.h>

#include <respeft/core/text.h>

namespace {

using namespace respeft::data;
using Job = std::vector<std::string>;

void write_floats(const std::string& path, const std::vector<float>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

std::string apply(const Job& job) {
  const auto color = respeft::text::split(job.at(6), ',');
  Rgb fill;
  for (size_t c = 0; c < 3; ++c) fill[c] = static_cast<uint8_t>(std::stoi(color.at(c)));
  const RandAugment augment("rand", fill);
  const Image image =
      augment.apply(read_image(job.at(1)), {operation_from_name(job.at(3)), std::stod(job.at(4)), filter_from_name(job.at(5))});
  std::ofstream file(job.at(2), std::ios::binary);
  file << "P6\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
  return "ok";
}

std::string draw_steps(const RandAugment& augment, std::mt19937_64& generator) {
  std::string text;
  for (const auto& step : augment.draw(generator)) {
    text += fmt::format("{}:{}:{} ", to_string(step.operation), step.argument,
                        step.filter == Filter::bicubic ? "bicubic" : "bilinear");
  }
  return text;
}

std::string policy(const Job& job) {
  const RandAugment augment(job.at(1));
  std::mt19937_64 generator(std::stoull(job.at(2)));
  std::string text;
  for (int i = 0; i < std::stoi(job.at(3)); ++i) text += draw_steps(augment, generator) + "|";
  return text;
}

std::string train(const Job& job) {
  const respeft::data::Preprocessing imagenet{{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, std::stoll(job.at(3)), "bicubic"};
  TransformOptions options;
  options.random_flip = true;
  options.rand_augment = std::make_shared<RandAugment>(job.at(5), fill_color(imagenet.mean));
  options.random_erasing = std::make_shared<RandomErasing>(RandomErasingOptions{.probability = std::stod(job.at(6))});
  std::vector<float> out(static_cast<size_t>(3 * imagenet.size * imagenet.size));
  std::mt19937_64 generator(std::stoull(job.at(4)));
  Transform(imagenet, options).apply(read_image(job.at(1)), generator, out.data());
  write_floats(job.at(2), out);
  std::mt19937_64 same(std::stoull(job.at(4)));
  const bool flipped = (same() >> 63) != 0;
  return fmt::format("{}|{}", flipped ? 1 : 0, draw_steps(*options.rand_augment, same));
}

std::string boxes(const Job& job) {
  const int64_t rectangles = std::stoll(job.at(6));
  const RandomErasing erasing({.probability = std::stod(job.at(5)), .min_count = 1, .max_count = rectangles});
  std::mt19937_64 generator(std::stoull(job.at(3)));
  std::string text;
  for (int i = 0; i < std::stoi(job.at(4)); ++i) {
    for (const auto& box : erasing.draw(std::stoll(job.at(1)), std::stoll(job.at(2)), generator))
      text += fmt::format("{}:{}:{}:{} ", box.top, box.left, box.height, box.width);
    text += "|";
  }
  return text;
}

std::string erase(const Job& job) {
  const int64_t size = std::stoll(job.at(2));
  std::vector<float> out(static_cast<size_t>(3 * size * size), 1.0f);
  std::mt19937_64 generator(std::stoull(job.at(3)));
  RandomErasing({.probability = 1.0, .mode = job.at(4)})(out.data(), size, size, generator);
  write_floats(job.at(1), out);
  return "ok";
}

std::string mixes(const Job& job) {
  const respeft::data::Mixup mixup({.mixup_alpha = std::stod(job.at(1)),
                                    .cutmix_alpha = std::stod(job.at(2)),
                                    .prob = std::stod(job.at(3)),
                                    .switch_prob = std::stod(job.at(4))});
  std::mt19937_64 generator(std::stoull(job.at(7)));
  std::string text;
  for (int i = 0; i < std::stoi(job.at(8)); ++i) {
    const auto how = mixup.draw(std::stoll(job.at(5)), std::stoll(job.at(6)), generator);
    text += fmt::format("{}", how.lam);
    if (how.box) text += fmt::format(":{}:{}:{}:{}", how.box->top, how.box->bottom, how.box->left, how.box->right);
    text += " ";
  }
  return text;
}

std::string mix(const Job& job) {
  const respeft::formats::SafetensorsFile in(job.at(1));
  respeft::data::Mix how{.lam = std::stod(job.at(3))};
  if (job.at(4) != "-") {
    const auto box = respeft::text::split(job[4], ':');
    how.box = respeft::data::Mix::Box{std::stoll(box.at(0)), std::stoll(box.at(1)), std::stoll(box.at(2)), std::stoll(box.at(3))};
  }
  at::Tensor images = in.tensor("images");
  respeft::data::mix(images, how);
  const auto targets = respeft::data::mixed_targets(in.tensor("labels"), std::stoll(job.at(5)), how.lam, std::stod(job.at(6)));
  respeft::formats::save_safetensors(job.at(2), {{"images", images}, {"targets", targets}});
  return "ok";
}

std::string ema(const Job& job) {
  const at::Tensor steps = respeft::formats::SafetensorsFile(job.at(1)).tensor("steps");
  const at::Tensor parameter = steps[0].clone();
  respeft::train::ParameterEma average({{"parameter", parameter}}, std::stod(job.at(3)));
  for (int64_t step = 1; step < steps.size(0); ++step) {
    parameter.copy_(steps[step]);
    average.update();
  }
  respeft::formats::save_safetensors(job.at(2), {{"ema", average.values()[0].second}});
  return "ok";
}

std::string run(const Job& job) {
  if (job.at(0) == "apply") return apply(job);
  if (job[0] == "policy") return policy(job);
  if (job[0] == "train") return train(job);
  if (job[0] == "boxes") return boxes(job);
  if (job[0] == "erase") return erase(job);
  if (job[0] == "mixes") return mixes(job);
  if (job[0] == "mix") return mix(job);
  if (job[0] == "ema") return ema(job);
  throw std::invalid_argument("unknown job " + job[0]);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << run(respeft::text::split(line, '\t')) << std::endl;
    } catch (const std::exception& error) {
      std::cout << "error " << error.what() << std::endl;
    }
  }
}
