#pragma once

#include <driver_types.h>

#include <cstdint>

#include "cuda/launch.h"

/// Parameters and launchers of the kernels of `respeft::shortcut_linear` and `respeft::folded_linear`
/// (names as in include/respeft/ops/shortcut.h).
///
/// Element is float, __half or __nv_bfloat16; sums are float32. Matrices without a stride are contiguous; no size is 0. A
/// launcher returns the launch's CUDA error. `exact`: see launch.h.
namespace respeft::cuda {

/// The logical projections with an update. Group g has output rows rows[g] to rows[g] + height, ascending and disjoint. It reads
/// columns g · rank to (g + 1) · rank of `middle`, and rows g · height to (g + 1) · height of `up`.
struct Groups {
  static constexpr int kMost = 8;
  int count;
  int64_t height, rank;
  int64_t rows[kMost];
};

/// The warps divide the depth of a tile among them.
inline constexpr Cut kThinProductCut{
    .rows = 32, .columns = 32, .depth_bytes = 128, .stages = 4, .warp_rows = 32, .warp_columns = 32, .threads = 128};

template <class Element>
struct ThinProductParams {
  const Element* input;   ///< Forward: z `[tokens, in]`; Backward: grad_output `[tokens, out]`
  const Element* factor;  ///< Forward: down `[R, in]`; Backward: up `[groups · height, rank]`
  const Element* addend;  ///< added to the first `addend_columns` columns, `[tokens, addend_columns or more]`; or null
  Element* output;        ///< `[tokens, R]`
  int64_t tokens, input_stride, addend_stride, addend_columns, output_stride;
  int64_t depth;                                     ///< Forward: in
  float scaling;                                     ///< factor of the product
  Groups groups;                                     ///< Forward: one group of rank R
  bool vector_input = false, vector_factor = false;  ///< as `reads_by_16_bytes`

  /// Sets the flags above from the addresses and sizes.
  void align(Direction direction) {
    const bool forward = direction == Direction::Forward;
    vector_input = reads_by_16_bytes(input, input_stride);
    for (int g = 0; g < groups.count && !forward; ++g)
      vector_input = vector_input && reads_by_16_bytes(input, input_stride, {groups.rows[g]});
    vector_factor = reads_by_16_bytes(factor, forward ? depth : groups.rank);
  }
};

/// Forward: z downᵀ + previous.  Backward: scaling · (grad_g up_g, side by side) + grad_middle.
template <class Element>
cudaError_t launch_thin_product(Direction direction, const ThinProductParams<Element>& params, bool exact, cudaStream_t stream);

inline constexpr Cut kUpdatedProductCut{
    .rows = 64, .columns = 64, .depth_bytes = 128, .stages = 3, .warp_rows = 32, .warp_columns = 32, .threads = 128};

template <class Element>
struct UpdatedProductParams {
  const Element* input;   ///< Forward: x `[tokens, in]`; Backward: grad_output `[tokens, out]`
  const Element* weight;  ///< `[out, in]`
  const Element* bias;    ///< `[out]`, or null (Backward: null)
  const Element* middle;  ///< Forward: `middle`, Backward: its gradient; `[tokens, middle_columns]`
  const Element* factor;  ///< Forward: up `[groups · height, rank]`; Backward: down `[middle_columns, in]`
  Element* output;        ///< Forward: `[tokens, out]`; Backward: `[tokens, in]`
  int64_t tokens, in, out, middle_columns;
  float scaling;  ///< factor of the update
  Groups groups;  ///< Forward only
  bool vector_input = false, vector_weight = false, vector_middle = false, vector_factor = false, vector_output = false;

  void align(Direction direction) {
    const bool forward = direction == Direction::Forward;
    vector_input = reads_by_16_bytes(input, forward ? in : out);
    vector_weight = reads_by_16_bytes(weight, in);
    vector_middle = reads_by_16_bytes(middle, middle_columns, {forward ? groups.rank : 0});
    vector_factor = reads_by_16_bytes(factor, forward ? groups.rank : in);
    vector_output = reads_by_16_bytes(output, forward ? out : in);
  }
};

/// The base's product; the update is added in its accumulators.
/// Forward: x Wᵀ + bias + scaling · middle_g up_gᵀ in the rows of g.  Backward: g W + scaling · m down.
template <class Element>
cudaError_t launch_updated_product(Direction direction, const UpdatedProductParams<Element>& params, bool exact,
                                   cudaStream_t stream);

inline constexpr Cut kFoldCut{
    .rows = 64, .columns = 64, .depth_bytes = 32, .stages = 2, .warp_rows = 32, .warp_columns = 32, .threads = 128};

template <class Element>
struct FoldParams {
  const Element* weight;  ///< `[out, in]`
  const Element* down;    ///< `[groups · rank, in]`
  const Element* up;      ///< `[groups · height, rank]`
  Element* folded;        ///< `[out, in]`
  int64_t in, out;
  float scaling;
  Groups groups;
  bool vector_up = false, vector_in = false;  ///< as `reads_by_16_bytes`: rows of up; rows of weight, down and folded

  void align() {
    vector_up = reads_by_16_bytes(up, groups.rank);
    vector_in = reads_by_16_bytes(weight, in) && reads_by_16_bytes(down, in) && reads_by_16_bytes(folded, in);
  }
};

/// W + scaling · up_g down_g in the rows of g.
template <class Element>
cudaError_t launch_fold_update(const FoldParams<Element>& params, bool exact, cudaStream_t stream);

}  // namespace respeft::cuda
