#include <respeft/methods/lokr.h>

#include <ATen/ATen.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "src/methods/fields.h"
#include "src/methods/updated_linear.h"

namespace respeft {
namespace {

/// One side of the Kronecker product: a matrix of its own, or a product of two of rank r.
struct Side {
  size_t first;  ///< of its factors
  bool decomposed;

  at::Tensor of(const methods::Factors& f) const { return decomposed ? f[first].mm(f[first + 1]) : f[first]; }
};

struct KroneckerUpdate : methods::FactoredUpdate {
  KroneckerUpdate(int64_t first, int64_t count, int64_t in, const LokrOptions& lokr, const at::TensorOptions& options)
      : FactoredUpdate(first, count), scaling(lokr.alpha / static_cast<double>(lokr.rank)) {
    const auto [out_1, out_2] = Lokr::factorize(count, lokr.factor);
    const auto [in_1, in_2] = Lokr::factorize(in, lokr.factor);
    const auto saves = [&](int64_t height, int64_t width) { return lokr.rank < (std::max(height, width) + 1) / 2; };
    w1 = add("lokr_w1", out_1, in_1, lokr.decompose_both && saves(out_1, in_1), lokr.rank, options);
    w2 = add("lokr_w2", out_2, in_2, saves(out_2, in_2), lokr.rank, options);
    for (const auto& factor : all) torch::nn::init::kaiming_uniform_(factor, std::sqrt(5.0));
    torch::nn::init::zeros_(all[0]);
  }

  methods::Factors factors() const override { return all; }
  at::Tensor update(const methods::Factors& f) const override { return at::kron(w1.of(f), w2.of(f)) * scaling; }

  double scaling;
  methods::Factors all;
  Side w1{}, w2{};

 private:
  Side add(const std::string& name, int64_t height, int64_t width, bool decomposed, int64_t rank,
           const at::TensorOptions& options) {
    const Side side{all.size(), decomposed};
    if (decomposed) {
      all.push_back(register_parameter(name + "_a", at::empty({height, rank}, options)));
      all.push_back(register_parameter(name + "_b", at::empty({rank, width}, options)));
    } else {
      all.push_back(register_parameter(name, at::empty({height, width}, options)));
    }
    return side;
  }
};

}  // namespace

Fields LokrOptions::fields() {
  Fields list;
  list.add(methods::rank_field("rank r of the larger Kronecker factor; where that is no saving, the factor is trained whole"),
           rank);
  list.add(methods::alpha_field(), alpha);
  list.add({.name = "factor",
            .help = "height and width of the first Kronecker factor, if it divides the layer's; -1: near the square root",
            .group = "Method",
            .minimum = -1},
           factor);
  list.add(
      {.name = "decompose_both", .help = "factor the smaller Kronecker factor too, if that saves parameters", .group = "Method"},
      decompose_both);
  list.add(methods::linears_field(), targets);
  list.add(methods::blocks_field(), blocks);
  return list;
}

Lokr::Lokr(LokrOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_fields(name(), options_.fields());
  if (options_.factor == 0) throw std::invalid_argument("lokr: factor: must be at least 1, or -1, not 0");
}

Options Lokr::options() const {
  return options_of(options_);
}

std::pair<int64_t, int64_t> Lokr::factorize(int64_t size, int64_t factor) {
  if (factor > 0 && size % factor == 0) return {factor, size / factor};
  int64_t best = 1;
  for (int64_t m = 1; m * m <= size && (factor == -1 || m <= factor); ++m) {
    if (size % m == 0) best = m;
  }
  return {best, size / best};
}

std::shared_ptr<nn::Adapter> Lokr::adapt(const nn::NamedSite& named) const {
  const auto& info = named.info;
  if (info.kind != nn::SiteKind::Linear) return nullptr;
  const auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  return std::make_shared<methods::FactoredAdapter>(info, chosen, targets_.names_whole(info), [&](int64_t first, int64_t rows) {
    return std::make_shared<KroneckerUpdate>(first, rows, info.in_features, options_, named.layer()->weight.options());
  });
}

}  // namespace respeft
