#include <respeft/nn/conv2d.h>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <torch/nn/init.h>

#include <cmath>
#include <ostream>
#include <variant>

namespace respeft::nn {

Conv2dImpl::Conv2dImpl(const torch::nn::Conv2dOptions& conv_options, const at::TensorOptions& tensor_options)
    : options(conv_options) {
  TORCH_CHECK(std::holds_alternative<torch::enumtype::kZeros>(options.padding_mode()),
              "Conv2d: a convolution with a site is padded with zeros");
  TORCH_CHECK(std::holds_alternative<torch::ExpandingArray<2>>(options.padding()),
              "Conv2d: a convolution with a site takes its padding as numbers");
  TORCH_CHECK(
      options.groups() > 0 && options.in_channels() % options.groups() == 0 && options.out_channels() % options.groups() == 0,
      "Conv2d: ", options.in_channels(), " and ", options.out_channels(), " channels cannot be divided into ", options.groups(),
      " groups");
  const auto& kernel = *options.kernel_size();
  const int64_t in = options.in_channels() / options.groups();
  weight = register_parameter("weight", at::empty({options.out_channels(), in, kernel[0], kernel[1]}, tensor_options));
  torch::nn::init::kaiming_uniform_(weight, std::sqrt(5.0));
  if (!options.bias()) return;
  bias = register_parameter("bias", at::empty({options.out_channels()}, tensor_options));
  const auto fan = static_cast<double>(in * kernel[0] * kernel[1]);
  const double bound = fan > 0 ? 1.0 / std::sqrt(fan) : 0.0;
  torch::nn::init::uniform_(bias, -bound, bound);
}

at::Tensor Conv2dImpl::compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const {
  const auto& padding = std::get<torch::ExpandingArray<2>>(options.padding());
  return at::conv2d(x, w, b, *options.stride(), *padding, *options.dilation(), options.groups());
}

void Conv2dImpl::pretty_print(std::ostream& stream) const {
  stream << "respeft::nn::Conv2d(" << options.in_channels() << ", " << options.out_channels()
         << ", kernel_size=" << options.kernel_size() << ", stride=" << options.stride() << ")";
}

}  // namespace respeft::nn
