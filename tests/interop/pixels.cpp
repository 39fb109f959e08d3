// Decodes and resizes images for test_pixels.py to compare. One job a line on stdin, its fields separated by tabs:
//   decode IN OUT                        OUT becomes a binary PPM
//   resize IN OUT WIDTH HEIGHT FILTER    OUT becomes a binary PPM
//   input IN OUT SIZE FILTER RESIZE_SIZE RESIZE_MODE         OUT becomes raw float32 [3, SIZE, SIZE], ImageNet's normalization
//   train IN OUT SIZE FILTER RESIZE_SIZE RESIZE_MODE SEED    the same, cropped and mirrored at random
//   cut IN OUT SIZE MIN_AREA SEED        the same of a random part, resized; prints LEFT TOP WIDTH HEIGHT FILTER
//   time IN REPEATS SIZE FILTER RESIZE_SIZE RESIZE_MODE      makes an input so many times; prints the processor seconds of each
//   load IN REPEATS WORKERS SIZE FILTER RESIZE_SIZE RESIZE_MODE    likewise with a loader; prints the seconds in all
// and one line a job on stdout: what was asked for, `ok`, or `error` and the message.
#include <fmt/format.h>
#include <time.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/loader.h>
#include <respeft/data/image/transforms.h>

#include <respeft/core/text.h>

namespace {

using namespace respeft::data;

void write_ppm(const std::string& path, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
}

using Job = std::vector<std::string>;

respeft::data::Preprocessing imagenet(int64_t size) {
  return {.mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225}, .size = size};
}

/// Of the fields SIZE FILTER RESIZE_SIZE RESIZE_MODE that start at `first`.
Transform imagenet_transform(const Job& job, size_t first, const TransformOptions& options = {}) {
  auto preprocessing = imagenet(std::stoll(job.at(first)));
  preprocessing.interpolation = job.at(first + 1);
  preprocessing.resize_size = std::stoll(job.at(first + 2));
  preprocessing.resize_mode = job.at(first + 3);
  return Transform(preprocessing, options);
}

void write_input(const std::string& path, const Transform& transform, const Image& image, std::mt19937_64& generator) {
  std::vector<float> values(static_cast<size_t>(3 * transform.size() * transform.size()));
  transform.apply(image, generator, values.data());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

std::string input(const Job& job, bool random) {
  const auto transform = imagenet_transform(job, 3, {.random_crop = random, .random_flip = random});
  std::mt19937_64 generator(random ? std::stoull(job.at(7)) : 0);
  write_input(job.at(2), transform, read_image(job.at(1)), generator);
  return "ok";
}

std::string cut(const Job& job) {
  const RandomResizedCrop crops{.min_area = std::stod(job.at(4))};
  const Image image = read_image(job.at(1));
  std::mt19937_64 generator(std::stoull(job.at(5))), same = generator;
  const Transform transform(imagenet(std::stoll(job.at(3))), {.random_resized_crop = crops});
  write_input(job.at(2), transform, image, generator);
  const auto part = crops.draw(image.width, image.height, same);
  return fmt::format("{} {} {} {} {}", part.left, part.top, part.width, part.height,
                     part.filter == Filter::bicubic ? "bicubic" : "bilinear");
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string time_input(const Job& job) {
  const auto transform = imagenet_transform(job, 3);
  std::string seconds;
  for (int i = 0; i < std::stoi(job.at(2)); ++i) {
    const double start = processor_seconds();
    transform(read_image(job.at(1)));
    seconds += std::to_string(processor_seconds() - start) + " ";
  }
  return seconds;
}

/// One file, as often as asked for.
class Repeated : public Dataset {
 public:
  Repeated(std::string path, int64_t count) : path_(std::move(path)), count_(count) {}
  int64_t size() const override { return count_; }
  int64_t label(int64_t) const override { return 0; }
  Image load(int64_t) const override { return read_image(path_); }
  std::string item_name(int64_t) const override { return path_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string description() const override { return path_; }

 private:
  std::string path_;
  int64_t count_;
  std::vector<std::string> class_names_ = {"only"};
};

std::string time_loader(const Job& job) {
  const int64_t count = std::stoll(job.at(2));
  const auto start = std::chrono::steady_clock::now();
  Loader loader(std::make_shared<Repeated>(job.at(1), count), imagenet_transform(job, 4), sequential_order(count),
                {.workers = std::stoll(job.at(3))});
  while (loader.next()) continue;
  return std::to_string(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

std::string run(const Job& job) {
  if (job.at(0) == "time") return time_input(job);
  if (job[0] == "load") return time_loader(job);
  if (job[0] == "input") return input(job, false);
  if (job[0] == "train") return input(job, true);
  if (job[0] == "cut") return cut(job);
  const Image image = read_image(job.at(1));
  if (job[0] == "decode") {
    write_ppm(job.at(2), image);
  } else if (job[0] == "resize") {
    write_ppm(job.at(2), resize(image, std::stoll(job.at(3)), std::stoll(job.at(4)), filter_from_name(job.at(5))));
  } else {
    throw std::invalid_argument("unknown job " + job[0]);
  }
  return "ok";
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
