// Calls every launcher of cuda/, for every dtype and precision, at a usual and at a great size; see recording_runtime.cpp.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdio>
#include <cstdlib>

#include "cuda/rescaled_linear.h"
#include "cuda/shortcut.h"

namespace respeft::cuda {
namespace {

struct Sizes {
  int64_t tokens, in, out, rank, groups;
};

/// An address that is never read or written.
template <class T>
T* somewhere() {
  return reinterpret_cast<T*>(uintptr_t(1) << 32);
}

void check(cudaError_t status, const char* launcher) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s returned CUDA error %d\n", launcher, static_cast<int>(status));
  std::exit(1);
}

template <class Element>
void launch_rescaled_linear(const Sizes& s) {
  const RescaledWeight<Element> w{
      somewhere<Element>(), somewhere<float>(), somewhere<float>(), s.in, s.out, s.out / s.groups, 1.0f};
  for (const bool exact : {false, true}) {
    for (const auto direction : {Direction::Forward, Direction::Backward}) {
      check(launch_rescaled_product<Element>(direction,
                                             {.w = w,
                                              .input = somewhere<Element>(),
                                              .bias = nullptr,
                                              .output = somewhere<Element>(),
                                              .tokens = s.tokens,
                                              .vector_input = true,
                                              .vector_weight = true,
                                              .vector_scale = true,
                                              .vector_output = true},
                                             exact, nullptr),
            "launch_rescaled_product");
    }
    const auto tiles = ScaleGradientTiles::choose(w, s.tokens, 216);
    check(launch_scale_gradients<Element>({.w = w,
                                           .grad = somewhere<Element>(),
                                           .input = somewhere<Element>(),
                                           .column_parts = somewhere<float>(),
                                           .row_parts = somewhere<float>(),
                                           .bias_parts = somewhere<float>(),
                                           .tokens = s.tokens,
                                           .split_tokens = tiles.split_tokens,
                                           .vector_grad = true,
                                           .vector_input = true,
                                           .vector_weight = true},
                                          exact, nullptr),
          "launch_scale_gradients");
  }
  check(launch_rescale_weight<Element>({.w = w, .rescaled = somewhere<Element>(), .vector = true}, nullptr),
        "launch_rescale_weight");
  SumPartsParams<Element> sums{};
  sums.jobs[0] = {somewhere<float>(), somewhere<void>(), s.groups, 8, s.in, true};
  sums.jobs[1] = {somewhere<float>(), somewhere<void>(), 1, 8, s.out, true};
  check(launch_sum_parts<Element>(sums, nullptr), "launch_sum_parts");
}

template <class Element>
void launch_shortcut(const Sizes& s) {
  Groups one{.count = 1, .height = s.out, .rank = s.rank, .rows = {0}};
  Groups several{.count = static_cast<int>(s.groups), .height = s.out / s.groups, .rank = s.rank, .rows = {}};
  for (int g = 0; g < several.count; ++g) several.rows[g] = g * several.height;
  for (const bool exact : {false, true}) {
    for (const auto direction : {Direction::Forward, Direction::Backward}) {
      const bool forward = direction == Direction::Forward;
      check(launch_thin_product<Element>(direction,
                                         {.input = somewhere<Element>(),
                                          .factor = somewhere<Element>(),
                                          .addend = nullptr,
                                          .output = somewhere<Element>(),
                                          .tokens = s.tokens,
                                          .input_stride = forward ? s.in : s.out,
                                          .addend_stride = s.rank,
                                          .addend_columns = 0,
                                          .output_stride = s.rank * s.groups,
                                          .depth = s.in,
                                          .scaling = 1,
                                          .groups = forward ? one : several,
                                          .vector_input = true,
                                          .vector_factor = true},
                                         exact, nullptr),
            "launch_thin_product");
      check(launch_updated_product<Element>(direction,
                                            {.input = somewhere<Element>(),
                                             .weight = somewhere<Element>(),
                                             .bias = nullptr,
                                             .middle = somewhere<Element>(),
                                             .factor = somewhere<Element>(),
                                             .output = somewhere<Element>(),
                                             .tokens = s.tokens,
                                             .in = s.in,
                                             .out = s.out,
                                             .middle_columns = s.rank * s.groups,
                                             .scaling = 1,
                                             .groups = several,
                                             .vector_input = true,
                                             .vector_weight = true,
                                             .vector_middle = true,
                                             .vector_factor = true,
                                             .vector_output = true},
                                            exact, nullptr),
            "launch_updated_product");
    }
    check(launch_fold_update<Element>({.weight = somewhere<Element>(),
                                       .down = somewhere<Element>(),
                                       .up = somewhere<Element>(),
                                       .folded = somewhere<Element>(),
                                       .in = s.in,
                                       .out = s.out,
                                       .scaling = 1,
                                       .groups = several,
                                       .vector_up = true,
                                       .vector_in = true},
                                      exact, nullptr),
          "launch_fold_update");
  }
}

}  // namespace
}  // namespace respeft::cuda

int main() {
  using namespace respeft::cuda;
  const Sizes usual{.tokens = 1576, .in = 768, .out = 2304, .rank = 8, .groups = 3};  // ViT-B's qkv, 8 images
  const Sizes great{.tokens = int64_t(1) << 26, .in = 16384, .out = 3 << 14, .rank = 256, .groups = 3};
  for (const auto& sizes : {usual, great}) {
    launch_rescaled_linear<float>(sizes);
    launch_rescaled_linear<__half>(sizes);
    launch_rescaled_linear<__nv_bfloat16>(sizes);
    launch_shortcut<float>(sizes);
    launch_shortcut<__half>(sizes);
    launch_shortcut<__nv_bfloat16>(sizes);
  }
}
