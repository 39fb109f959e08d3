#include <respeft/methods/lora.h>
#include <respeft/ops/shortcut.h>

#include <ATen/ATen.h>

#include "src/methods/fields.h"
#include "src/methods/lora_layers.h"
#include "src/methods/low_rank.h"
#include "src/methods/rank_allocation.h"

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
      downs.push_back(pairs()[index]->down());
      ups.push_back(pairs()[index]->lora_B.narrow(0, skip, rows));
    }
    return std::get<0>(ops::shortcut_linear(x, base.weight, base.optional_bias(), methods::join(downs, 0), methods::join(ups, 0),
                                            /*previous=*/std::nullopt, scaling(), rows(chosen), dropped(x)));
  }
};

}  // namespace

Fields LoraOptions::fields() {
  Fields list;
  list.add(methods::rank_field(), rank);
  list.add(methods::alpha_field(), alpha);
  list.add(methods::dropout_field(), dropout);
  list.add(methods::linears_field(), targets);
  list.add(methods::blocks_field(), blocks);
  return list.add(allocation.fields());
}

Lora::Lora(LoraOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_fields(name(), options_.fields());
  options_.allocation.check(name(), options_.rank);
}

Options Lora::options() const {
  return options_of(options_);
}

void Lora::check(const std::vector<nn::NamedSite>& sites) const {
  targets_.check(sites);
  targets_.check_rank("lora", options_.rank, sites);
  methods::check_allocation("lora", options_.allocation, targets_, sites);
}

std::shared_ptr<Attachment> Lora::attach(const std::vector<nn::NamedSite>& sites) const {
  const methods::LowRankOptions low_rank{options_.rank, options_.alpha, options_.dropout, options_.allocation.enabled()};
  const auto allocator = low_rank.allocated ? std::make_shared<methods::RankAllocator>(options_.allocation) : nullptr;
  for (const auto& named : sites) {
    const auto& info = named.info;
    const auto chosen = targets_.select(info);
    if (chosen.empty()) continue;
    if (info.kind == nn::SiteKind::Linear) {
      auto adapter = std::make_shared<LoraAdapter>(info, *named.layer(), chosen, targets_.names_whole(info), low_rank);
      if (allocator) allocator->add(info.name, *adapter);
      named.site->attach(std::move(adapter));
    } else if (info.kind == nn::SiteKind::Convolution) {
      named.site->attach(methods::lora_convolution(named, low_rank));
    } else if (info.kind == nn::SiteKind::Embedding) {
      named.site->attach(methods::lora_embedding(named, low_rank));
    }
  }
  return allocator ? allocator : std::make_shared<Attachment>();
}

}  // namespace respeft
