// From a 500 × 375 JPEG to a normalized 224 × 224 tensor: each part by itself, the whole, and the whole with a loader's workers.
// Beside Pillow and torchvision: tests/interop/bench_pixels.py.

#include <benchmark/benchmark.h>
#include <jpeglib.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/loader.h>
#include <respeft/data/image/transforms.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>

namespace {

using namespace respeft::data;

/// Waves with some noise, which compress about as photographs do.
Image photograph(int64_t width, int64_t height) {
  std::mt19937 generator(1);
  Image image(width, height);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t i = 0; i < width * 3; ++i) {
      const double wave = std::sin(0.03 * static_cast<double>(i) + 0.05 * static_cast<double>(y * (1 + i % 3)));
      image.row(y)[i] = static_cast<uint8_t>(128.0 + 100.0 * wave + static_cast<double>(generator() % 24));
    }
  }
  return image;
}

std::string encode_jpeg(const Image& image, int quality) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &data, &size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPLE*>(image.row(info.next_scanline));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string bytes(reinterpret_cast<const char*>(data), size);
  std::free(data);
  return bytes;
}

const std::string& jpeg() {
  static const std::string bytes = encode_jpeg(photograph(500, 375), 90);
  return bytes;
}

void decode(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(decode_image(jpeg(), "photo"));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

template <Filter filter>
void resize_to(benchmark::State& state) {
  const Image image = decode_image(jpeg(), "photo");
  for (auto _ : state) benchmark::DoNotOptimize(resize(image, state.range(0), state.range(0), filter));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(resize_to<Filter::bicubic>)
    ->Name("resize/bicubic")
    ->Arg(56)
    ->Arg(224)
    ->Arg(256)
    ->Arg(512)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(resize_to<Filter::bilinear>)
    ->Name("resize/bilinear")
    ->Arg(56)
    ->Arg(224)
    ->Arg(256)
    ->Arg(512)
    ->Unit(benchmark::kMillisecond);

void normalize(benchmark::State& state) {
  const Transform transform({.size = 224});
  const Image image = transform.resized(decode_image(jpeg(), "photo"));
  for (auto _ : state) benchmark::DoNotOptimize(transform(image));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(normalize)->Unit(benchmark::kMillisecond);

void whole(benchmark::State& state) {
  const Transform transform({.size = 224, .resize_size = state.range(0)});
  for (auto _ : state) benchmark::DoNotOptimize(transform(decode_image(jpeg(), "photo")));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(whole)->ArgName("resize_size")->Arg(0)->Arg(256)->Unit(benchmark::kMillisecond);

/// The JPEG, as often as asked for.
class Repeated : public Dataset {
 public:
  int64_t size() const override { return 64; }
  int64_t label(int64_t) const override { return 0; }
  Image load(int64_t) const override { return decode_image(jpeg(), "photo"); }
  std::string item_name(int64_t) const override { return "photo"; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string description() const override { return "photo"; }

 private:
  std::vector<std::string> class_names_ = {"only"};
};

void with_workers(benchmark::State& state) {
  const auto dataset = std::make_shared<Repeated>();
  const Transform transform({.size = 224});
  for (auto _ : state) {
    Loader loader(dataset, transform, sequential_order(dataset->size()), {.workers = state.range(0)});
    while (auto batch = loader.next()) benchmark::DoNotOptimize(batch->images);
  }
  state.SetItemsProcessed(state.iterations() * dataset->size());
}
BENCHMARK(with_workers)->ArgName("workers")->Arg(0)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
