#include <respeft/nn/linear.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <torch/nn/init.h>

#include <cmath>
#include <ostream>

namespace respeft::nn {

LinearImpl::LinearImpl(const torch::nn::LinearOptions& linear_options, std::vector<std::string> parts,
                       const at::TensorOptions& tensor_options)
    : options(linear_options), part_names_(std::move(parts)) {
  const int64_t in = options.in_features(), out = options.out_features();
  TORCH_CHECK(part_names_.empty() || out % static_cast<int64_t>(part_names_.size()) == 0, "Linear: out_features ", out,
              " cannot be divided into ", part_names_.size(), " parts");
  weight = register_parameter("weight", at::empty({out, in}, tensor_options));
  if (options.bias()) bias = register_parameter("bias", at::empty({out}, tensor_options));
  torch::nn::init::kaiming_uniform_(weight, std::sqrt(5.0));
  if (options.bias()) {
    const double bound = in > 0 ? 1.0 / std::sqrt(static_cast<double>(in)) : 0.0;
    torch::nn::init::uniform_(bias, -bound, bound);
  }
}

at::Tensor LinearImpl::compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const {
  return at::linear(x, w, b);
}

void LinearImpl::pretty_print(std::ostream& stream) const {
  stream << "respeft::nn::Linear(in_features=" << options.in_features() << ", out_features=" << options.out_features()
         << ", bias=" << (options.bias() ? "true" : "false") << ")";
}

}  // namespace respeft::nn
