#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include <respeft/core/named_tensors.h>

namespace respeft {

// Names of a batch's tensors.
inline constexpr char kPixels[] = "pixels";      ///< normalized images `[B, 3, H, W]`
inline constexpr char kLabels[] = "labels";      ///< class numbers `[B]`, or a mixture of classes `[B, classes]`
inline constexpr char kFeatures[] = "features";  ///< the head's input, `[B, D]`

/// Examples as named tensors whose first dimension is the example: pixels, labels, token_ids, attention_mask, …
class Batch {
 public:
  Batch() = default;
  Batch(std::initializer_list<TensorMap::value_type> tensors);

  /// The tensor of this name; added as an undefined tensor if there is none.
  at::Tensor& operator[](const std::string& name);
  /// The tensor of this name. Throws `std::invalid_argument` that lists the existing names.
  const at::Tensor& at(const std::string& name) const;
  /// The tensor of this name; undefined if there is none.
  at::Tensor get(const std::string& name) const;
  bool contains(const std::string& name) const;
  /// The number of examples; 0 without tensors.
  int64_t size() const;
  /// A batch with every tensor on `device`.
  Batch to(at::Device device, bool non_blocking = false) const;
  const TensorMap& tensors() const { return tensors_; }

 private:
  TensorMap tensors_;
};

}  // namespace respeft
