#include <respeft/models/model.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace respeft::models {

Batch InputSpec::example(int64_t batch, at::Device device) const {
  std::vector<int64_t> sizes = {batch};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  if (device.is_meta()) return {{name, at::empty(sizes, at::TensorOptions(device).dtype(dtype))}};
  auto generator = at::detail::createCPUGenerator(/*seed_val=*/0);
  const auto tensor = at::isFloatingType(dtype) ? at::randn(sizes, generator).to(dtype)
                                                : at::randint(values, sizes, generator, at::TensorOptions().dtype(dtype));
  return {{name, tensor.to(device)}};
}

at::Tensor Model::forward(const Batch& batch) {
  nn::ForwardPass pass;
  return forward(batch, pass);
}

at::Tensor Model::forward(const at::Tensor& input, nn::ForwardPass& pass) {
  return forward(batch_of(input), pass);
}

at::Tensor Model::forward(const at::Tensor& input) {
  nn::ForwardPass pass;
  return forward(input, pass);
}

Batch Model::batch_of(const at::Tensor& input) const {
  return {{this->input().name, input}};
}

}  // namespace respeft::models
