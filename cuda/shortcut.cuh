#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/shortcut.h"
#include "cuda/tile.cuh"

/// Kernels of `respeft::shortcut_linear` and `respeft::folded_linear`; what they compute is said beside their parameters in
/// shortcut.h.
namespace respeft::cuda {

/// The groups that have output rows in [first, end): `begin` to `begin + number`.
__device__ __forceinline__ void groups_meeting(const Groups& groups, int64_t first, int64_t end, int& begin, int& number) {
  begin = 0, number = 0;
#pragma unroll
  for (int g = 0; g < Groups::kMost; ++g) {
    if (g >= groups.count) break;
    if (groups.rows[g] + groups.height <= first) {
      begin = g + 1;
    } else if (groups.rows[g] < end) {
      ++number;
    }
  }
}

// ---- Thin products: [tokens, many] · [many, rank], plus what earlier layers pass on -------------------------------------------

template <class Precision, Direction direction>
using ThinProductTiles = TiledProduct<Precision, kThinProductCut, Along::Depth, weight_lines(direction)>;

template <class Precision, Direction direction>
struct ThinProduct : ThinProductTiles<Precision, direction> {
  using Tiles = ThinProductTiles<Precision, direction>;
  using Element = typename Precision::Element;
  static constexpr bool kForward = direction == Direction::Forward;
  static constexpr int kWarps = Tiles::kThreads / 32, kWarpDepth = Tiles::kDepth / kWarps;

  union Shared {
    typename Tiles::Stage stages[Tiles::kStages];
    alignas(16) float sums[kWarps][Tiles::kRows * kStagedPitch<Tiles::kColumns>];
  };

  static LaunchShape shape(const ThinProductParams<Element>& p) {
    return {dim3(static_cast<unsigned>(ceil_divide(p.tokens, Tiles::kRows)),
                 static_cast<unsigned>(p.groups.count * ceil_divide(p.groups.rank, Tiles::kColumns))),
            dim3(Tiles::kThreads), sizeof(Shared)};
  }
};

template <class Precision, Direction direction>
__global__ void __launch_bounds__(ThinProduct<Precision, direction>::kThreads, 4)
    thin_product(const __grid_constant__ ThinProductParams<typename Precision::Element> p) {
  using K = ThinProduct<Precision, direction>;
  RESPEFT_DYNAMIC_SHARED(raw);
  auto& shared = *reinterpret_cast<typename K::Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int64_t token0 = int64_t(blockIdx.x) * K::kRows;
  const unsigned tiles = static_cast<unsigned>((p.groups.rank + K::kColumns - 1) / K::kColumns);
  const int group = static_cast<int>(blockIdx.y / tiles);
  const int64_t first = int64_t(blockIdx.y % tiles) * K::kColumns;  // column within the group
  const int depth_length = static_cast<int>(K::kForward ? p.depth : p.groups.height);
  const int input_start = K::kForward ? 0 : static_cast<int>(p.groups.rows[group]);

  typename K::Product product(thread % 32);
  const TileLoader<typename K::A, K::kThreads> input(p.input, p.input_stride, token0, p.tokens, p.vector_input, thread);
  const TileLoader<typename K::B, K::kThreads> factor(p.factor, K::kForward ? p.depth : p.groups.rank, first, p.groups.rank,
                                                      p.vector_factor, thread);
  const int factor_start = K::kForward ? 0 : group * depth_length;
  const auto load = [&](int stage, int step) {
    const int depth = step * K::kDepth;
    input.load(shared.stages[stage].a, input_start + depth, input_start + depth_length);
    factor.load(shared.stages[stage].b, factor_start + depth, factor_start + depth_length);
  };
  const auto compute = [&](int stage, int) {
    const auto& s = shared.stages[stage];
    product.template add<typename K::A, typename K::B, K::kWarpDepth>(s.a, s.b, 0, 0, warp * K::kWarpDepth);
  };
  pipeline<K::kStages>(static_cast<int>((depth_length + K::kDepth - 1) / K::kDepth), load, compute);

  stage_sums<K::kColumns>(shared.sums[warp], product, 0, 0);
  __syncthreads();
  for (int at = thread; at < K::kRows * K::kColumns; at += K::kThreads) {
    const int line = at / K::kColumns, position = at % K::kColumns;
    const int64_t token = token0 + line, column = group * p.groups.rank + first + position;
    if (token >= p.tokens || first + position >= p.groups.rank) continue;
    float sum = 0.0f;
#pragma unroll
    for (const auto& part : shared.sums) sum += part[line * kStagedPitch<K::kColumns> + position];
    sum *= p.scaling;
    if (p.addend && column < p.addend_columns) sum += Precision::to_float(p.addend[token * p.addend_stride + column]);
    p.output[token * p.output_stride + column] = Precision::from_float(sum);
  }
}

// ---- The base's product with the update added in its accumulators -------------------------------------------------------------

template <class Precision, Direction direction>
using UpdatedProductTiles = TiledProduct<Precision, kUpdatedProductCut, Along::Depth, weight_lines(direction)>;

template <class Precision, Direction direction>
struct UpdatedProduct : UpdatedProductTiles<Precision, direction> {
  using Tiles = UpdatedProductTiles<Precision, direction>;
  using Element = typename Precision::Element;
  static constexpr bool kForward = direction == Direction::Forward;

  static LaunchShape shape(const UpdatedProductParams<Element>& p) {
    const auto tiles = ceil_divide(p.tokens, Tiles::kRows) * ceil_divide(kForward ? p.out : p.in, Tiles::kColumns);
    return {dim3(static_cast<unsigned>(tiles)), dim3(Tiles::kThreads), sizeof(typename Tiles::Shared)};
  }
};

template <class Precision, Direction direction>
__global__ void __launch_bounds__(UpdatedProduct<Precision, direction>::kThreads, 3)
    updated_product(const __grid_constant__ UpdatedProductParams<typename Precision::Element> p) {
  using K = UpdatedProduct<Precision, direction>;
  RESPEFT_DYNAMIC_SHARED(raw);
  auto& shared = *reinterpret_cast<typename K::Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x);
  const int row0 = thread / 64 * K::kWarpRows, column0 = thread / 32 % 2 * K::kWarpColumns;
  const int64_t end_column = K::kForward ? p.out : p.in;
  const TileOfBlock tile(tiles_of<K::kRows>(p.tokens), tiles_of<K::kColumns>(end_column));
  const int64_t token0 = int64_t(tile.row) * K::kRows, first_column = int64_t(tile.column) * K::kColumns;
  const int depth_length = static_cast<int>(K::kForward ? p.in : p.out);

  typename K::Product product(thread % 32);
  const auto compute = [&](int stage, int) {
    const auto& s = shared.stages[stage];
    product.template add<typename K::A, typename K::B, K::kDepth>(s.a, s.b, row0, column0, 0);
  };

  // The update first, group by group, so that one multiplication of the sums scales it and nothing else.
  const int update_depth = static_cast<int>(K::kForward ? p.groups.rank : p.middle_columns);
  int first_group = 0, met = 1;
  if (K::kForward) groups_meeting(p.groups, first_column, first_column + K::kColumns, first_group, met);
  const int steps_per_group = static_cast<int>((update_depth + K::kDepth - 1) / K::kDepth);
  const TileLoader<typename K::A, K::kThreads> middle(p.middle, p.middle_columns, token0, p.tokens, p.vector_middle, thread);
  const auto load_update = [&](int stage, int step) {
    auto& s = shared.stages[stage];
    const int group = K::kForward ? first_group + step / steps_per_group : 0;
    const int depth = step % steps_per_group * K::kDepth, start = group * update_depth;
    middle.load(s.a, start + depth, start + update_depth);
    if (K::kForward) {
      const int64_t line = group * p.groups.height;  // of up, for the group's first output row
      TileLoader<typename K::B, K::kThreads>(p.factor, p.groups.rank, line + first_column - p.groups.rows[group],
                                             line + p.groups.height, p.vector_factor, thread, line)
          .load(s.b, depth, update_depth);
    } else {
      TileLoader<typename K::B, K::kThreads>(p.factor, p.in, first_column, end_column, p.vector_factor, thread)
          .load(s.b, depth, update_depth);
    }
  };
  pipeline<K::kStages>(met * steps_per_group, load_update, compute);
  product.scale(p.scaling);

  const TileLoader<typename K::A, K::kThreads> input(p.input, depth_length, token0, p.tokens, p.vector_input, thread);
  const TileLoader<typename K::B, K::kThreads> weight(p.weight, p.in, first_column, end_column, p.vector_weight, thread);
  const auto load = [&](int stage, int step) {
    const int depth = step * K::kDepth;
    input.load(shared.stages[stage].a, depth, depth_length);
    weight.load(shared.stages[stage].b, depth, depth_length);
  };
  pipeline<K::kStages>(static_cast<int>((depth_length + K::kDepth - 1) / K::kDepth), load, compute);

  stage_sums<K::kColumns>(shared.sums, product, row0, column0);
  __syncthreads();
  store_tile<Precision, K::kRows, K::kColumns, K::kThreads>(
      shared.sums, {p.output, end_column, token0, p.tokens, first_column, end_column, p.vector_output}, thread,
      [&](auto& values, int64_t, int64_t column, int count) { add_bias<Precision>(values, p.bias, column, count); });
}

// ---- W + scaling · up down ----------------------------------------------------------------------------------------------------

template <class Precision>
using FoldTiles = TiledProduct<Precision, kFoldCut, Along::Depth, Along::Rows>;

template <class Precision>
struct Fold : FoldTiles<Precision> {
  using Tiles = FoldTiles<Precision>;
  using Element = typename Precision::Element;

  static LaunchShape shape(const FoldParams<Element>& p) {
    return {dim3(static_cast<unsigned>(ceil_divide(p.in, Tiles::kColumns) * ceil_divide(p.out, Tiles::kRows))),
            dim3(Tiles::kThreads), sizeof(typename Tiles::Shared)};
  }
};

template <class Precision>
__global__ void __launch_bounds__(Fold<Precision>::kThreads, 4)
    fold_update(const __grid_constant__ FoldParams<typename Precision::Element> p) {
  using K = Fold<Precision>;
  RESPEFT_DYNAMIC_SHARED(raw);
  auto& shared = *reinterpret_cast<typename K::Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x);
  const int row0 = thread / 64 * K::kWarpRows, column0 = thread / 32 % 2 * K::kWarpColumns;
  const unsigned column_tiles = tiles_of<K::kColumns>(p.in);
  const int64_t first_column = int64_t(blockIdx.x % column_tiles) * K::kColumns,
                first_row = int64_t(blockIdx.x / column_tiles) * K::kRows;
  int first_group, met;
  groups_meeting(p.groups, first_row, first_row + K::kRows, first_group, met);
  const int rank = static_cast<int>(p.groups.rank);
  const int steps_per_group = static_cast<int>((rank + K::kDepth - 1) / K::kDepth);

  typename K::Product product(thread % 32);
  const TileLoader<typename K::B, K::kThreads> down(p.down, p.in, first_column, p.in, p.vector_in, thread);
  const auto load = [&](int stage, int step) {
    auto& s = shared.stages[stage];
    const int group = first_group + step / steps_per_group, depth = step % steps_per_group * K::kDepth;
    const int64_t line = group * p.groups.height;
    TileLoader<typename K::A, K::kThreads>(p.up, rank, line + first_row - p.groups.rows[group], line + p.groups.height,
                                           p.vector_up, thread, line)
        .load(s.a, depth, rank);
    down.load(s.b, group * rank + depth, (group + 1) * rank);
  };
  const auto compute = [&](int stage, int) {
    const auto& s = shared.stages[stage];
    product.template add<typename K::A, typename K::B, K::kDepth>(s.a, s.b, row0, column0, 0);
  };
  pipeline<K::kStages>(met * steps_per_group, load, compute);

  stage_sums<K::kColumns>(shared.sums, product, row0, column0);
  __syncthreads();
  store_tile<Precision, K::kRows, K::kColumns, K::kThreads>(
      shared.sums, {p.folded, p.in, first_row, p.out, first_column, p.in, p.vector_in}, thread,
      [&](auto& values, int64_t row, int64_t column, int count) {
        const auto weight = Chunk<Precision>::read(p.weight + row * p.in + column, count, p.vector_in);
#pragma unroll
        for (int i = 0; i < Chunk<Precision>::kSize; ++i)
          values[i] = Precision::to_float(weight.values[i]) + p.scaling * values[i];
      });
}

}  // namespace respeft::cuda
