#include <ATen/autocast_mode.h>
#include <respeft/ops/shortcut.h>
#include <torch/library.h>

namespace respeft::ops {
namespace {

/// Casts to the device's autocast dtype; autocast is off while it lives.
template <c10::DeviceType device>
class Cast {
 public:
  at::Tensor operator()(const at::Tensor& tensor) const { return at::autocast::cached_cast(dtype_, tensor, device); }
  std::optional<at::Tensor> operator()(const std::optional<at::Tensor>& tensor) const {
    return tensor ? std::optional((*this)(*tensor)) : tensor;
  }
  at::Tensor unless_float(const at::Tensor& tensor) const {
    return tensor.scalar_type() == at::kFloat ? tensor : (*this)(tensor);
  }

 private:
  c10::impl::ExcludeDispatchKeyGuard no_autocast_{at::autocast::get_autocast_dispatch_key_from_device_type(device)};
  at::ScalarType dtype_ = at::autocast::get_autocast_dtype(device);
};

template <c10::DeviceType device>
std::tuple<at::Tensor, at::Tensor> shortcut_linear_autocast(const at::Tensor& input, const at::Tensor& weight,
                                                            const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                            const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                            double scaling, at::IntArrayRef rows,
                                                            const std::optional<at::Tensor>& branch) {
  const Cast<device> cast;
  return shortcut_linear(cast(input), cast(weight), cast(bias), cast(down), cast(up), cast(previous), scaling, rows,
                         cast(branch));
}

template <c10::DeviceType device>
at::Tensor folded_linear_autocast(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                  const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                                  bool dense_gradient) {
  const Cast<device> cast;
  // The folded tensors stay float32: small updates would be lost in a weight that was rounded first.
  return folded_linear(cast(input), cast.unless_float(weight), cast(bias), cast.unless_float(down), cast.unless_float(up),
                       scaling, rows, dense_gradient);
}

TORCH_LIBRARY_IMPL(respeft, AutocastCPU, m) {
  m.impl("shortcut_linear", shortcut_linear_autocast<c10::DeviceType::CPU>);
  m.impl("folded_linear", folded_linear_autocast<c10::DeviceType::CPU>);
}
TORCH_LIBRARY_IMPL(respeft, AutocastCUDA, m) {
  m.impl("shortcut_linear", shortcut_linear_autocast<c10::DeviceType::CUDA>);
  m.impl("folded_linear", folded_linear_autocast<c10::DeviceType::CUDA>);
}

}  // namespace
}  // namespace respeft::ops
