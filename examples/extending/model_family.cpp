// A model family of one's own: residual layers on image patches, with sites where adapters may sit.

#include <respeft/respeft.h>
#include <torch/nn/modules/linear.h>

#include <cstdio>

namespace {

using namespace respeft;

// docs begins: model
/// Patches, residual linear layers, the mean over the patches, a head.
class PatchMlp : public models::Model {
 public:
  static constexpr int64_t kPatch = 8, kDim = 64, kDepth = 4;

  PatchMlp(const models::ModelFamily& family, std::string name, const models::ModelOptions& options)
      : family_(family), name_(std::move(name)), size_(options.image_size.value_or(32)) {
    const at::TensorOptions where(options.device);
    patches_ = register_module("patch_embed", nn::PatchProjection(/*in_channels=*/3, kDim, kPatch, where));
    for (int64_t i = 0; i < kDepth; ++i) {
      const auto block = register_module("block" + std::to_string(i), std::make_shared<torch::nn::Module>());
      norms_.push_back(block->register_module("norm", nn::LayerNorm(torch::nn::LayerNormOptions({kDim}), where)));
      linears_.push_back(
          block->register_module("fc", nn::Linear(torch::nn::LinearOptions(kDim, kDim), std::vector<std::string>{}, where)));
      norms_.back()->set_place({.role = "norm", .block = i});  // stated, so that --targets and --blocks can name it
      linears_.back()->set_place({.role = "fc", .block = i});
    }
    reset_head(options.num_classes);
  }

  using Model::forward;
  at::Tensor forward(const Batch& batch, nn::ForwardPass& pass) override { return classify(features(batch, pass)); }
  at::Tensor features(const Batch& batch, nn::ForwardPass& pass) override {
    at::Tensor x = patches_->run(batch.at(kPixels), pass);  // [B, T, D]
    for (size_t i = 0; i < linears_.size(); ++i) x = x + at::gelu(linears_[i]->run(norms_[i]->run(x, pass), pass));
    return x.mean(1);
  }
  at::Tensor classify(const at::Tensor& features) override { return head_ ? head_->forward(features) : features; }

  const std::string& name() const override { return name_; }
  const models::ModelFamily& family() const override { return family_; }
  models::InputSpec input() const override { return {kPixels, {3, size_, size_}, at::kFloat}; }
  int64_t num_classes() const override { return head_ ? head_->options.out_features() : 0; }
  int64_t macs() const override {
    const int64_t tokens = (size_ / kPatch) * (size_ / kPatch);
    return tokens * kDim * (3 * kPatch * kPatch + kDepth * kDim) + kDim * num_classes();
  }
  void reset_head(int64_t num_classes) override {
    if (head_) unregister_module("head");
    head_ = nullptr;
    if (num_classes == 0) return;
    head_ = register_module("head", torch::nn::Linear(kDim, num_classes));
    head_->to(patches_->weight.device());
    const at::NoGradGuard no_grad;
    for (auto& parameter : head_->parameters()) parameter.zero_();  // every class equally likely
  }

 private:
  const models::ModelFamily& family_;
  std::string name_;
  int64_t size_;
  nn::PatchProjection patches_{nullptr};
  std::vector<nn::LayerNorm> norms_;
  std::vector<nn::Linear> linears_;
  torch::nn::Linear head_{nullptr};
};
// docs ends

/// Weights under the model's own names only, and no adapters of other libraries.
class OwnNames : public models::WeightMap {
 public:
  std::optional<models::OwnTensors> to_own(const TensorMap& tensors) const override {
    if (!tensors.contains("patch_embed.weight")) return std::nullopt;
    return models::OwnTensors{tensors, "own", std::nullopt};
  }
  bool needs_values(std::string_view) const override { return false; }
  bool is_head(std::string_view name) const override { return nn::is_head_name(name); }
  std::string not_recognized() const override { return "not the names of a PatchMlp"; }
  bool fit(const models::Model&, models::OwnTensors&) const override { return false; }
  bool may_differ(const models::Model&, const std::vector<std::string>&, const std::vector<std::string>&, bool) const override {
    return false;
  }
  void check_config(const models::Model&, const std::string&, const std::string&, const std::string&) const override {}
  models::PatchGrid patch_grid(const models::Model&, const TensorMap&) const override { return {}; }
  std::vector<std::string> fitting(const TensorMap&) const override { return {}; }
  std::optional<models::Normalization> published_normalization(const std::string&, const std::string&,
                                                               const std::string&) const override {
    return std::nullopt;
  }
  std::vector<std::string> bases() const override { return {}; }
  std::optional<models::LayerPlace> place(const std::string&, std::string&) const override { return std::nullopt; }
  std::string module_name(const models::LayerPlace&, const std::string&) const override { return ""; }
  std::vector<std::string> parts(const std::string&) const override { return {}; }
  std::string no_adapter(const std::string&) const override { return ""; }
  std::string head_name(const std::string&) const override { return "head"; }
  at::Tensor head_to(const at::Tensor& weight, const std::string&) const override { return weight; }
  at::Tensor head_from(const at::Tensor& weight, const std::string&) const override { return weight; }
};

// docs begins: family
class PatchMlpFamily : public models::ModelFamily {
 public:
  std::string name() const override { return "patchmlp"; }
  std::vector<std::string> list() const override { return {"patchmlp_tiny"}; }
  bool knows(const std::string& architecture) const override { return architecture == "patchmlp_tiny"; }
  std::shared_ptr<models::Model> create(const std::string& name, const models::ModelOptions& options) const override {
    return std::make_shared<PatchMlp>(*this, name, options);
  }
  models::ModelOptions options(const models::Model& model) const override {
    return {.num_classes = model.num_classes(), .image_size = model.input().side()};
  }
  std::shared_ptr<models::Model> like(const models::Model& model) const override { return create(model.name(), options(model)); }

  const models::WeightMap& weights() const override { return weights_; }
  const models::ExportSources& exports() const override { return exports_; }

 private:
  OwnNames weights_;               // only the model's own names
  models::ExportSources exports_;  // the defaults: no other library has such a model
};
// docs ends

}  // namespace

int main() {
  at::manual_seed(0);
  // docs begins: use
  const PatchMlpFamily family;
  auto model = family.create("patchmlp_tiny", {.num_classes = 5});
  auto adapters = attach(*model, Rlrr({.init = "identity"}));
  // docs ends
  const auto images = at::randn({4, 3, 32, 32});
  at::cross_entropy_loss(model->forward(images), at::arange(4)).backward();
  bool all_trained = true;
  for (const auto& parameter : adapters->trainable_parameters()) all_trained = all_trained && parameter.grad().defined();

  const at::NoGradGuard no_grad;
  model->eval();
  const auto before = model->forward(images);
  const MergeReport report = merge(*model);
  const bool same = at::allclose(before, model->forward(images), /*rtol=*/1e-4, /*atol=*/1e-5);
  const auto fresh = family.like(*model);
  std::printf("%zu sites, %lld parameters trained\n", report.sites.size(), static_cast<long long>(adapters->parameter_count()));
  // One patch projection, four norms, four linear layers.
  const bool right = report.sites.size() == 9 && fresh->num_classes() == 5 && fresh->input().side() == 32;
  return all_trained && same && right ? 0 : 1;
}
