#include <respeft/methods/vpt.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "src/methods/fields.h"

namespace respeft {
namespace {

class PromptAdapter : public nn::TokensAdapter {
 public:
  PromptAdapter(const nn::SiteInfo& info, const VptOptions& options) : dropout_(options.dropout) {
    prompts_ = register_parameter("prompts", at::empty({options.prompts, info.out_features}, info.tensor_options));
    const double bound = std::sqrt(6.0 / static_cast<double>(info.in_features + info.out_features));
    torch::nn::init::uniform_(prompts_, -bound, bound);
  }

  at::Tensor forward(const at::Tensor& tokens, int64_t own, nn::ForwardPass&) override {
    const auto prompts = dropout_ > 0.0 && is_training() ? at::dropout(prompts_, dropout_, true) : prompts_;
    return at::cat({tokens.narrow(1, 0, own), prompts.to(tokens.scalar_type()).expand({tokens.size(0), -1, -1})}, 1);
  }

  std::optional<nn::Script> script() const override {
    return nn::Script{R"(
def forward(self, tokens, own: int):
    return torch.cat([tokens[:, :own], self.prompts.expand([tokens.size(0), -1, -1])], 1)
)",
                      {{"prompts", prompts_}}};
  }

 private:
  double dropout_;
  at::Tensor prompts_;  ///< `[P, D]`
};

bool is_entry(const nn::SiteInfo& info) {
  return info.kind == nn::SiteKind::Tokens;
}

}  // namespace

Fields VptOptions::fields() {
  Fields list;
  list.add({.name = "prompts", .help = "tokens that are added", .group = "Method", .minimum = 1}, prompts);
  list.add(methods::dropout_field(), dropout);
  return list;
}

Vpt::Vpt(bool deep, VptOptions options) : deep_(deep), options_(options) {
  methods::check_fields(name(), options_.fields());
}

Options Vpt::options() const {
  return options_of(options_);
}

void Vpt::check(const std::vector<nn::NamedSite>& sites) const {
  if (std::none_of(sites.begin(), sites.end(), [](const auto& named) { return is_entry(named.info); }))
    throw std::invalid_argument(fmt::format("{}: the model states no place where tokens could be added", name()));
}

std::shared_ptr<nn::Adapter> Vpt::adapt(const nn::NamedSite& named) const {
  if (!is_entry(named.info) || (!deep_ && named.info.block != 0)) return nullptr;
  return std::make_shared<PromptAdapter>(named.info, options_);
}

}  // namespace respeft
