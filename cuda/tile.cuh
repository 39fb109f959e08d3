#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/precision.cuh"
#include "cuda/ptx.cuh"

/// The product of two matrices tile by tile, c[m, n] = Σ_k a[m, k] b[n, k], in the pieces that kernels put together: tiles of
/// a and b on their way from global to shared memory (`Tile`, `TileLoader`, `pipeline`), the part of a warp (`WarpProduct`), and
/// the way of the result to global memory (`store_tile`).
///
/// "Rows" are m of a and n of b, "depth" is k. A tile's lines are contiguous in memory, along the depth or along the rows.
namespace respeft::cuda {

enum class Along { Depth, Rows };

/// A tile in shared memory. Lines are padded so that the 8 lines of a tensor-core tile lie in different banks.
template <class Element_, int Rows, int Depth, Along Lines>
struct Tile {
  using Element = Element_;
  static constexpr Along kAlong = Lines;
  static constexpr int kUnit = 16 / sizeof(Element);  ///< elements in 16 bytes
  static constexpr int kLines = Lines == Along::Depth ? Rows : Depth;
  static constexpr int kLength = Lines == Along::Depth ? Depth : Rows;
  static constexpr int kPitch = kLength + (Lines == Along::Rows && sizeof(Element) == 4 ? 2 : 1) * kUnit;
  static constexpr int kElements = kLines * kPitch;
  static_assert(kLength % kUnit == 0);

  __device__ __forceinline__ static int offset(int row, int depth) {
    return Lines == Along::Depth ? row * kPitch + depth : depth * kPitch + row;
  }
};

/// Copies tiles of a matrix from global to shared memory, with zeros beyond its ends; all `Threads` of the block take part.
///
/// What does not change along the depth is worked out once. Sizes and strides are below 2³¹, offsets are not. A thread copies the
/// same 16 bytes of every `kLineStep`-th line.
template <class Layout, int Threads>
class TileLoader {
 public:
  using Element = typename Layout::Element;

  /// Of the rows from `first_row` on, those in [lowest_row, end_row). `stride` elements separate lines. `vector`: see
  /// `reads_by_16_bytes`.
  __device__ __forceinline__ TileLoader(const Element* data, int64_t stride, int64_t first_row, int64_t end_row, bool vector,
                                        int thread, int64_t lowest_row = 0)
      : stride_(static_cast<int>(stride)), line_(thread / kChunks), position_(thread % kChunks * Layout::kUnit), vector_(vector) {
    if constexpr (kAlongDepth) {
      origin_ = data + (first_row + line_) * stride + position_;
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        const int64_t row = first_row + line_ + turn * kLineStep;
        if (row >= lowest_row && row < end_row) inside_ |= 1u << turn;
      }
    } else {
      origin_ = data + line_ * stride + first_row + position_;
      inside_ = static_cast<unsigned>(clamped(end_row - first_row - position_));
    }
  }

  /// Starts the copy of the depth from `depth` to `end_depth`, or as much of it as the tile takes.
  __device__ __forceinline__ void load(Element* tile, int depth, int end_depth) const {
    if (kIdle && line_ >= Layout::kLines) return;
    const Element* source = origin_ + (kAlongDepth ? depth : int64_t(depth) * stride_);
    const int left = end_depth - depth - (kAlongDepth ? position_ : 0);
    Element* target = tile + line_ * Layout::kPitch + position_;
    const int64_t step = int64_t(kLineStep) * stride_;
    const int whole = kAlongDepth ? clamped(left) : left;
    if (vector_) {
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn)
        ptx::copy_async(target + turn * kLineStep * Layout::kPitch, source + turn * step,
                        count(turn, whole) * static_cast<int>(sizeof(Element)));
    } else {
#pragma unroll 1
      for (int turn = 0; turn < kTurns; ++turn) {
        const int valid = count(turn, whole);
#pragma unroll 1
        for (int i = 0; i < Layout::kUnit; ++i)
          target[turn * kLineStep * Layout::kPitch + i] = i < valid ? source[turn * step + i] : Element(0.0f);
      }
    }
  }

 private:
  static constexpr bool kAlongDepth = Layout::kAlong == Along::Depth;
  static constexpr int kChunks = Layout::kLength / Layout::kUnit;
  static constexpr int kAll = Layout::kLines * kChunks;
  static constexpr bool kIdle = kAll < Threads;  ///< there is less to copy than there are threads
  static constexpr int kTurns = kIdle ? 1 : kAll / Threads;
  static constexpr int kLineStep = Threads / kChunks;
  static_assert(Threads % kChunks == 0 && (kIdle || kAll % Threads == 0) && kTurns <= 32);

  /// Elements of a chunk that are inside, with `left` elements from its start to the end.
  __device__ __forceinline__ static int clamped(int64_t left) {
    return left <= 0 ? 0 : left < Layout::kUnit ? static_cast<int>(left) : Layout::kUnit;
  }
  /// Elements of this turn's chunk that are inside.
  __device__ __forceinline__ int count(int turn, int left) const {
    if constexpr (kAlongDepth) return inside_ >> turn & 1u ? left : 0;
    return line_ + turn * kLineStep < left ? static_cast<int>(inside_) : 0;
  }

  const Element* origin_;
  int stride_, line_, position_;
  unsigned inside_ = 0;  ///< along the depth: a bit for every line; along the rows: the elements of the chunk
  bool vector_;
};

/// The block's tile of the output: down the rows first, within bands of `kTogether` rows of tiles, so that the blocks that run at
/// one time share what they read. The grid is one-dimensional, of all tiles, which are fewer than 2³¹: a division of 64 bits
/// takes a hundred instructions, each waiting for the one before.
struct TileOfBlock {
  static constexpr unsigned kTogether = 16;
  unsigned row, column;  ///< in tiles

  __device__ __forceinline__ TileOfBlock(unsigned row_tiles, unsigned column_tiles) {
    const unsigned band = blockIdx.x / (kTogether * column_tiles), first = band * kTogether;
    const unsigned rows = row_tiles - first < kTogether ? row_tiles - first : kTogether;
    const unsigned within = blockIdx.x - first * column_tiles;
    row = first + within % rows;
    column = within / rows;
  }
};

/// Runs compute(stage, step) for every step, each after load(stage, step) has arrived in shared memory, with the loads of the
/// next `Stages` − 1 steps under way. All threads of the block call it; afterwards shared memory is free to use.
template <int Stages, class Load, class Compute>
__device__ __forceinline__ void pipeline(int steps, const Load& load, const Compute& compute) {
#pragma unroll
  for (int step = 0; step < Stages - 1; ++step) {
    if (step < steps) load(step, step);
    ptx::commit_copies();
  }
  int stage = 0;
  for (int step = 0; step < steps; ++step) {
    ptx::wait_for_copies<Stages - 2>();
    __syncthreads();  // this step's tiles are complete, and nobody reads the stage that is filled next
    const int next = stage == 0 ? Stages - 1 : stage - 1;
    if (step + Stages - 1 < steps) load(next, step + Stages - 1);
    ptx::commit_copies();
    compute(stage, step);
    stage = stage + 1 == Stages ? 0 : stage + 1;
  }
  ptx::wait_for_copies<0>();
  __syncthreads();
}

/// Leaves b as it is.
struct Unchanged {
  static constexpr bool kChanges = false;
  __device__ __forceinline__ float operator()(float value, int, int) const { return value; }
};

/// The `Rows` × `Columns` part of c that a warp adds up in registers, and its products.
///
/// Lane l holds pairs of neighboring columns: row(i) for i < kRows and column(j) for j < kPairs.
template <class Precision, int Rows, int Columns>
struct WarpProduct {
  using Element = typename Precision::Element;
  static constexpr int kLanesPerRow = Precision::kTensorCores ? 4 : 8;  ///< lanes that share a row of c are neighbors
  static constexpr int kRows = Rows / (32 / kLanesPerRow);
  static constexpr int kPairs = Columns / (2 * kLanesPerRow);
  static constexpr int kOperandColumns = Columns / 8;  ///< columns of b, rows of c's transpose, that pass through a lane

  float sums[kRows / 2][kPairs][4] = {};
  int lane;

  __device__ explicit WarpProduct(int lane_) : lane(lane_) {}

  __device__ __forceinline__ int row(int i) const { return lane / kLanesPerRow + 32 / kLanesPerRow * i; }
  __device__ __forceinline__ int column(int j) const { return lane % kLanesPerRow * 2 + 2 * kLanesPerRow * j; }
  /// The two sums at (row(i), column(j)) and to the right of it.
  __device__ __forceinline__ float& sum(int i, int j, int right) { return sums[i / 2][j][i % 2 * 2 + right]; }
  __device__ __forceinline__ float sum(int i, int j, int right) const { return sums[i / 2][j][i % 2 * 2 + right]; }

  /// The column of c that the q-th column of b in this lane belongs to.
  __device__ __forceinline__ int operand_column(int q) const {
    return Precision::kTensorCores ? lane / 4 + 8 * q : lane % 8 * 2 + 16 * (q / 2) + q % 2;
  }

  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (auto& rows : sums)
#pragma unroll
      for (auto& pairs : rows)
#pragma unroll
        for (auto& value : pairs) value *= factor;
  }

  /// Adds the product of `Depth` columns of the tiles, from (row0, depth0) of a and (column0, depth0) of b; every element of b
  /// passes through change(value, q, depth) first: q as for `operand_column`, depth counted in the tile.
  template <class A, class B, int Depth, class Change = Unchanged>
  __device__ __forceinline__ void add(const Element* a, const Element* b, int row0, int column0, int depth0,
                                      const Change& change = {}) {
    static_assert(Depth % Precision::kDepth == 0 && Rows % 16 == 0 && Columns % 16 == 0);
    if constexpr (Precision::kTensorCores) {
#pragma unroll
      for (int depth = depth0; depth < depth0 + Depth; depth += Precision::kDepth)
        add_on_tensor_cores<A, B>(a, b, row0, column0, depth, change);
    } else {
#pragma unroll 8
      for (int depth = depth0; depth < depth0 + Depth; ++depth) add_plainly<A, B>(a, b, row0, column0, depth, change);
    }
  }

 private:
  static constexpr int kUnit = 16 / sizeof(Element);
  static constexpr int kHeld = 4 / sizeof(Element);  ///< elements in a register

  template <class A, class B, class Change>
  __device__ __forceinline__ void add_on_tensor_cores(const Element* a, const Element* b, int row0, int column0, int depth,
                                                      const Change& change) {
    uint32_t left[Rows / 16][4];
#pragma unroll
    for (int i = 0; i < Rows / 16; ++i) load_left<A>(left[i], a, row0 + 16 * i, depth);
#pragma unroll
    for (int j = 0; j < Columns / 16; ++j) {
      uint32_t right[2][2];
      load_right<B>(right, b, column0 + 16 * j, depth);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        changed(right[half], 2 * j + half, depth, change);
#pragma unroll
        for (int i = 0; i < Rows / 16; ++i) Precision::multiply(sums[i][2 * j + half], left[i], right[half]);
      }
    }
  }

  /// 16 rows of a as `ptx::multiply_*` wants them.
  template <class A>
  __device__ __forceinline__ void load_left(uint32_t (&held)[4], const Element* tile, int row, int depth) const {
    if constexpr (A::kAlong == Along::Depth) {
      ptx::load_tiles(held, tile + A::offset(row + lane % 16, depth + lane / 16 * kUnit));
    } else if constexpr (sizeof(Element) == 2) {
      ptx::load_tiles_transposed(held, tile + A::offset(row + lane / 8 % 2 * 8, depth + lane / 16 * 8 + lane % 8));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        held[i] = bits_as<uint32_t>(tile[A::offset(row + lane / 4 + i % 2 * 8, depth + lane % 4 + i / 2 * 4)]);
    }
    if constexpr (sizeof(Element) == 4) round(held);
  }

  /// 16 columns of c's from b: two operands of 8.
  template <class B>
  __device__ __forceinline__ void load_right(uint32_t (&held)[2][2], const Element* tile, int column, int depth) const {
    uint32_t all[4];
    if constexpr (B::kAlong == Along::Depth) {
      ptx::load_tiles(all, tile + B::offset(column + lane / 16 * 8 + lane % 8, depth + lane / 8 % 2 * kUnit));
    } else if constexpr (sizeof(Element) == 2) {
      ptx::load_tiles_transposed(all, tile + B::offset(column + lane / 16 * 8, depth + lane / 8 % 2 * 8 + lane % 8));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        all[i] = bits_as<uint32_t>(tile[B::offset(column + lane / 4 + i / 2 * 8, depth + lane % 4 + i % 2 * 4)]);
    }
    held[0][0] = all[0], held[0][1] = all[1], held[1][0] = all[2], held[1][1] = all[3];
  }

  __device__ __forceinline__ void round(uint32_t (&held)[4]) const {
#pragma unroll
    for (auto& bits : held) bits = ptx::round_to_tf32(bits_as<float>(bits));
  }

  template <class Change>
  __device__ __forceinline__ void changed(uint32_t (&held)[2], int q, int depth, const Change& change) const {
    if constexpr (Change::kChanges || sizeof(Element) == 4) {  // TF32 is rounded here, after the change
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float values[kHeld];
        Precision::unpack(held[i], values);
#pragma unroll
        for (int e = 0; e < kHeld; ++e) values[e] = change(values[e], q, depth + (lane % 4) * kHeld + i * 4 * kHeld + e);
        held[i] = Precision::pack(values);
      }
    }
  }

  template <class A, class B, class Change>
  __device__ __forceinline__ void add_plainly(const Element* a, const Element* b, int row0, int column0, int depth,
                                              const Change& change) {
    float left[kRows], right[kOperandColumns];
#pragma unroll
    for (int i = 0; i < kRows; ++i) left[i] = a[A::offset(row0 + row(i), depth)];
#pragma unroll
    for (int q = 0; q < kOperandColumns; ++q) right[q] = change(b[B::offset(column0 + operand_column(q), depth)], q, depth);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kPairs; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) sum(i, j, e) += left[i] * right[2 * j + e];
  }
};

/// Floats from line to line of a tile in `stage_sums`, where neighboring lanes' pairs lie in different banks.
template <int Columns>
inline constexpr int kStagedPitch = Columns + 8;

/// What follows from a cut. Shared memory holds the stages of the pipeline first and c's tile at the end.
template <class Precision, Cut kCut, Along AlongA, Along AlongB>
struct TiledProduct {
  using Element = typename Precision::Element;
  static constexpr int kRows = kCut.rows, kColumns = kCut.columns, kDepth = kCut.depth_bytes / sizeof(Element),
                       kStages = kCut.stages;
  static constexpr int kWarpRows = kCut.warp_rows, kWarpColumns = kCut.warp_columns, kThreads = kCut.threads;

  using A = Tile<Element, kRows, kDepth, AlongA>;
  using B = Tile<Element, kColumns, kDepth, AlongB>;
  using Product = WarpProduct<Precision, kWarpRows, kWarpColumns>;

  struct Stage {
    alignas(128) Element a[A::kElements];
    alignas(128) Element b[B::kElements];
  };
  union Shared {
    Stage stages[kStages];
    alignas(16) float sums[kRows * kStagedPitch<kColumns>];
  };
};

/// How many tiles of `Side` a side below 2³¹ has.
template <int Side>
__device__ __forceinline__ unsigned tiles_of(int64_t side) {
  return (static_cast<unsigned>(side) + Side - 1) / Side;
}

/// Along what the lines of a weight `[out, in]` lie when it is the second factor.
constexpr Along weight_lines(Direction direction) {
  return direction == Direction::Forward ? Along::Depth : Along::Rows;
}

/// 16 bytes of elements.
template <class Precision>
struct alignas(16) Chunk {
  static constexpr int kSize = 16 / sizeof(typename Precision::Element);
  typename Precision::Element values[kSize];

  /// The first `count` elements at `from`, zeros after; `vector`: `from` is a multiple of 16.
  __device__ __forceinline__ static Chunk read(const typename Precision::Element* from, int count, bool vector) {
    Chunk chunk;
    if (vector && count == kSize) {
      chunk = bits_as<Chunk>(ptx::load_16_bytes(from));
    } else {
#pragma unroll
      for (int i = 0; i < kSize; ++i) chunk.values[i] = i < count ? from[i] : Precision::from_float(0.0f);
    }
    return chunk;
  }
  /// Writes the first `count` elements.
  __device__ __forceinline__ void write(typename Precision::Element* to, int count, bool vector) const {
    if (vector && count == kSize) {
      ptx::store_16_bytes(to, bits_as<uint4>(*this));
    } else {
#pragma unroll
      for (int i = 0; i < kSize; ++i)
        if (i < count) to[i] = values[i];
    }
  }
};

/// The first `count` of `Count` floats at `from`, zeros after; `vector`: `from` is a multiple of 16.
template <int Count>
__device__ __forceinline__ void read_floats(float (&values)[Count], const float* from, int count, bool vector) {
#pragma unroll
  for (int i = 0; i < Count; i += 4) {
    const auto four = Chunk<Float32>::read(from + i, count - i < 4 ? count - i : 4, vector);
#pragma unroll
    for (int e = 0; e < 4; ++e) values[i + e] = four.values[e];
  }
}

/// Adds bias[column …] to `count` values, where there is a bias.
template <class Precision, int Count>
__device__ __forceinline__ void add_bias(float (&values)[Count], const typename Precision::Element* bias, int64_t column,
                                         int count) {
  if (!bias) return;
#pragma unroll
  for (int i = 0; i < Count; ++i)
    if (i < count) values[i] += Precision::to_float(bias[column + i]);
}

/// A part of an output matrix `[·, stride]`: rows `row0` to `end_row`, columns `column0` to `end_column`.
template <class Element>
struct Target {
  Element* data;
  int64_t stride, row0, end_row, column0, end_column;
  bool vector;  ///< every multiple of 16 bytes after column0 is 16-byte aligned
};

/// Writes c's tile `[Rows, Columns]` from shared memory (as `stage_sums` leaves it) to `target`, after
/// finish(values, row, column, count) has had the 16 bytes' worth of floats that begin at (row, column), `count` of them inside.
template <class Precision, int Rows, int Columns, int Threads, class Finish>
__device__ __forceinline__ void store_tile(const float* tile, const Target<typename Precision::Element>& target, int thread,
                                           const Finish& finish) {
  using Out = Chunk<Precision>;
  constexpr int kChunks = Columns / Out::kSize;
#pragma unroll 2
  for (int chunk = thread; chunk < Rows * kChunks; chunk += Threads) {
    const int line = chunk / kChunks, position = chunk % kChunks * Out::kSize;
    const int64_t row = target.row0 + line, column = target.column0 + position;
    if (row >= target.end_row || column >= target.end_column) continue;
    const int count = target.end_column - column < Out::kSize ? static_cast<int>(target.end_column - column) : Out::kSize;
    alignas(16) float values[Out::kSize];
#pragma unroll
    for (int i = 0; i < Out::kSize; i += 4)
      *reinterpret_cast<float4*>(values + i) =
          *reinterpret_cast<const float4*>(tile + line * (kStagedPitch<Columns>)+position + i);
    finish(values, row, column, count);
    Out out;
#pragma unroll
    for (int i = 0; i < Out::kSize; ++i) out.values[i] = Precision::from_float(values[i]);
    out.write(target.data + row * target.stride + column, count, target.vector);
  }
}

/// Puts a warp's sums at (row0, column0) of the tile that `store_tile` reads.
template <int Columns, class Product>
__device__ __forceinline__ void stage_sums(float* tile, const Product& product, int row0, int column0) {
#pragma unroll
  for (int i = 0; i < Product::kRows; ++i)
#pragma unroll
    for (int j = 0; j < Product::kPairs; ++j)
      *reinterpret_cast<float2*>(tile + (row0 + product.row(i)) * (kStagedPitch<Columns>)+column0 + product.column(j)) =
          make_float2(product.sum(i, j, 0), product.sum(i, j, 1));
}

}  // namespace respeft::cuda
