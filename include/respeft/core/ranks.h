#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace respeft {

/// The processes that train together. This class is one process alone: nothing that it does changes a tensor.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual int64_t rank() const { return 0; }
  virtual int64_t size() const { return 1; }
  /// Replaces the contiguous tensor by the sum over all ranks.
  virtual void all_reduce_sum(at::Tensor& /*flat*/) {}
  /// Replaces the contiguous tensor by rank 0's.
  virtual void broadcast(at::Tensor& /*flat*/) {}
  /// Waits until every rank has come here.
  virtual void barrier() {}

  bool writes_files() const { return rank() == 0; }

  /// Replaces each tensor by its sum over all ranks, through one flat buffer for each dtype and device.
  void all_reduce_sum(const std::vector<at::Tensor>& tensors);
  /// Replaces each tensor by rank 0's, likewise.
  void broadcast(const std::vector<at::Tensor>& tensors);
  /// True if it is true on any rank.
  bool any(bool mine, at::Device device);

  /// One process.
  static Ranks& single();
};

}  // namespace respeft
