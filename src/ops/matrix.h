#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

/// Views of tensors `[..., n]` as matrices. Shapes may be symbolic.
namespace respeft::ops {

/// True if the optional holds a defined tensor.
inline bool given(const std::optional<at::Tensor>& tensor) {
  return tensor.has_value() && tensor->defined();
}

/// `[..., n]` -> `[N, n]`; n may be 0.
inline at::Tensor as_matrix(const at::Tensor& tensor) {
  const auto leading = tensor.sym_sizes().slice(0, static_cast<size_t>(tensor.dim() - 1));
  return tensor.reshape_symint({c10::multiply_integers(leading), tensor.sym_size(-1)});
}

/// `[N, n]` -> `[..., n]` with the leading dimensions of `like`.
inline at::Tensor unflattened(const at::Tensor& flat, const at::Tensor& like) {
  auto sizes = like.sym_sizes().vec();
  sizes.back() = flat.sym_size(1);
  return flat.view_symint(sizes);
}

}  // namespace respeft::ops
