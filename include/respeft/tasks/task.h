#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/batch.h>
#include <respeft/models/model.h>

namespace respeft::tasks {

/// The loss of a batch as sum and count, so that losses of batches and ranks add up exactly.
struct Loss {
  at::Tensor sum;     ///< over the examples: a scalar on their device
  int64_t count = 0;  ///< number of examples in the sum
};

/// Values by name, in display order: `loss`, `accuracy`, …
using NamedValues = std::vector<std::pair<std::string, double>>;

/// Metrics that accumulate on the device over batches and ranks. Only `read` synchronizes with the device.
class Metrics {
 public:
  virtual ~Metrics() = default;
  /// Adds a batch: the model's output for it, and its loss.
  virtual void add(const at::Tensor& output, const Batch& batch, const Loss& loss) = 0;
  /// All sums as one float64 vector on the device. To restore sums, copy them into it.
  virtual at::Tensor& sums() = 0;
  /// The metrics of everything added so far, e.g. `loss` and `accuracy`.
  virtual NamedValues read() const = 0;
};

/// Defines the loss and the metrics of a model's output.
class Task {
 public:
  virtual ~Task() = default;

  /// The registered name, e.g. `image-classification`.
  virtual std::string name() const = 0;
  /// The examples' name in the plural, e.g. `images`: part of keys such as `test_images`.
  virtual std::string unit() const { return "examples"; }
  /// The model's output for a batch, computed in a new forward pass.
  virtual at::Tensor forward(models::Model& model, const Batch& batch) const = 0;
  /// Transforms a training batch in place, e.g. mixes it. `epoch` counts from 0. All random numbers come from `generator`.
  virtual void prepare(Batch& /*batch*/, int64_t /*epoch*/, std::mt19937_64& /*generator*/) const {}
  /// The loss of a model's output. `training` adds regularization such as label smoothing.
  virtual Loss loss(const at::Tensor& output, const Batch& batch, bool training) const = 0;
  /// New metrics on `device`, with all sums zero.
  virtual std::unique_ptr<Metrics> metrics(at::Device device) const = 0;
  /// The metric that chooses among epochs, e.g. `accuracy`; higher is better.
  virtual std::string score_name() const = 0;
};

}  // namespace respeft::tasks
