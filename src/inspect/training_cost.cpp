#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>
#include <respeft/inspect/inspect.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include <respeft/inspect/saved_tensors.h>

namespace respeft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// `aten::convolution` on shapes, which LibTorch itself has in Python alone.
at::Tensor convolution_shape(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>&,
                             at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                             at::IntArrayRef, int64_t) {
  TORCH_CHECK(!transposed, "the shape of a transposed convolution is not known here");
  // One number may stand for every dimension.
  const auto at_dim = [](at::IntArrayRef values, int64_t dim) { return values.size() == 1 ? values[0] : values[dim - 2]; };
  std::vector<int64_t> sizes = {input.size(0), weight.size(0)};
  for (int64_t dim = 2; dim < input.dim(); ++dim) {
    const int64_t covered = at_dim(dilation, dim) * (weight.size(dim) - 1) + 1;
    sizes.push_back((input.size(dim) + 2 * at_dim(padding, dim) - covered) / at_dim(stride, dim) + 1);
  }
  return at::empty(sizes, input.options());
}

/// `aten::native_layer_norm` on shapes: the output, and the mean and reciprocal deviation of each row.
std::tuple<at::Tensor, at::Tensor, at::Tensor> layer_norm_shape(const at::Tensor& input, at::IntArrayRef normalized,
                                                                const std::optional<at::Tensor>&,
                                                                const std::optional<at::Tensor>&, double) {
  std::vector<int64_t> rows = input.sizes().vec();
  std::fill(rows.end() - static_cast<int64_t>(normalized.size()), rows.end(), 1);
  return {at::empty(input.sizes(), input.options()), at::empty(rows, input.options()), at::empty(rows, input.options())};
}

/// Attention on shapes as LibTorch's fused kernels do it: they keep q, k, v, the output and a float32 `[B, heads, Q]`.
class AttentionShape : public torch::autograd::Function<AttentionShape> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const auto output = at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
    const auto log_sum = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
    context->save_for_backward({q, k, v, output, log_sum});
    return output;
  }
  static variable_list backward(AutogradContext*, const variable_list&) { TORCH_CHECK(false, "shapes alone have no gradient"); }
};

at::Tensor attention_shape(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::optional<at::Tensor>&,
                           double, bool, std::optional<double>, bool) {
  return AttentionShape::apply(q, k, v);
}

/// Teaches LibTorch these shapes while it lives.
struct ShapeKernels {
  ShapeKernels()
      : meta(torch::Library::IMPL, "aten", c10::DispatchKey::Meta, __FILE__, __LINE__),
        autograd(torch::Library::IMPL, "aten", c10::DispatchKey::AutogradMeta, __FILE__, __LINE__) {
    meta.impl("convolution", convolution_shape);
    meta.impl("native_layer_norm", layer_norm_shape);
    autograd.impl("scaled_dot_product_attention", attention_shape);
  }
  torch::Library meta, autograd;
};

/// An operator whose cost is products of matrices.
struct Product {
  size_t first, second;  ///< where its two factors stand among its arguments
};

const Product* find_product(std::string_view name) {
  static const std::map<std::string_view, Product> products = {
      {"aten::linear", {0, 1}},
      {"aten::matmul", {0, 1}},
      {"aten::mm", {0, 1}},
      {"aten::bmm", {0, 1}},
      {"aten::addmm", {1, 2}},
      {"aten::baddbmm", {1, 2}},
      {"aten::convolution", {0, 1}},
      {"aten::scaled_dot_product_attention", {0, 1}},
      {"respeft::rescaled_linear", {0, 1}},
  };
  const auto found = products.find(name);
  return found == products.end() ? nullptr : &found->second;
}

bool requires_grad(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().requires_grad();
}

/// Floating-point operations of one call's forward and backward, for each element of its output.
double flops_per_output(std::string_view name, const Product& product, c10::ArrayRef<const c10::IValue> inputs) {
  const auto &first = inputs[product.first], &second = inputs[product.second];
  const auto inner = static_cast<double>(first.toTensor().size(-1));
  if (name == "aten::scaled_dot_product_attention") {
    // q kᵀ and its product with v; in the backward q kᵀ again and four gradients. The output is as wide as q.
    const bool backward = requires_grad(first) || requires_grad(second) || requires_grad(inputs[2]);
    return 2.0 * static_cast<double>(second.toTensor().size(-2)) * (backward ? 2 + 5 : 2);
  }
  if (name == "respeft::rescaled_linear") {
    return 2.0 * inner * (1 + requires_grad(first) + (requires_grad(inputs[3]) || requires_grad(inputs[4])));
  }
  const double products = 1 + requires_grad(first) + requires_grad(second);
  if (name == "aten::convolution")
    return 2.0 * products * static_cast<double>(second.toTensor().numel() / second.toTensor().size(0));
  return 2.0 * products * inner;
}

/// Counts the products that this thread's operators take while it lives. An operator inside a counted one is part of it.
class FlopCounter {
 public:
  FlopCounter() {
    current = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&FlopCounter::enter, &FlopCounter::leave)
                                             .needsInputs(true)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  FlopCounter(const FlopCounter&) = delete;
  FlopCounter& operator=(const FlopCounter&) = delete;
  ~FlopCounter() {
    at::removeCallback(handle_);
    current = nullptr;
  }
  double total() const { return total_; }

 private:
  /// What is known when a counted operator is entered; its output's size is known when it is left.
  struct Call : at::ObserverContext {
    double flops_per_output = 0;
  };

  static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
    const Product* product = find_product(function.name());
    if (!product) return nullptr;
    auto call = std::make_unique<Call>();
    if (current->depth_++ == 0) call->flops_per_output = flops_per_output(function.name(), *product, function.inputs());
    return call;
  }
  static void leave(const at::RecordFunction& function, at::ObserverContext* context) {
    if (!context) return;
    --current->depth_;
    const double flops = static_cast<Call*>(context)->flops_per_output;
    if (flops > 0) current->total_ += flops * static_cast<double>(function.outputs().at(0).toTensor().numel());
  }

  static thread_local FlopCounter* current;
  at::CallbackHandle handle_ = 0;
  int depth_ = 0;
  double total_ = 0;
};

thread_local FlopCounter* FlopCounter::current = nullptr;

/// Puts a module into training mode while it lives.
class TrainingMode {
 public:
  explicit TrainingMode(torch::nn::Module& module) : module_(module), before_(module.is_training()) { module.train(); }
  TrainingMode(const TrainingMode&) = delete;
  TrainingMode& operator=(const TrainingMode&) = delete;
  ~TrainingMode() { module_.train(before_); }

 private:
  torch::nn::Module& module_;
  bool before_;
};

int64_t bytes(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

}  // namespace

TrainingCost training_cost(models::Model& model, int64_t batch, const Attachment* attachment) {
  if (batch < 1) throw std::invalid_argument(fmt::format("a batch has at least one image, not {}", batch));
  auto excluded = model.parameters();
  for (const auto& parameter : excluded) {
    if (!parameter.is_meta())
      throw std::invalid_argument("the cost of training is counted on a model of shapes alone (device meta)");
  }
  TrainingCost cost;
  cost.batch = batch;
  cost.forward_flops = 2.0 * static_cast<double>(model.macs()) * static_cast<double>(batch);
  for (const auto& parameter : excluded) {
    cost.parameter_bytes += bytes(parameter);
    if (parameter.requires_grad()) cost.optimizer_bytes += 3 * bytes(parameter);
  }
  for (const auto& buffer : model.buffers()) cost.recorded_bytes += bytes(buffer);
  const Batch inputs = model.input().example(batch, at::kMeta);
  for (const auto& [name, tensor] : inputs.tensors()) {
    cost.input_bytes += bytes(tensor);
    excluded.push_back(tensor);
  }
  const TrainingMode training(model);
  const ShapeKernels kernels;
  const at::AutoGradMode grad_mode(true);
  const FlopCounter flops;
  const auto outcome = [&] {
    const auto logits = model.forward(inputs);
    const auto extra = attachment ? attachment->regularization() : at::Tensor();
    return extra.defined() ? logits.sum() + extra : logits;
  };
  cost.saved_bytes = bytes_saved_for_backward(outcome, excluded);
  cost.step_flops = flops.total();
  return cost;
}

}  // namespace respeft
