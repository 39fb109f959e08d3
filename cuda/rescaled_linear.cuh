#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/rescaled_linear.h"
#include "cuda/tile.cuh"

/// Kernels of `respeft::rescaled_linear`; what they compute is said beside their parameters in rescaled_linear.h.
namespace respeft::cuda {

// ---- x W'ᵀ + bias, and g W': the weight is rescaled in registers between shared memory and the tensor cores -------------------

template <class Precision, Direction direction>
using RescaledTiles = TiledProduct<Precision, kRescaledProductCut, Along::Depth, weight_lines(direction)>;

template <class Precision, Direction direction>
struct RescaledProduct : RescaledTiles<Precision, direction> {
  using Tiles = RescaledTiles<Precision, direction>;
  using Element = typename Precision::Element;
  static constexpr bool kForward = direction == Direction::Forward;
  using Scale = Tile<float, 1, Tiles::kDepth, Along::Depth>;

  struct Stage : Tiles::Stage {
    alignas(128) float scale[Scale::kElements];
  };
  union Shared {
    Stage stages[Tiles::kStages];
    alignas(16) float sums[Tiles::kRows * kStagedPitch<Tiles::kColumns>];
  };

  /// W' as it is used: by n (a column of the output) and by k (the contraction).
  struct Rescale {
    static constexpr bool kChanges = true;
    float by_column[Tiles::Product::kOperandColumns];
    const float* by_depth;
    float residual;
    __device__ __forceinline__ float operator()(float value, int q, int depth) const {
      return value * (residual + by_column[q] * by_depth[depth]);
    }
  };

  /// One group of the weight's rows at a time: it is the tile's columns (Forward) or a part of the depth (Backward).
  static int64_t column_tiles(const RescaledProductParams<Element>& p) {
    return kForward ? tiles_in_groups(p.w.out, p.w.out / p.w.group_rows, Tiles::kColumns) : ceil_divide(p.w.in, Tiles::kColumns);
  }
  static LaunchShape shape(const RescaledProductParams<Element>& p) {
    return {dim3(static_cast<unsigned>(ceil_divide(p.tokens, Tiles::kRows) * column_tiles(p))), dim3(Tiles::kThreads),
            sizeof(Shared)};
  }
};

template <class Precision, Direction direction>
__global__ void __launch_bounds__(RescaledProduct<Precision, direction>::kThreads, 3)
    rescaled_product(const __grid_constant__ RescaledProductParams<typename Precision::Element> p) {
  using K = RescaledProduct<Precision, direction>;
  RESPEFT_DYNAMIC_SHARED(raw);
  auto& shared = *reinterpret_cast<typename K::Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int column0 = thread / 32 * K::kWarpColumns;
  const int64_t rows = p.w.group_rows;
  const unsigned groups = static_cast<unsigned>(p.w.out) / static_cast<unsigned>(rows);
  const unsigned tiles_of_group = tiles_of<K::kColumns>(K::kForward ? rows : p.w.in);
  const TileOfBlock tile(tiles_of<K::kRows>(p.tokens), K::kForward ? groups * tiles_of_group : tiles_of_group);
  const int64_t token0 = int64_t(tile.row) * K::kRows;
  const int64_t tile_group = tile.column / tiles_of_group;  // Forward
  const int64_t first_column = tile_group * rows + int64_t(tile.column % tiles_of_group) * K::kColumns;
  const int64_t end_column = K::kForward ? (tile_group + 1) * rows : p.w.in;
  const int64_t part_depth = K::kForward ? p.w.in : rows;  // of one group
  const int steps_per_group = static_cast<int>((part_depth + K::kDepth - 1) / K::kDepth);
  const int steps = K::kForward ? steps_per_group : static_cast<int>(groups) * steps_per_group;

  typename K::Product product(lane);
  typename K::Rescale rescale;
  rescale.residual = p.w.residual;
  const auto load_column_scales = [&](const float* scales) {
#pragma unroll
    for (int q = 0; q < K::Product::kOperandColumns; ++q) {
      const int64_t column = first_column + column0 + product.operand_column(q);
      rescale.by_column[q] = column < end_column ? scales[column] : 0.0f;
    }
  };
  if (K::kForward) load_column_scales(p.w.scale_out);

  const TileLoader<typename K::A, K::kThreads> input(p.input, K::kForward ? p.w.in : p.w.out, token0, p.tokens, p.vector_input,
                                                     thread);
  const TileLoader<typename K::B, K::kThreads> weight(p.w.weight, p.w.in, first_column, end_column, p.vector_weight, thread);
  const TileLoader<typename K::Scale, K::kThreads> scale(K::kForward ? p.w.scale_in + tile_group * p.w.in : p.w.scale_out, 0, 0,
                                                         1, p.vector_scale, thread);
  const auto load = [&](int stage, int step) {
    auto& s = shared.stages[stage];
    const int group = K::kForward ? 0 : step / steps_per_group, start = group * static_cast<int>(rows);
    const int depth = start + (step - group * steps_per_group) * K::kDepth, end = start + static_cast<int>(part_depth);
    input.load(s.a, depth, end);
    weight.load(s.b, depth, end);
    scale.load(s.scale, depth, end);
  };
  const auto compute = [&](int stage, int step) {
    const auto& s = shared.stages[stage];
    if (!K::kForward && step % steps_per_group == 0) load_column_scales(p.w.scale_in + step / steps_per_group * p.w.in);
    rescale.by_depth = s.scale;
    product.template add<typename K::A, typename K::B, K::kDepth>(s.a, s.b, 0, column0, 0, rescale);
  };
  pipeline<K::kStages>(steps, load, compute);

  stage_sums<K::kColumns>(shared.sums, product, 0, column0);
  __syncthreads();
  const int64_t width = K::kForward ? p.w.out : p.w.in;
  store_tile<Precision, K::kRows, K::kColumns, K::kThreads>(
      shared.sums, {p.output, width, token0, p.tokens, first_column, end_column, p.vector_output}, thread,
      [&](auto& values, int64_t, int64_t column, int count) { add_bias<Precision>(values, p.bias, column, count); });
}

// ---- W' itself, for the products that the vendor's library makes --------------------------------------------------------------

struct RescaleWeight {
  static constexpr int kThreads = 256;
  template <class Precision>
  static LaunchShape shape(const RescaleParams<typename Precision::Element>& p) {
    const auto chunks = ceil_divide(p.w.in, Chunk<Precision>::kSize);
    return {dim3(static_cast<unsigned>(ceil_divide(chunks, 32)),
                 static_cast<unsigned>(std::min<int64_t>(ceil_divide(p.w.out, 8), 65535))),
            dim3(kThreads), 0};
  }
};

template <class Precision>
__global__ void __launch_bounds__(RescaleWeight::kThreads)
    rescale_weight(const __grid_constant__ RescaleParams<typename Precision::Element> p) {
  using Values = Chunk<Precision>;
  const int64_t i = (int64_t(blockIdx.x) * 32 + threadIdx.x % 32) * Values::kSize;
  if (i >= p.w.in) return;
  const int count = p.w.in - i < Values::kSize ? static_cast<int>(p.w.in - i) : Values::kSize;
  for (int64_t o = int64_t(blockIdx.y) * 8 + threadIdx.x / 32; o < p.w.out; o += int64_t(gridDim.y) * 8) {
    const float by_row = p.w.scale_out[o];
    const auto group = static_cast<unsigned>(o) / static_cast<unsigned>(p.w.group_rows);
    const float* by_column = p.w.scale_in + group * p.w.in + i;
    const auto* from = p.w.weight + o * p.w.in + i;
    auto* to = p.rescaled + o * p.w.in + i;
    auto values = Values::read(from, count, p.vector);
    float scales[Values::kSize];
    read_floats(scales, by_column, count, p.vector);
#pragma unroll
    for (int e = 0; e < Values::kSize; ++e)
      values.values[e] = Precision::from_float(Precision::to_float(values.values[e]) * (p.w.residual + by_row * scales[e]));
    values.write(to, count, p.vector);
  }
}

// ---- The scales' gradients: G = gᵀ x, multiplied and reduced tile by tile -----------------------------------------------------

template <class Precision>
using ScaleGradientsTiles = TiledProduct<Precision, kScaleGradientsCut, Along::Rows, Along::Rows>;

template <class Precision>
struct ScaleGradients : ScaleGradientsTiles<Precision> {
  using Tiles = ScaleGradientsTiles<Precision>;
  using Element = typename Precision::Element;
  using Weight = Tile<Element, Tiles::kRows, Tiles::kColumns, Along::Depth>;

  union Shared {
    typename Tiles::Stage stages[Tiles::kStages];
    struct {
      alignas(128) Element weight[Weight::kElements];
      alignas(8) float scale_in[Tiles::kColumns], scale_out[Tiles::kRows];
      alignas(8) float columns[Tiles::kRows / Tiles::kWarpRows][Tiles::kColumns];  ///< sums of a warp's rows
      float rows[Tiles::kColumns / Tiles::kWarpColumns][Tiles::kRows];             ///< sums of a warp's columns
      float bias[2][Tiles::kRows];
    } epilogue;
  };

  static LaunchShape shape(const ScaleGradientsParams<Element>& p) {
    const auto tiles = ScaleGradientTiles::of(p.w, p.tokens, p.split_tokens);
    return {dim3(static_cast<unsigned>(tiles.columns * (p.w.out / p.w.group_rows) * tiles.rows), 1,
                 static_cast<unsigned>(tiles.splits)),
            dim3(Tiles::kThreads), sizeof(Shared)};
  }
};

template <class Precision>
__global__ void __launch_bounds__(ScaleGradients<Precision>::kThreads, Precision::kTensorCores ? 2 : 1)
    scale_gradients(const __grid_constant__ ScaleGradientsParams<typename Precision::Element> p) {
  using K = ScaleGradients<Precision>;
  using Product = typename K::Product;
  RESPEFT_DYNAMIC_SHARED(raw);
  auto& shared = *reinterpret_cast<typename K::Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int row0 = warp / 2 * K::kWarpRows, column0 = warp % 2 * K::kWarpColumns;
  const unsigned row_tiles = tiles_of<K::kRows>(p.w.group_rows), column_tiles = tiles_of<K::kColumns>(p.w.in);
  const int64_t column_tile = blockIdx.x % column_tiles, row_tile = blockIdx.x / column_tiles % row_tiles;
  const int64_t group = blockIdx.x / column_tiles / row_tiles;
  const int64_t first_row = group * p.w.group_rows + row_tile * K::kRows, end_row = (group + 1) * p.w.group_rows;
  const int64_t first_column = column_tile * K::kColumns;
  const int first_token = static_cast<int>(blockIdx.z * p.split_tokens);
  const int end_token = static_cast<int>(first_token + p.split_tokens < p.tokens ? first_token + p.split_tokens : p.tokens);

  Product product(lane);
  float bias_sum = 0.0f;
  const TileLoader<typename K::A, K::kThreads> grad(p.grad, p.w.out, first_row, end_row, p.vector_grad, thread);
  const TileLoader<typename K::B, K::kThreads> input(p.input, p.w.in, first_column, p.w.in, p.vector_input, thread);
  const auto load = [&](int stage, int step) {
    const int token = first_token + step * K::kDepth;
    grad.load(shared.stages[stage].a, token, end_token);
    input.load(shared.stages[stage].b, token, end_token);
  };
  const auto compute = [&](int stage, int) {
    const auto& s = shared.stages[stage];
#pragma unroll 1  // unrolled, the next operands would be loaded early into registers that there are not
    for (int depth = 0; depth < K::kDepth; depth += Precision::kDepth)
      product.template add<typename K::A, typename K::B, Precision::kDepth>(s.a, s.b, row0, column0, depth);
    if (p.bias_parts && first_column == 0) {  // half of the depth in each half of the threads
#pragma unroll 4
      for (int k = 0; k < K::kDepth / 2; ++k)
        bias_sum += Precision::to_float(s.a[K::A::offset(thread % K::kRows, thread / K::kRows * (K::kDepth / 2) + k)]);
    }
  };
  pipeline<K::kStages>((end_token - first_token + K::kDepth - 1) / K::kDepth, load, compute);

  // The tile's part of the weight and of the scales, zeros beyond their ends.
  auto& last = shared.epilogue;
  TileLoader<typename K::Weight, K::kThreads>(p.w.weight, p.w.in, first_row, end_row, p.vector_weight, thread)
      .load(last.weight, static_cast<int>(first_column), static_cast<int>(p.w.in));
  ptx::commit_copies();
  last.bias[thread / K::kRows][thread % K::kRows] = bias_sum;
  if (thread < K::kRows) {
    last.scale_out[thread] = first_row + thread < end_row ? p.w.scale_out[first_row + thread] : 0.0f;
  } else {
    const int64_t i = first_column + thread - K::kRows;
    last.scale_in[thread - K::kRows] = i < p.w.in ? p.w.scale_in[group * p.w.in + i] : 0.0f;
  }
  ptx::wait_for_copies<0>();
  __syncthreads();

  // G ⊙ W, summed along the rows (times scale_in) and along the columns (times scale_out) within the warp.
  float row_sums[Product::kRows] = {};
#pragma unroll
  for (int j = 0; j < Product::kPairs; ++j) {
    const int i = column0 + product.column(j);
    const float2 by_column = *reinterpret_cast<const float2*>(last.scale_in + i);
    float2 column_sums = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int r = 0; r < Product::kRows; ++r) {
      const int o = row0 + product.row(r);
      const auto* weight = last.weight + K::Weight::offset(o, i);
      const float left = product.sum(r, j, 0) * Precision::to_float(weight[0]);
      const float right = product.sum(r, j, 1) * Precision::to_float(weight[1]);
      row_sums[r] += left * by_column.x + right * by_column.y;
      column_sums.x += left * last.scale_out[o];
      column_sums.y += right * last.scale_out[o];
    }
#pragma unroll
    for (int d = Product::kLanesPerRow; d < 32; d *= 2) {
      column_sums.x += __shfl_xor_sync(0xffffffffu, column_sums.x, d);
      column_sums.y += __shfl_xor_sync(0xffffffffu, column_sums.y, d);
    }
    if (lane < Product::kLanesPerRow) *reinterpret_cast<float2*>(&last.columns[warp / 2][i]) = column_sums;
  }
#pragma unroll
  for (int r = 0; r < Product::kRows; ++r) {
#pragma unroll
    for (int d = 1; d < Product::kLanesPerRow; d *= 2) row_sums[r] += __shfl_xor_sync(0xffffffffu, row_sums[r], d);
    if (lane % Product::kLanesPerRow == 0) last.rows[warp % 2][row0 + product.row(r)] = row_sums[r];
  }
  __syncthreads();

  // The block's part of each gradient; the second half of the threads writes the columns.
  if (thread < K::kRows) {
    const int64_t o = first_row + thread;
    if (o < end_row) {
      float sum = 0.0f;
      for (const auto& rows : last.rows) sum += rows[thread];
      if (p.row_parts) p.row_parts[(blockIdx.z * column_tiles + column_tile) * p.w.out + o] = sum;
      if (p.bias_parts && first_column == 0) p.bias_parts[blockIdx.z * p.w.out + o] = last.bias[0][thread] + last.bias[1][thread];
    }
  } else {
    const int column = thread - K::kRows;
    const int64_t i = first_column + column;
    if (p.column_parts && i < p.w.in) {
      const int64_t part = (group * gridDim.z + blockIdx.z) * row_tiles + row_tile;
      float sum = 0.0f;
      for (const auto& columns : last.columns) sum += columns[column];
      p.column_parts[part * p.w.in + i] = sum;
    }
  }
}

struct SumParts : SumPartsCut {
  static constexpr int kThreads = kColumns * kLanes;

  template <class Element>
  static LaunchShape shape(const SumPartsParams<Element>& p) {
    int64_t most = 1;
    for (const auto& job : p.jobs) most = std::max(most, job.result ? job.batch * job.width : 0);
    return {dim3(static_cast<unsigned>(ceil_divide(most, kColumns)), 3), dim3(kThreads), 0};
  }
};

template <class Precision>
__global__ void __launch_bounds__(SumParts::kThreads)
    sum_parts(const __grid_constant__ SumPartsParams<typename Precision::Element> p) {
  __shared__ float sums[SumParts::kLanes][SumParts::kColumns];
  const auto& job = p.jobs[blockIdx.y];
  const int column = static_cast<int>(threadIdx.x) % SumParts::kColumns,
            first = static_cast<int>(threadIdx.x) / SumParts::kColumns;
  const int64_t at = int64_t(blockIdx.x) * SumParts::kColumns + column;
  const bool wanted = job.result && at < job.batch * job.width;
  float sum = 0.0f;
  if (wanted) {
    const int64_t of_batch = job.batch == 1 ? 0 : at / job.width;
    const float* parts = job.parts + of_batch * job.count * job.width + (at - of_batch * job.width);
#pragma unroll SumParts::kLoads
    for (int64_t part = first; part < job.count; part += SumParts::kLanes) sum += parts[part * job.width];
  }
  sums[first][column] = sum;
  __syncthreads();
  if (!wanted || first != 0) return;
  sum = 0.0f;
#pragma unroll
  for (const auto& lane : sums) sum += lane[column];
  if (job.to_float) {
    static_cast<float*>(job.result)[at] = sum;
  } else {
    static_cast<typename Precision::Element*>(job.result)[at] = Precision::from_float(sum);
  }
}

}  // namespace respeft::cuda
