#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "tests/cuda/kernels/backend.h"

/// Every kernel in every precision against float64 on the host, from the same rounded operands.
///
/// A result passes if |result - exact| ≤ (roundings · u + (depth + 16) · 2⁻²⁴) · S: S is the sum of the absolute values of the
/// terms; `roundings` counts how often a term or the result is rounded to the working precision, whose unit roundoff u is 2⁻⁸
/// (bfloat16), 2⁻¹¹ (float16, TF32) or 2⁻²⁴ (float32); the rest is the float32 sum of `depth` terms. Float16 results below 2⁻¹⁴
/// are rounded to multiples of 2⁻²⁴, which adds 2⁻²⁵.
namespace respeft::cuda::test {

template <class Precision>
constexpr double unit_roundoff() {
  if constexpr (std::is_same_v<Precision, BFloat16>) return 0x1p-8;
  if constexpr (std::is_same_v<Precision, Float32>) return 0x1p-24;
  return 0x1p-11;
}

/// What rounding below the smallest normal number adds.
template <class Precision>
constexpr double subnormal_rounding() {
  return std::is_same_v<Precision, Float16> ? 0x1p-25 : 0.0;
}

template <class Element>
double exact(Element value) {
  return static_cast<double>(static_cast<float>(value));
}

/// A matrix or vector of random numbers on the device, and its values in float64.
template <class Backend, class T>
class Operand {
 public:
  /// `offset` elements from a 256-byte boundary.
  Operand(int64_t size, const char* name, std::mt19937& generator, double scale = 1.0, size_t offset = 0)
      : buffer(static_cast<size_t>(size), name, true, offset), values(static_cast<size_t>(size)) {
    std::uniform_real_distribution<double> uniform(-scale, scale);
    for (size_t i = 0; i < values.size(); ++i) {
      buffer[i] = T(static_cast<float>(uniform(generator)));
      values[i] = exact(buffer[i]);
    }
  }
  const T* data() const { return buffer.data(); }
  double operator[](int64_t i) const { return values[static_cast<size_t>(i)]; }

  typename Backend::template Buffer<T> buffer;
  std::vector<double> values;
};

/// A sum in float64, and the sum of its terms' absolute values.
struct Sum {
  double value = 0, absolute = 0;
  void add(double term) { value += term, absolute += std::fabs(term); }
};

/// Roundings of a product of operands as they are: TF32 rounds both operands, the others the result.
template <class Precision>
constexpr int product_roundings() {
  return std::is_same_v<Precision, TensorFloat32> ? 2 : 1;
}

template <class Precision, class T>
void expect_near(T result, const Sum& sum, int roundings, int64_t depth, const char* what, int64_t index) {
  const double bound = (roundings * unit_roundoff<Precision>() + static_cast<double>(depth + 16) * 0x1p-24) * sum.absolute +
                       subnormal_rounding<Precision>();
  const double error = std::fabs(exact(result) - sum.value);
  if (!(error <= bound))
    ADD_FAILURE() << what << "[" << index << "] is " << exact(result) << ", exactly " << sum.value << ": off by " << error
                  << ", allowed " << bound;
}

struct Size {
  int64_t tokens, in, out, groups;
  size_t offset = 0;  ///< of every operand, in elements: 1 takes the path without 16-byte accesses
};

/// One, odd, whole tiles, more than a tile on every side, groups that end inside a tile, more than a band of tiles; aligned and
/// not.
inline const std::vector<Size> kSizes = {
    {1, 1, 1, 1},      {3, 5, 6, 3},       {64, 64, 64, 1},  {65, 33, 70, 1},   {70, 72, 96, 3},
    {33, 200, 132, 2}, {17, 40, 48, 3, 1}, {130, 24, 16, 1}, {1100, 8, 130, 1},
};

template <class Backend, class Precision>
struct RescaledLayer {
  using Element = typename Precision::Element;
  RescaledLayer(const Size& s, std::mt19937& generator)
      : size(s),
        rows(s.out / s.groups),
        weight(s.out * s.in, "weight", generator, 0.5, s.offset),
        scale_in(s.groups * s.in, "scale_in", generator, 1.0, s.offset),
        scale_out(s.out, "scale_out", generator, 1.0, s.offset) {}

  RescaledWeight<Element> view(bool residual) const {
    return {weight.data(), scale_in.data(), scale_out.data(), size.in, size.out, rows, residual ? 1.0f : 0.0f};
  }
  double factor(int64_t o, int64_t i, bool residual) const {
    return (residual ? 1.0 : 0.0) + scale_out[o] * scale_in[o / rows * size.in + i];
  }

  Size size;
  int64_t rows;
  Operand<Backend, Element> weight;
  Operand<Backend, float> scale_in, scale_out;
};

template <class Backend, class Precision, Direction direction>
void check_rescaled_product(Backend& backend, const Size& s, bool residual) {
  using Element = typename Precision::Element;
  constexpr bool forward = direction == Direction::Forward;
  std::mt19937 generator(7);
  const RescaledLayer<Backend, Precision> layer(s, generator);
  const int64_t depth = forward ? s.in : s.out, width = forward ? s.out : s.in;
  const Operand<Backend, Element> input(s.tokens * depth, "input", generator, 1.0, s.offset), bias(s.out, "bias", generator);
  typename Backend::template Buffer<Element> output(static_cast<size_t>(s.tokens * width), "output", false, s.offset);
  const bool biased = forward && s.in != 33;
  RescaledProductParams<Element> params{layer.view(residual), input.data(), biased ? bias.data() : nullptr, output.data(),
                                        s.tokens};
  params.align(direction);
  backend.template run<RescaledProductKernel<Precision, direction>>(RescaledProduct<Precision, direction>::shape(params), params);
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      Sum sum;
      for (int64_t k = 0; k < depth; ++k) {
        const int64_t o = forward ? c : k, i = forward ? k : c;
        sum.add(input[t * depth + k] * layer.weight[o * s.in + i] * layer.factor(o, i, residual));
        // The factor 1 + s s' is rounded in float32 before it can cancel.
        sum.absolute += 4.0 * std::fabs(input[t * depth + k] * layer.weight[o * s.in + i]) * 0x1p-24 / unit_roundoff<Precision>();
      }
      if (biased) sum.add(bias[c]);
      expect_near<Precision>(output[static_cast<size_t>(t * width + c)], sum, 2, depth, "output", t * width + c);
    }
  }
}

template <class Backend, class Precision>
void check_rescale(Backend& backend, const Size& s, bool residual) {
  using Element = typename Precision::Element;
  std::mt19937 generator(9);
  const RescaledLayer<Backend, Precision> layer(s, generator);
  typename Backend::template Buffer<Element> rescaled(static_cast<size_t>(s.out * s.in), "rescaled", false, s.offset);
  RescaleParams<Element> params{layer.view(residual), rescaled.data()};
  params.align();
  backend.template run<RescaleKernel<Precision>>(RescaleWeight::shape<Precision>(params), params);
  for (int64_t o = 0; o < s.out; ++o) {
    for (int64_t i = 0; i < s.in; ++i) {
      const double weight = layer.weight[o * s.in + i];
      const Sum sum{weight * layer.factor(o, i, residual), 2.0 * std::fabs(weight)};
      expect_near<Precision>(rescaled[static_cast<size_t>(o * s.in + i)], sum, 1, 1, "rescaled", o * s.in + i);
    }
  }
}

/// Which gradients are computed, and whether those of the scales are float32 or in the working precision.
struct Gradients {
  bool scale_in = true, scale_out = true, bias = true;
  bool float_scale_in = true, float_scale_out = true;
};

/// The two stages together, as the operator runs them on a GPU with that many `processors`.
template <class Backend, class Precision>
void check_scale_gradients(Backend& backend, const Size& s, int64_t processors, const Gradients& wanted) {
  using Element = typename Precision::Element;
  std::mt19937 generator(11);
  const RescaledLayer<Backend, Precision> layer(s, generator);
  const Operand<Backend, Element> grad(s.tokens * s.out, "grad", generator, 1.0, s.offset),
      input(s.tokens * s.in, "input", generator, 1.0, s.offset);
  const auto weight = layer.view(true);
  const auto tiles = ScaleGradientTiles::choose(weight, s.tokens, processors);
  const int64_t column_count = tiles.splits * tiles.rows, row_count = tiles.splits * tiles.columns;
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  typename Backend::template Buffer<float> column_parts(size(s.groups * column_count * s.in), "column_parts", false),
      row_parts(size(row_count * s.out), "row_parts", false), bias_parts(size(tiles.splits * s.out), "bias_parts", false);
  ScaleGradientsParams<Element> params{weight,
                                       grad.data(),
                                       input.data(),
                                       wanted.scale_in ? column_parts.data() : nullptr,
                                       wanted.scale_out ? row_parts.data() : nullptr,
                                       wanted.bias ? bias_parts.data() : nullptr,
                                       s.tokens,
                                       tiles.split_tokens};
  params.align();
  backend.template run<ScaleGradientsKernel<Precision>>(ScaleGradients<Precision>::shape(params), params);

  // As bytes: the gradients are floats or elements.
  const auto width = [](bool is_float) { return is_float ? sizeof(float) : sizeof(Element); };
  typename Backend::template Buffer<unsigned char> grad_in(size(s.groups * s.in) * width(wanted.float_scale_in), "grad_scale_in",
                                                           false),
      grad_out(size(s.out) * width(wanted.float_scale_out), "grad_scale_out", false),
      grad_bias(size(s.out) * sizeof(Element), "grad_bias", false);
  const auto job = [](bool needed, const float* parts, auto& to, int64_t batch, int64_t count, int64_t columns, bool is_float) {
    using Job = typename SumPartsParams<Element>::Job;
    return needed ? Job{parts, to.data(), batch, count, columns, is_float} : Job{};
  };
  const SumPartsParams<Element> sums{
      {job(wanted.scale_in, column_parts.data(), grad_in, s.groups, column_count, s.in, wanted.float_scale_in),
       job(wanted.scale_out, row_parts.data(), grad_out, 1, row_count, s.out, wanted.float_scale_out),
       job(wanted.bias, bias_parts.data(), grad_bias, 1, tiles.splits, s.out, false)}};
  // Float32 and TF32 share this kernel.
  using Stored = std::conditional_t<std::is_same_v<Element, float>, Float32, Precision>;
  backend.template run<SumPartsKernel<Stored>>(SumParts::shape(sums), sums);

  const auto read = [&](auto& buffer, int64_t i, bool as_float) {
    if (as_float) return exact(reinterpret_cast<const float*>(buffer.data())[i]);
    return exact(reinterpret_cast<const Element*>(buffer.data())[i]);
  };
  std::vector<Sum> in(size(s.groups * s.in)), out(size(s.out)), bias(size(s.out));
  for (int64_t o = 0; o < s.out; ++o) {
    for (int64_t t = 0; t < s.tokens; ++t) bias[size(o)].add(grad[t * s.out + o]);
    for (int64_t i = 0; i < s.in; ++i) {
      Sum g;
      for (int64_t t = 0; t < s.tokens; ++t) g.add(grad[t * s.out + o] * input[t * s.in + i]);
      const double w = layer.weight[o * s.in + i];
      const int64_t at = o / layer.rows * s.in + i;
      const auto times = [](const Sum& sum, double factor) { return Sum{sum.value * factor, sum.absolute * std::fabs(factor)}; };
      const auto accumulate = [](Sum& to, const Sum& term) { to.value += term.value, to.absolute += term.absolute; };
      accumulate(in[size(at)], times(g, w * layer.scale_out[o]));
      accumulate(out[size(o)], times(g, w * layer.scale_in[at]));
    }
  }
  const auto roundings = [](bool is_float) { return (std::is_same_v<Precision, TensorFloat32> ? 2 : 0) + (is_float ? 0 : 1); };
  for (int64_t at = 0; at < s.groups * s.in && wanted.scale_in; ++at)
    expect_near<Precision>(static_cast<float>(read(grad_in, at, wanted.float_scale_in)), in[size(at)],
                           roundings(wanted.float_scale_in), s.tokens + s.out, "grad_scale_in", at);
  for (int64_t o = 0; o < s.out; ++o) {
    if (wanted.scale_out)
      expect_near<Precision>(static_cast<float>(read(grad_out, o, wanted.float_scale_out)), out[size(o)],
                             roundings(wanted.float_scale_out), s.tokens + s.in, "grad_scale_out", o);
    if (wanted.bias)
      expect_near<Precision>(static_cast<float>(read(grad_bias, o, false)), bias[size(o)], 1, s.tokens, "grad_bias", o);
  }
}

/// The identity times W'ᵀ is W'ᵀ: what the fused product makes of the weight is what `rescale_weight` writes, bit for bit.
template <class Backend, class Precision>
void check_products_weight(Backend& backend, const Size& s) {
  using Element = typename Precision::Element;
  std::mt19937 generator(23);
  const RescaledLayer<Backend, Precision> layer(s, generator);
  typename Backend::template Buffer<Element> rescaled(static_cast<size_t>(s.out * s.in), "rescaled", false);
  RescaleParams<Element> rescale{layer.view(true), rescaled.data()};
  rescale.align();
  using Stored = std::conditional_t<std::is_same_v<Element, float>, Float32, Precision>;
  backend.template run<RescaleKernel<Stored>>(RescaleWeight::shape<Stored>(rescale), rescale);
  typename Backend::template Buffer<Element> identity(static_cast<size_t>(s.in * s.in), "identity", true),
      output(static_cast<size_t>(s.in * s.out), "output", false);
  for (int64_t i = 0; i < s.in * s.in; ++i) identity[static_cast<size_t>(i)] = Element(i % (s.in + 1) == 0 ? 1.0f : 0.0f);
  RescaledProductParams<Element> params{layer.view(true), identity.data(), nullptr, output.data(), s.in};
  params.align(Direction::Forward);
  backend.template run<RescaledProductKernel<Precision, Direction::Forward>>(
      RescaledProduct<Precision, Direction::Forward>::shape(params), params);
  for (int64_t i = 0; i < s.in; ++i)
    for (int64_t o = 0; o < s.out; ++o)
      ASSERT_EQ(exact(output[static_cast<size_t>(i * s.out + o)]), exact(rescaled[static_cast<size_t>(o * s.in + i)]))
          << o << ", " << i;
}

/// A layer with low-rank updates in some of its rows.
struct UpdateSize {
  int64_t tokens, in, out, rank, height;
  std::vector<int64_t> rows;  ///< where each group's begin
  int64_t more = 0;           ///< rows of down beyond those that up reads
  size_t offset = 0;

  int64_t groups() const { return static_cast<int64_t>(rows.size()); }
  int64_t used() const { return groups() * rank; }
  Groups view() const {
    Groups groups{static_cast<int>(rows.size()), height, rank, {}};
    std::copy(rows.begin(), rows.end(), groups.rows);
    return groups;
  }
  /// The group that output row o belongs to, or -1.
  int64_t group_of(int64_t o) const {
    for (int64_t g = 0; g < groups(); ++g)
      if (rows[static_cast<size_t>(g)] <= o && o < rows[static_cast<size_t>(g)] + height) return g;
    return -1;
  }
};

/// One, odd, groups that meet in a tile and end inside one, gaps, the most groups, ranks and depths of several steps; aligned and
/// not.
inline const std::vector<UpdateSize> kUpdateSizes = {
    {1, 1, 1, 1, 1, {0}},
    {5, 9, 12, 3, 4, {0, 8}, 2},
    {64, 64, 128, 8, 64, {0, 64}},
    {33, 40, 141, 5, 47, {0, 94}},
    {130, 72, 152, 16, 32, {16, 96}, 16},
    {20, 136, 24, 40, 24, {0}, 0, 1},
    {9, 24, 36, 2, 4, {0, 4, 8, 12, 20, 24, 28, 32}},
    {18, 16, 60, 100, 28, {0, 30}},
    {35, 420, 330, 40, 310, {10}},
    {3, 33, 640, 33, 320, {0, 320}},
    {1100, 8, 70, 2, 70, {0}},
};

template <class Backend, class Precision>
struct UpdatedLayer {
  using Element = typename Precision::Element;
  UpdatedLayer(const UpdateSize& s, std::mt19937& generator)
      : weight(s.out * s.in, "weight", generator, 0.5, s.offset),
        down((s.used() + s.more) * s.in, "down", generator, 1.0, s.offset),
        up(s.groups() * s.height * s.rank, "up", generator, 1.0, s.offset) {}
  Operand<Backend, Element> weight, down, up;
};

template <class Backend, class Precision, Direction direction>
void check_thin_product(Backend& backend, const UpdateSize& s, bool with_addend) {
  using Element = typename Precision::Element;
  constexpr bool forward = direction == Direction::Forward;
  std::mt19937 generator(13);
  const UpdatedLayer<Backend, Precision> layer(s, generator);
  const int64_t columns = s.used() + s.more, width = forward ? s.in : s.out, addend_width = forward ? s.used() : columns;
  const Operand<Backend, Element> input(s.tokens * width, "input", generator, 1.0, s.offset),
      addend(s.tokens * addend_width, "addend", generator);
  typename Backend::template Buffer<Element> output(static_cast<size_t>(s.tokens * columns), "output", false);
  ThinProductParams<Element> params{input.data(),
                                    forward ? layer.down.data() : layer.up.data(),
                                    with_addend ? addend.data() : nullptr,
                                    output.data(),
                                    s.tokens,
                                    width,
                                    addend_width,
                                    s.used(),
                                    columns,
                                    s.in,
                                    forward ? 1.0f : 0.75f};
  params.groups = forward ? Groups{1, 0, columns, {}} : s.view();
  params.align(direction);
  backend.template run<ThinProductKernel<Precision, direction>>(ThinProduct<Precision, direction>::shape(params), params);
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t c = 0; c < (forward ? columns : s.used()); ++c) {
      Sum sum;
      const int64_t depth = forward ? s.in : s.height;
      for (int64_t k = 0; k < depth; ++k) {
        if (forward) {
          sum.add(input[t * width + k] * layer.down[c * s.in + k]);
        } else {
          const int64_t g = c / s.rank;
          sum.add(0.75 * input[t * width + s.rows[static_cast<size_t>(g)] + k] *
                  layer.up[(g * s.height + k) * s.rank + c % s.rank]);
        }
      }
      if (with_addend && c < s.used()) sum.add(addend[t * addend_width + c]);
      expect_near<Precision>(output[static_cast<size_t>(t * columns + c)], sum, product_roundings<Precision>(), depth, "output",
                             t * columns + c);
    }
  }
}

template <class Backend, class Precision, Direction direction>
void check_updated_product(Backend& backend, const UpdateSize& s) {
  using Element = typename Precision::Element;
  constexpr bool forward = direction == Direction::Forward;
  constexpr double scaling = 1.5;
  std::mt19937 generator(17);
  const UpdatedLayer<Backend, Precision> layer(s, generator);
  const int64_t columns = s.used() + s.more, depth = forward ? s.in : s.out, width = forward ? s.out : s.in;
  const Operand<Backend, Element> input(s.tokens * depth, "input", generator, 1.0, s.offset),
      middle(s.tokens * columns, "middle", generator, 1.0, s.offset), bias(s.out, "bias", generator);
  typename Backend::template Buffer<Element> output(static_cast<size_t>(s.tokens * width), "output", false, s.offset);
  UpdatedProductParams<Element> params{input.data(),
                                       layer.weight.data(),
                                       forward ? bias.data() : nullptr,
                                       middle.data(),
                                       forward ? layer.up.data() : layer.down.data(),
                                       output.data(),
                                       s.tokens,
                                       s.in,
                                       s.out,
                                       columns,
                                       static_cast<float>(scaling)};
  params.groups = s.view();
  params.align(direction);
  backend.template run<UpdatedProductKernel<Precision, direction>>(UpdatedProduct<Precision, direction>::shape(params), params);
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      Sum sum;
      for (int64_t k = 0; k < depth; ++k) sum.add(input[t * depth + k] * layer.weight[forward ? c * s.in + k : k * s.in + c]);
      if (forward) {
        sum.add(bias[c]);
        const int64_t g = s.group_of(c);
        for (int64_t r = 0; r < s.rank && g >= 0; ++r)
          sum.add(scaling * middle[t * columns + g * s.rank + r] *
                  layer.up[(g * s.height + c - s.rows[static_cast<size_t>(g)]) * s.rank + r]);
      } else {
        for (int64_t r = 0; r < columns; ++r) sum.add(scaling * middle[t * columns + r] * layer.down[r * s.in + c]);
      }
      expect_near<Precision>(output[static_cast<size_t>(t * width + c)], sum, product_roundings<Precision>(), depth + columns,
                             "output", t * width + c);
    }
  }
}

template <class Backend, class Precision>
void check_fold(Backend& backend, const UpdateSize& s) {
  using Element = typename Precision::Element;
  constexpr double scaling = 0.5;
  std::mt19937 generator(19);
  const UpdatedLayer<Backend, Precision> layer(s, generator);
  typename Backend::template Buffer<Element> folded(static_cast<size_t>(s.out * s.in), "folded", false, s.offset);
  FoldParams<Element> params{layer.weight.data(),        layer.down.data(), layer.up.data(), folded.data(), s.in, s.out,
                             static_cast<float>(scaling)};
  params.groups = s.view();
  params.align();
  backend.template run<FoldKernel<Precision>>(Fold<Precision>::shape(params), params);
  for (int64_t o = 0; o < s.out; ++o) {
    const int64_t g = s.group_of(o);
    for (int64_t i = 0; i < s.in; ++i) {
      Sum sum;
      sum.add(layer.weight[o * s.in + i]);
      for (int64_t r = 0; r < s.rank && g >= 0; ++r)
        sum.add(scaling * layer.up[(g * s.height + o - s.rows[static_cast<size_t>(g)]) * s.rank + r] *
                layer.down[(g * s.rank + r) * s.in + i]);
      expect_near<Precision>(folded[static_cast<size_t>(o * s.in + i)], sum, product_roundings<Precision>(), s.rank, "folded",
                             o * s.in + i);
    }
  }
}

}  // namespace respeft::cuda::test
