#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace respeft {

/// The processes that train together (data parallelism). This base class is a single process: its operations change nothing.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual int64_t rank() const { return 0; }
  virtual int64_t size() const { return 1; }
  /// Replaces the contiguous tensor by the sum over all ranks.
  virtual void all_reduce_sum(at::Tensor& /*flat*/) {}
  /// Replaces the contiguous tensor by rank 0's.
  virtual void broadcast(at::Tensor& /*flat*/) {}
  /// Waits until every rank has reached this call.
  virtual void barrier() {}

  bool writes_files() const { return rank() == 0; }

  /// Replaces each tensor by its sum over all ranks, through one flat buffer for each dtype and device.
  void all_reduce_sum(const std::vector<at::Tensor>& tensors);
  /// Replaces each tensor by that of rank 0, in the same way.
  void broadcast(const std::vector<at::Tensor>& tensors);
  /// True if `mine` is true on any rank.
  bool any(bool mine, at::Device device);

  /// The single process.
  static Ranks& single();
};

}  // namespace respeft
