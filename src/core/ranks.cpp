#include <respeft/core/ranks.h>

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <utility>

namespace respeft {
namespace {

/// Calls `exchange` on the values of `tensors`, one flat buffer for each dtype and device, and copies the results back.
void through_flat_buffers(const std::vector<at::Tensor>& tensors, const std::function<void(at::Tensor&)>& exchange) {
  const at::NoGradGuard no_grad;
  std::map<std::pair<at::ScalarType, std::string>, std::vector<at::Tensor>> alike;
  for (const auto& tensor : tensors) alike[{tensor.scalar_type(), tensor.device().str()}].push_back(tensor.detach());
  for (const auto& [kind, members] : alike) {
    std::vector<at::Tensor> parts;
    for (const auto& tensor : members) parts.push_back(tensor.reshape({-1}));
    at::Tensor flat = at::cat(parts);
    exchange(flat);
    int64_t position = 0;
    for (const auto& tensor : members) {
      tensor.copy_(flat.narrow(0, position, tensor.numel()).view(tensor.sizes()));
      position += tensor.numel();
    }
  }
}

}  // namespace

void Ranks::all_reduce_sum(const std::vector<at::Tensor>& tensors) {
  if (size() > 1) through_flat_buffers(tensors, [this](at::Tensor& flat) { all_reduce_sum(flat); });
}

void Ranks::broadcast(const std::vector<at::Tensor>& tensors) {
  if (size() > 1) through_flat_buffers(tensors, [this](at::Tensor& flat) { broadcast(flat); });
}

bool Ranks::any(bool mine, at::Device device) {
  if (size() == 1) return mine;
  at::Tensor votes = at::full({1}, mine ? 1.0 : 0.0, at::TensorOptions(at::kFloat).device(device));
  all_reduce_sum(votes);
  return votes.item<float>() > 0.0F;
}

Ranks& Ranks::single() {
  static Ranks alone;
  return alone;
}

}  // namespace respeft
