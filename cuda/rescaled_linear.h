#pragma once

#include <driver_types.h>

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"

/// Parameters and launchers of the kernels of `respeft::rescaled_linear` (include/respeft/ops/rescaled_linear.h):
/// W'[o, i] = W[o, i] · (residual + scale_out[o] · scale_in[g(o), i]), with the group g(o) = o / group_rows.
///
/// Element is float, __half or __nv_bfloat16; sums are float32. Scales are float32 here, whatever their dtype in the operator.
/// All matrices are contiguous; no size is 0. A launcher returns the launch's CUDA error.
namespace respeft::cuda {

/// A frozen weight and its scales.
template <class Element>
struct RescaledWeight {
  const Element* weight;   ///< `[out, in]`
  const float* scale_in;   ///< `[groups, in]`
  const float* scale_out;  ///< `[out]`
  int64_t in, out, group_rows;
  float residual;  ///< 1 or 0
};

// ---- Products -----------------------------------------------------------------------------------------------------------------

/// Each warp has all rows of a tile, so that every weight is rescaled by one warp only.
inline constexpr Cut kRescaledProductCut{
    .rows = 64, .columns = 64, .depth_bytes = 128, .stages = 3, .warp_rows = 64, .warp_columns = 16, .threads = 128};

template <class Element>
struct RescaledProductParams {
  RescaledWeight<Element> w;
  const Element* input;  ///< `[tokens, in]` (Backward: `[tokens, out]`)
  const Element* bias;   ///< `[out]`, or null (Backward: null)
  Element* output;       ///< `[tokens, out]` (Backward: `[tokens, in]`)
  int64_t tokens;
  bool vector_input = false, vector_weight = false, vector_scale = false, vector_output = false;  ///< as `reads_by_16_bytes`

  /// Sets the flags above from the addresses and sizes.
  void align(Direction direction) {
    const bool forward = direction == Direction::Forward;
    const int64_t group = w.group_rows == w.out ? 0 : w.group_rows;  // tiles also begin at multiples of this
    vector_input = reads_by_16_bytes(input, forward ? w.in : w.out, {forward ? 0 : group});
    vector_weight = reads_by_16_bytes(w.weight, w.in);
    vector_scale = forward ? reads_by_16_bytes(w.scale_in, w.in) : reads_by_16_bytes(w.scale_out, 0, {group});
    vector_output = reads_by_16_bytes(output, forward ? w.out : w.in, {forward ? group : 0});
  }
};

/// x W'ᵀ + bias (Forward) or g W' (Backward); rescales the weight in registers. `exact`: see `launch.h`.
template <class Element>
cudaError_t launch_rescaled_product(Direction direction, const RescaledProductParams<Element>& params, bool exact,
                                    cudaStream_t stream);

template <class Element>
struct RescaleParams {
  RescaledWeight<Element> w;
  Element* rescaled;    ///< `[out, in]`
  bool vector = false;  ///< rows of weight, rescaled and scale_in can be accessed 16 bytes at a time

  void align() {
    vector = reads_by_16_bytes(w.weight, w.in) && reads_by_16_bytes(rescaled, w.in) && reads_by_16_bytes(w.scale_in, w.in);
  }
};

/// W' itself, for products by cuBLAS.
template <class Element>
cudaError_t launch_rescale_weight(const RescaleParams<Element>& params, cudaStream_t stream);

// ---- Gradients of the scales --------------------------------------------------------------------------------------------------

inline constexpr Cut kScaleGradientsCut{
    .rows = 128, .columns = 128, .depth_bytes = 64, .stages = 3, .warp_rows = 32, .warp_columns = 64, .threads = 256};

/// Division of G = gᵀ x `[out, in]` into tiles, and of the sum over tokens into parts.
struct ScaleGradientTiles {
  int64_t rows, columns;         ///< number of tiles along one group's rows, and along the columns
  int64_t splits, split_tokens;  ///< number of parts of the tokens, and tokens per part

  template <class Element>
  static ScaleGradientTiles of(const RescaledWeight<Element>& w, int64_t tokens, int64_t split_tokens) {
    return {ceil_divide(w.group_rows, kScaleGradientsCut.rows), ceil_divide(w.in, kScaleGradientsCut.columns),
            ceil_divide(tokens, split_tokens), split_tokens};
  }
  /// Chooses the splits that minimize the time of the busiest of `processors` SMs, counting a few steps for each reduction.
  template <class Element>
  static ScaleGradientTiles choose(const RescaledWeight<Element>& w, int64_t tokens, int64_t processors) {
    constexpr int64_t depth = kScaleGradientsCut.depth_bytes / sizeof(Element);
    constexpr int64_t most_splits = 16, fewest_steps = 8, reduction_steps = 4;
    const auto tiles =
        tiles_in_groups(w.out, w.out / w.group_rows, kScaleGradientsCut.rows) * ceil_divide(w.in, kScaleGradientsCut.columns);
    const auto steps = ceil_divide(tokens, depth);
    int64_t best = 1, best_time = INT64_MAX;
    for (int64_t splits = 1; splits <= std::clamp<int64_t>(steps / fewest_steps, 1, most_splits); ++splits) {
      const auto time = ceil_divide(tiles * splits, processors) * (ceil_divide(steps, splits) + reduction_steps);
      if (time < best_time) best = splits, best_time = time;
    }
    return of(w, tokens, ceil_divide(steps, best) * depth);
  }
};

/// Every tile of G writes the sums of its rows and of its columns; a second kernel adds them up in a fixed order.
template <class Element>
struct ScaleGradientsParams {
  RescaledWeight<Element> w;
  const Element* grad;           ///< `[tokens, out]`
  const Element* input;          ///< `[tokens, in]`
  float* column_parts;           ///< `[groups, splits · rows, in]`: parts of scale_in's gradient; or null
  float* row_parts;              ///< `[splits · columns, out]`: parts of scale_out's gradient; or null
  float* bias_parts;             ///< `[splits, out]`: parts of the bias's gradient; or null
  int64_t tokens, split_tokens;  ///< in total, and per split (see ScaleGradientTiles)
  bool vector_grad = false, vector_input = false, vector_weight = false;

  void align() {
    vector_grad = reads_by_16_bytes(grad, w.out, {w.group_rows == w.out ? 0 : w.group_rows});
    vector_input = reads_by_16_bytes(input, w.in);
    vector_weight = reads_by_16_bytes(w.weight, w.in);
  }
};

/// Computes G, multiplies it with the weight and reduces it, tile by tile. G is never written.
template <class Element>
cudaError_t launch_scale_gradients(const ScaleGradientsParams<Element>& params, bool exact, cudaStream_t stream);

/// A block computes kColumns results. kLanes threads share the parts of one, each with kLoads loads in flight.
struct SumPartsCut {
  static constexpr int kColumns = 32, kLanes = 8, kLoads = 4;
};

/// result[b, i] = Σ_p parts[b, p, i], in an order that depends only on the number of parts.
template <class Element>
struct SumPartsParams {
  struct Job {
    const float* parts;  ///< `[batch, count, width]`
    void* result;        ///< `[batch, width]`, or null: nothing to do
    int64_t batch, count, width;
    bool to_float;  ///< result is float32; otherwise Element
  };
  Job jobs[3];
};

template <class Element>
cudaError_t launch_sum_parts(const SumPartsParams<Element>& params, cudaStream_t stream);

}  // namespace respeft::cuda
