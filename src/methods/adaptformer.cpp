#include <respeft/methods/adaptformer.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <respeft/methods/targets.h>

#include "src/methods/fields.h"

namespace respeft {
namespace {

/// The branch that AdaptFormer stands beside, by its role.
constexpr const char* kRole = "mlp_branch";

bool is_mlp(const nn::SiteInfo& info) {
  return info.kind == nn::SiteKind::Branch && info.role == kRole;
}

/// A linear layer's parameters under its usual names.
struct Projection : torch::nn::Module {
  Projection(int64_t in, int64_t out, const at::TensorOptions& options) {
    weight = register_parameter("weight", at::zeros({out, in}, options));
    bias = register_parameter("bias", at::zeros({out}, options));
  }
  at::Tensor weight, bias;
};

class BottleneckAdapter : public nn::BranchAdapter {
 public:
  BottleneckAdapter(const nn::SiteInfo& info, const AdaptFormerOptions& options)
      : scale_(options.scale), dropout_(options.dropout) {
    down_ = register_module("down", std::make_shared<Projection>(info.in_features, options.bottleneck, info.tensor_options));
    up_ = register_module("up", std::make_shared<Projection>(options.bottleneck, info.out_features, info.tensor_options));
    torch::nn::init::kaiming_uniform_(down_->weight, std::sqrt(5.0));
  }

  at::Tensor forward(const at::Tensor& input, const at::Tensor& output, nn::ForwardPass&) override {
    auto middle =
        at::threshold(at::linear(input, down_->weight, down_->bias), 0, 0);  // relu, which has no kernel for shapes alone
    if (dropout_ > 0.0 && is_training()) middle = at::dropout(middle, dropout_, true);
    return at::add(output, at::linear(middle, up_->weight, up_->bias), scale_);
  }

  std::optional<nn::Script> script() const override {
    return nn::Script{
        fmt::format(R"(
def forward(self, input, output):
    middle = torch.relu(torch.linear(input, self.down_weight, self.down_bias))
    return output + torch.linear(middle, self.up_weight, self.up_bias) * {}
)",
                    scale_),
        {{"down_weight", down_->weight}, {"down_bias", down_->bias}, {"up_weight", up_->weight}, {"up_bias", up_->bias}}};
  }

 private:
  double scale_, dropout_;
  std::shared_ptr<Projection> down_, up_;
};

}  // namespace

Fields AdaptFormerOptions::fields() {
  Fields list;
  list.add({.name = "bottleneck", .help = "width of the bottleneck", .group = "Method", .minimum = 1}, bottleneck);
  list.add({.name = "scale", .help = "factor on the bottleneck's output", .group = "Method"}, scale);
  list.add(methods::dropout_field(), dropout);
  list.add(methods::blocks_field(), blocks);
  return list;
}

AdaptFormer::AdaptFormer(AdaptFormerOptions options)
    : options_(std::move(options)), blocks_(methods::parse_blocks(options_.blocks)) {
  methods::check_fields(name(), options_.fields());
}

Options AdaptFormer::options() const {
  return options_of(options_);
}

void AdaptFormer::check(const std::vector<nn::NamedSite>& sites) const {
  if (std::none_of(sites.begin(), sites.end(), [](const auto& named) { return is_mlp(named.info); }))
    throw std::invalid_argument("adaptformer: the model states no branch of an MLP that an adapter could stand beside");
  methods::check_blocks(blocks_, sites);
}

std::shared_ptr<nn::Adapter> AdaptFormer::adapt(const nn::NamedSite& named) const {
  if (!is_mlp(named.info) || (!blocks_.empty() && blocks_.count(named.info.block) == 0)) return nullptr;
  return std::make_shared<BottleneckAdapter>(named.info, options_);
}

}  // namespace respeft
