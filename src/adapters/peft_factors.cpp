#include "src/adapters/peft_factors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <stdexcept>

namespace respeft::adapters {

const std::vector<FactorKind>& factor_kinds(const std::string& method) {
  static const std::map<std::string, std::vector<FactorKind>> kinds = {
      {"lora", {{"lora_A", 0, false}, {"lora_B", 1, true}}},
      {"adalora", {{"lora_A", 0, false}, {"lora_E", 0, false}, {"lora_B", 1, true}}},
      {"loha", {{"hada_w1_a", 1, true}, {"hada_w1_b", 0, false}, {"hada_w2_a", 1, false}, {"hada_w2_b", 0, false}}},
      {"lokr",
       {{"lokr_w1", -1, true},
        {"lokr_w1_a", 1, true},
        {"lokr_w1_b", 0, false},
        {"lokr_w2", -1, false},
        {"lokr_w2_a", 1, false},
        {"lokr_w2_b", 0, false}}},
  };
  return kinds.at(method);
}

int64_t rank_of(const std::string& method, const FactorMap& factors) {
  int64_t rank = 0;
  const char* first = nullptr;
  for (const auto& kind : factor_kinds(method)) {
    const auto found = factors.find(kind.name);
    if (kind.rank_dim < 0 || found == factors.end()) continue;
    const int64_t own = found->second.size(kind.rank_dim);
    if (first && own != rank)
      throw std::runtime_error(fmt::format("{} has rank {}, {} has rank {}", first, rank, kind.name, own));
    first = kind.name;
    rank = own;
  }
  return rank;
}

FactorMap padded(const std::string& method, FactorMap factors, int64_t rank) {
  for (const auto& kind : factor_kinds(method)) {
    const auto found = factors.find(kind.name);
    if (kind.rank_dim < 0 || found == factors.end()) continue;
    auto& factor = found->second;
    auto sizes = factor.sizes().vec();
    sizes[static_cast<size_t>(kind.rank_dim)] = rank - factor.size(kind.rank_dim);
    if (sizes[static_cast<size_t>(kind.rank_dim)] > 0)
      factor = at::cat({factor, at::zeros(sizes, factor.options())}, kind.rank_dim);
  }
  return factors;
}

FactorMap scaled(const std::string& method, FactorMap factors, double factor) {
  for (const auto& kind : factor_kinds(method)) {
    const auto found = factors.find(kind.name);
    if (kind.scales && found != factors.end()) found->second = found->second * factor;
  }
  return factors;
}

FactorMap fused(const std::string& method, const std::map<int64_t, FactorMap>& updates, int64_t parts) {
  FactorMap result;
  for (const auto& kind : factor_kinds(method)) {
    // Factors [r, in] stand below each other; factors [rows, r] on a diagonal, so that each run sees its own.
    std::vector<at::Tensor> below;
    int64_t rank = 0;
    for (const auto& [part, factors] : updates) {
      below.push_back(factors.at(kind.name));
      rank += below.back().size(kind.rank_dim);
    }
    if (kind.rank_dim == 0) {
      result[kind.name] = at::cat(below, 0);
      continue;
    }
    const int64_t rows = below[0].size(0);
    auto diagonal = at::zeros({parts * rows, rank}, below[0].options());
    int64_t column = 0;
    for (const auto& [part, factors] : updates) {
      const auto& factor = factors.at(kind.name);
      diagonal.narrow(0, part * rows, rows).narrow(1, column, factor.size(1)).copy_(factor);
      column += factor.size(1);
    }
    result[kind.name] = diagonal;
  }
  return result;
}

FactorMap part_of(const std::string& method, const FactorMap& whole, int64_t part, int64_t parts) {
  FactorMap result;
  for (const auto& kind : factor_kinds(method)) {
    const auto& factor = whole.at(kind.name);
    const int64_t rows = factor.size(0) / parts;
    result[kind.name] = kind.rank_dim == 0 ? factor : factor.narrow(0, part * rows, rows);
  }
  return result;
}

}  // namespace respeft::adapters
