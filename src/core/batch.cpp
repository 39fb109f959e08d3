#include <respeft/core/batch.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <vector>

namespace respeft {

Batch::Batch(std::initializer_list<TensorMap::value_type> tensors) : tensors_(tensors) {}

at::Tensor& Batch::operator[](const std::string& name) {
  return tensors_[name];
}

const at::Tensor& Batch::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end() && found->second.defined()) return found->second;
  std::vector<std::string> names;
  for (const auto& [key, tensor] : tensors_) {
    if (tensor.defined()) names.push_back(key);
  }
  throw std::invalid_argument(fmt::format("the batch has no '{}'; it has {}", name,
                                          names.empty() ? "no tensors" : fmt::format("'{}'", fmt::join(names, "', '"))));
}

at::Tensor Batch::get(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? at::Tensor() : found->second;
}

bool Batch::contains(const std::string& name) const {
  return get(name).defined();
}

int64_t Batch::size() const {
  for (const auto& [name, tensor] : tensors_) {
    if (tensor.defined() && tensor.dim() > 0) return tensor.size(0);
  }
  return 0;
}

Batch Batch::to(at::Device device, bool non_blocking) const {
  Batch moved;
  for (const auto& [name, tensor] : tensors_) {
    if (tensor.defined()) moved.tensors_[name] = tensor.to(device, tensor.scalar_type(), non_blocking);
  }
  return moved;
}

}  // namespace respeft
