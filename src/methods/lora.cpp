#include <respeft/methods/lora.h>
#include <respeft/ops/shortcut.h>

#include <ATen/ATen.h>

#include "src/methods/low_rank.h"

namespace respeft {
namespace {

class LoraAdapter : public methods::LowRankAdapter {
 public:
  using LowRankAdapter::LowRankAdapter;

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    const auto chosen = asked(base.parts);
    if (chosen.empty()) return base.compute(x);
    std::vector<at::Tensor> downs, ups;
    for (const auto& [index, row, skip, rows] : chosen) {
      downs.push_back(pairs()[index]->lora_A);
      ups.push_back(pairs()[index]->lora_B.narrow(0, skip, rows));
    }
    const auto bias = base.bias.defined() ? std::optional(base.bias) : std::nullopt;
    return std::get<0>(ops::shortcut_linear(x, base.weight, bias, methods::join(downs, 0), methods::join(ups, 0),
                                            /*previous=*/std::nullopt, scaling(), rows(chosen), dropped(x)));
  }
};

}  // namespace

Lora::Lora(LoraOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_low_rank("lora", options_.rank, options_.dropout);
}

Options Lora::options() const {
  return methods::to_options(options_);
}

std::shared_ptr<nn::Adapter> Lora::adapt(const nn::SiteInfo& info, const nn::Site& site) {
  if (info.kind != nn::SiteKind::Linear) return nullptr;
  const auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  return std::make_shared<LoraAdapter>(info, site, chosen, targets_.names_whole(info), options_.rank, options_.alpha,
                                       options_.dropout);
}

}  // namespace respeft
