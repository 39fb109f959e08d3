#include <respeft/methods/loha.h>

#include <ATen/ATen.h>
#include <torch/nn/init.h>

#include <cmath>

#include "src/methods/fields.h"
#include "src/methods/updated_linear.h"

namespace respeft {
namespace {

struct HadamardUpdate : methods::FactoredUpdate {
  HadamardUpdate(int64_t first, int64_t count, int64_t in, const LohaOptions& loha, const at::TensorOptions& options)
      : FactoredUpdate(first, count), scaling(loha.alpha / static_cast<double>(loha.rank)) {
    for (const char* product : {"hada_w1", "hada_w2"}) {
      all.push_back(register_parameter(std::string(product) + "_a", at::empty({count, loha.rank}, options)));
      all.push_back(register_parameter(std::string(product) + "_b", at::empty({loha.rank, in}, options)));
    }
    for (size_t i = 0; i < 3; ++i) torch::nn::init::kaiming_uniform_(all[i], std::sqrt(5.0));
    torch::nn::init::zeros_(all[3]);
  }

  methods::Factors factors() const override { return all; }
  at::Tensor update(const methods::Factors& f) const override { return f[0].mm(f[1]) * f[2].mm(f[3]) * scaling; }

  double scaling;
  methods::Factors all;  ///< w1_a, w1_b, w2_a, w2_b
};

}  // namespace

Fields LohaOptions::fields() {
  Fields list;
  list.add(methods::rank_field("rank r of both products; their Hadamard product has a rank of up to r²"), rank);
  list.add(methods::alpha_field(), alpha);
  list.add(methods::linears_field(), targets);
  list.add(methods::blocks_field(), blocks);
  return list;
}

Loha::Loha(LohaOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_fields(name(), options_.fields());
}

Options Loha::options() const {
  return options_of(options_);
}

void Loha::check(const std::vector<nn::NamedSite>& sites) const {
  targets_.check(sites);
  targets_.check_rank("loha", options_.rank, sites);
}

std::shared_ptr<nn::Adapter> Loha::adapt(const nn::NamedSite& named) const {
  const auto& info = named.info;
  if (info.kind != nn::SiteKind::Linear) return nullptr;
  const auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  return std::make_shared<methods::FactoredAdapter>(info, chosen, targets_.names_whole(info), [&](int64_t first, int64_t rows) {
    return std::make_shared<HadamardUpdate>(first, rows, info.in_features, options_, named.layer()->weight.options());
  });
}

}  // namespace respeft
