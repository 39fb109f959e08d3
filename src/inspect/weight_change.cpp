#include <ATen/ATen.h>
#include <fmt/format.h>
#include <respeft/inspect/inspect.h>
#include <respeft/nn/site.h>

#include <algorithm>
#include <stdexcept>

namespace respeft {
namespace {

std::vector<double> to_vector(const at::Tensor& values) {
  const auto dense = values.to(at::kDouble).contiguous();
  return {dense.const_data_ptr<double>(), dense.const_data_ptr<double>() + dense.numel()};
}

/// The principal angles between the spaces that the columns of `a` and `b` `[n, k]`, both orthonormal, span; ascending.
/// Small ones come from their sines, as an arc cosine near one keeps half the digits only (Björck & Golub 1973).
std::vector<double> principal_angles(const at::Tensor& a, const at::Tensor& b) {
  const auto product = a.t().mm(b);
  const auto cosines = at::linalg_svdvals(product).clamp(0.0, 1.0);                  // descending: angles ascend
  const auto sines = at::linalg_svdvals(b - a.mm(product)).clamp(0.0, 1.0).flip(0);  // ascending
  return to_vector(at::where(cosines.square() < 0.5, cosines.acos(), sines.asin()));
}

/// The exponential of the entropy of the singular values, taken as a distribution.
double effective_rank(const at::Tensor& singular_values) {
  const auto total = singular_values.sum();
  if (total.item<double>() == 0.0) return 0.0;
  const auto share = singular_values / total;
  return at::special_entr(share).sum().exp().item<double>();
}

}  // namespace

WeightChange compare_weights(const std::string& name, const at::Tensor& base, const at::Tensor& changed, int64_t k) {
  if (base.dim() != 2 || base.sizes() != changed.sizes()) {
    throw std::invalid_argument(fmt::format("'{}': two matrices of one shape are needed to compare", name));
  }
  if (k < 1) throw std::invalid_argument(fmt::format("at least one direction is needed to compare, not {}", k));
  const at::NoGradGuard no_grad;
  const auto before = base.to(at::kDouble), after = changed.to(at::kDouble), difference = after - before;
  const int64_t leading = std::min(k, std::min(base.size(0), base.size(1)));
  const auto [u, s, vh] = at::linalg_svd(before, /*full_matrices=*/false);
  const auto [u_after, s_after, vh_after] = at::linalg_svd(after, /*full_matrices=*/false);
  WeightChange change;
  change.name = name;
  change.shape = base.sizes().vec();
  const double size = before.norm().item<double>(), step = difference.norm().item<double>();
  change.relative_change = size > 0.0 ? step / size : step;
  change.effective_rank = effective_rank(at::linalg_svdvals(difference));
  change.singular_values = to_vector(s);
  change.changed_values = to_vector(s_after);
  change.left_angles = principal_angles(u.narrow(1, 0, leading), u_after.narrow(1, 0, leading));
  change.right_angles = principal_angles(vh.narrow(0, 0, leading).t(), vh_after.narrow(0, 0, leading).t());
  return change;
}

std::vector<WeightMatrix> weight_matrices(torch::nn::Module& model) {
  std::vector<WeightMatrix> matrices;
  for (const auto& named : nn::find_sites(model)) {
    const auto& info = named.info;
    const auto* layer = named.layer();
    if (named.site->adapter())
      throw std::invalid_argument(fmt::format("'{}' has an adapter attached: merge it first", info.name));
    if (!layer || info.kind == nn::SiteKind::Norm) continue;
    const auto weight = layer->weight.detach().flatten(1);
    for (size_t part = 0; part < info.parts.size(); ++part) {
      const std::string name = info.parts.size() == 1 ? info.name : fmt::format("{}.{}", info.name, info.parts[part]);
      matrices.push_back({name, weight.narrow(0, static_cast<int64_t>(part) * info.part_features(), info.part_features())});
    }
  }
  return matrices;
}

}  // namespace respeft
