// Decodes and resizes images for test_pixels.py to compare. One job a line on stdin, its fields separated by tabs:
//   decode IN OUT                        OUT becomes a binary PPM
//   resize IN OUT WIDTH HEIGHT FILTER    OUT becomes a binary PPM
//   input IN OUT SIZE FILTER             OUT becomes raw float32 [3, SIZE, SIZE], ImageNet's normalisation
//   time IN REPEATS SIZE FILTER          decode, resize, normalise; prints the processor seconds of each repeat
// and one line a job on stdout: what was asked for, `ok`, or `error` and the message.
#include <time.h>

#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <respeft/data/image.h>
#include <respeft/data/transforms.h>

#include "src/util/text.h"

namespace {

using respeft::data::Image;

void write_ppm(const std::string& path, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << image.width << ' ' << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
}

respeft::data::Transform imagenet_transform(const std::string& size, const std::string& filter) {
  return respeft::data::Transform({{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, std::stoll(size), filter});
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string time_input(const std::vector<std::string>& job) {
  const auto transform = imagenet_transform(job.at(3), job.at(4));
  std::string seconds;
  for (int i = 0; i < std::stoi(job.at(2)); ++i) {
    const double start = processor_seconds();
    transform(respeft::data::read_image(job.at(1)));
    seconds += std::to_string(processor_seconds() - start) + " ";
  }
  return seconds;
}

std::string run(const std::vector<std::string>& job) {
  if (job.at(0) == "time") return time_input(job);
  const Image image = respeft::data::read_image(job.at(1));
  if (job[0] == "decode") {
    write_ppm(job.at(2), image);
  } else if (job[0] == "resize") {
    write_ppm(job.at(2), respeft::data::resize(image, std::stoll(job.at(3)), std::stoll(job.at(4)),
                                               respeft::data::filter_from_name(job.at(5))));
  } else if (job[0] == "input") {
    const at::Tensor input = imagenet_transform(job.at(3), job.at(4))(image);
    std::ofstream(job.at(2), std::ios::binary)
        .write(static_cast<const char*>(input.data_ptr()), static_cast<std::streamsize>(input.nbytes()));
  } else {
    throw std::invalid_argument("unknown job " + job[0]);
  }
  return "ok";
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << run(respeft::util::split(line, '\t')) << std::endl;
    } catch (const std::exception& error) {
      std::cout << "error " << error.what() << std::endl;
    }
  }
}
