#pragma once

#include <driver_types.h>

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"

/// Parameters and launchers of the kernels of `respeft::rescaled_linear` (include/respeft/ops/rescaled_linear.h):
/// W'[o, i] = W[o, i] · (residual + scale_out[o] · scale_in[g(o), i]), with the group g(o) = o / group_rows.
///
/// Element is float, __half or __nv_bfloat16; sums are float32. Scales are float32 here, whatever dtype the operator was given.
/// All matrices are contiguous; no size is 0. A launcher returns what CUDA says of the launch.
namespace respeft::cuda {

/// A frozen weight and what rescales it.
template <class Element>
struct RescaledWeight {
  const Element* weight;   ///< `[out, in]`
  const float* scale_in;   ///< `[groups, in]`
  const float* scale_out;  ///< `[out]`
  int64_t in, out, group_rows;
  float residual;  ///< 1 or 0
};

// ---- Products -----------------------------------------------------------------------------------------------------------------

/// A warp has all rows of a tile, so that only one rescales a weight.
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

  /// Sets what is read 16 bytes at a time, as the addresses and sizes allow.
  void align(Direction direction) {
    const bool forward = direction == Direction::Forward;
    const int64_t group = w.group_rows == w.out ? 0 : w.group_rows;  // where tiles begin, besides multiples of their sides
    vector_input = reads_by_16_bytes(input, forward ? w.in : w.out, {forward ? 0 : group});
    vector_weight = reads_by_16_bytes(w.weight, w.in);
    vector_scale = forward ? reads_by_16_bytes(w.scale_in, w.in) : reads_by_16_bytes(w.scale_out, 0, {group});
    vector_output = reads_by_16_bytes(output, forward ? w.out : w.in, {forward ? group : 0});
  }
};

/// x W'ᵀ + bias (Forward) or g W' (Backward), the weight rescaled on its way to the product; `exact`: see `launch.h`.
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

/// W' itself, for the products that the vendor's library makes.
template <class Element>
cudaError_t launch_rescale_weight(const RescaleParams<Element>& params, cudaStream_t stream);

// ---- Gradients of the scales --------------------------------------------------------------------------------------------------

inline constexpr Cut kScaleGradientsCut{
    .rows = 128, .columns = 128, .depth_bytes = 64, .stages = 3, .warp_rows = 32, .warp_columns = 64, .threads = 256};

/// How G = gᵀ x `[out, in]` and the sum over tokens are divided.
struct ScaleGradientTiles {
  int64_t rows, columns;         ///< tiles of one group's rows, and of the columns
  int64_t splits, split_tokens;  ///< parts of the tokens, and the tokens of one

  template <class Element>
  static ScaleGradientTiles of(const RescaledWeight<Element>& w, int64_t tokens, int64_t split_tokens) {
    return {ceil_divide(w.group_rows, kScaleGradientsCut.rows), ceil_divide(w.in, kScaleGradientsCut.columns),
            ceil_divide(tokens, split_tokens), split_tokens};
  }
  /// The splits that keep the busiest of `processors` SMs busy for the shortest time, counting a few steps for each reduction.
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

/// Every tile of G leaves the sums of its rows and of its columns; a second kernel adds them up in a fixed order.
template <class Element>
struct ScaleGradientsParams {
  RescaledWeight<Element> w;
  const Element* grad;           ///< `[tokens, out]`
  const Element* input;          ///< `[tokens, in]`
  float* column_parts;           ///< `[groups, splits · rows, in]`: of scale_in's gradient; or null
  float* row_parts;              ///< `[splits · columns, out]`: of scale_out's; or null
  float* bias_parts;             ///< `[splits, out]`: of the bias's; or null
  int64_t tokens, split_tokens;  ///< in all, and of one split; see ScaleGradientTiles for it and the numbers of tiles
  bool vector_grad = false, vector_input = false, vector_weight = false;

  void align() {
    vector_grad = reads_by_16_bytes(grad, w.out, {w.group_rows == w.out ? 0 : w.group_rows});
    vector_input = reads_by_16_bytes(input, w.in);
    vector_weight = reads_by_16_bytes(w.weight, w.in);
  }
};

/// G is computed, multiplied with the weight and reduced tile by tile; none of it is written.
template <class Element>
cudaError_t launch_scale_gradients(const ScaleGradientsParams<Element>& params, bool exact, cudaStream_t stream);

/// A block has kColumns results; the parts of one are shared out to kLanes threads, each with kLoads loads under way.
struct SumPartsCut {
  static constexpr int kColumns = 32, kLanes = 8, kLoads = 4;
};

/// result[b, i] = Σ_p parts[b, p, i], in an order that depends on the number of parts alone.
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
