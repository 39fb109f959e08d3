#include <ATen/autocast_mode.h>
#include <respeft/ops/rescaled_linear.h>
#include <torch/library.h>

namespace respeft::ops {
namespace {

template <c10::DeviceType device>
at::Tensor rescaled_linear_autocast(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                    const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(at::autocast::get_autocast_dispatch_key_from_device_type(device));
  const auto dtype = at::autocast::get_autocast_dtype(device);
  const auto cast = [dtype](const at::Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, device); };
  // Float32 scales stay float32, which the kernels compute in; scales of another dtype are cast like the input.
  const auto cast_scale = [&](const at::Tensor& scale) { return scale.scalar_type() == at::kFloat ? scale : cast(scale); };
  return rescaled_linear(cast(input), cast(weight), bias ? std::optional(cast(*bias)) : bias, cast_scale(scale_in),
                         cast_scale(scale_out), residual);
}

TORCH_LIBRARY_IMPL(respeft, AutocastCPU, m) {
  m.impl("rescaled_linear", rescaled_linear_autocast<c10::DeviceType::CPU>);
}
TORCH_LIBRARY_IMPL(respeft, AutocastCUDA, m) {
  m.impl("rescaled_linear", rescaled_linear_autocast<c10::DeviceType::CUDA>);
}

}  // namespace
}  // namespace respeft::ops
