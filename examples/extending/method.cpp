// A method of one's own: it trains a factor for every output of the linear layers, and folds exactly.

#include <respeft/respeft.h>
#include <torch/optim/adamw.h>

#include <cstdio>

namespace {

using namespace respeft;

// docs begins: adapter
/// Multiplies a linear layer's output by `scale [out]`, which starts at one.
class ScaleAdapter : public nn::WeightAdapter {
 public:
  explicit ScaleAdapter(const nn::NamedSite& site) : part_features_(site.info.part_features()) {
    scale_ = register_parameter("scale", at::ones({site.info.out_features}, site.layer()->weight.options()));
  }

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    // A model may ask for some of the projections fused in the layer, e.g. for k and v of qkv.
    return base.compute(x) * scale_.narrow(0, base.parts.begin * part_features_, base.parts.size() * part_features_);
  }

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    return nn::Fold{weight * scale_.unsqueeze(1), bias.defined() ? bias * scale_ : bias};
  }

 private:
  int64_t part_features_;
  at::Tensor scale_;
};
// docs ends

// docs begins: method
struct OutputScaleOptions {
  std::string targets = "linears";
  std::string blocks = "";

  Fields fields() {
    Fields list;
    list.add({.name = "targets", .help = "linear layers to adapt: qkv, o, fc1, fc2 or linears", .group = "Method"}, targets);
    list.add({.name = "blocks", .help = "blocks to adapt, such as 0-5,11; empty: everywhere", .group = "Method"}, blocks);
    return list;
  }
};

class OutputScale : public SiteMethod {
 public:
  explicit OutputScale(OutputScaleOptions options = {})
      : options_(std::move(options)), targets_(options_.targets, options_.blocks) {}

  std::string name() const override { return "output-scale"; }
  Options options() const override { return options_of(options_); }
  void check(const std::vector<nn::NamedSite>& sites) const override { targets_.check(sites); }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& site) const override {
    if (site.info.kind != nn::SiteKind::Linear || targets_.select(site.info).empty()) return nullptr;
    return std::make_shared<ScaleAdapter>(site);
  }

 private:
  OutputScaleOptions options_;
  methods::Targets targets_;
};
// docs ends

}  // namespace

int main() {
  at::manual_seed(0);
  // docs begins: use
  auto model = models::create("vit_tiny_patch16_224", {.num_classes = 3, .image_size = 32});
  auto adapters = attach(*model, OutputScale({.targets = "fc1,fc2"}));
  // docs ends
  torch::optim::AdamW optimizer(adapters->trainable_parameters(), torch::optim::AdamWOptions(1e-2));
  const auto images = at::randn({12, 3, 32, 32});
  const auto labels = at::arange(12).remainder(3);
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    at::cross_entropy_loss(model->forward(images), labels).backward();
    optimizer.step();
  }

  const at::NoGradGuard no_grad;
  model->eval();
  const auto before = model->forward(images);
  const MergeReport report = merge(*model);
  const auto change = compare_logits(before, model->forward(images), labels);
  std::printf("%lld parameters trained, %zu layers merged, logits changed by %.1e, accuracy %.0f %%\n",
              static_cast<long long>(adapters->parameter_count()), report.sites.size(), change.relative_difference,
              100.0 * change.accuracy_second.value());
  // 12 blocks, fc1 768 and fc2 192 outputs, a head of 3 × 192 weights and 3 biases.
  const bool counted = adapters->parameter_count() == 12 * (768 + 192) + 3 * 193 && report.sites.size() == 24;
  return counted && report.exact() && change.relative_difference < 1e-4 && change.accuracy_second.value() > 0.9 ? 0 : 1;
}
