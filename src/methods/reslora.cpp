#include <respeft/methods/reslora.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include <respeft/core/text.h>

#include "src/methods/fields.h"
#include "src/methods/rank_allocation.h"
#include "src/methods/reslora_adapter.h"

namespace respeft {
namespace {

using reslora::Chain;

/// A site and which of its projections are adapted.
struct Layer {
  const nn::NamedSite* named;
  std::vector<int64_t> chosen;
};

/// True where a layer goes on the chain of the one before it with the same role.
bool continues(const Layer& before, const Layer& layer) {
  const auto &last = before.named->info, &next = layer.named->info;
  return next.block >= 0 && next.block == last.block + 1 && before.chosen == layer.chosen &&
         last.in_features == next.in_features && last.out_features == next.out_features && last.parts == next.parts;
}

}  // namespace

Fields ResLoraOptions::fields() {
  Fields list;
  list.add(methods::rank_field(), rank);
  list.add(methods::alpha_field(), alpha);
  list.add(methods::dropout_field(), dropout);
  list.add({.name = "pre_num",
            .help = "number of earlier layers that a shortcut reaches; -1: all (reslora-is always reaches one)",
            .group = "Method",
            .minimum = -1},
           pre_num);
  list.add(methods::linears_field(), targets);
  list.add(methods::blocks_field(), blocks);
  list.add({.name = "shared_init", .help = "start every A of a chain from the same draw", .group = "Method"}, shared_init);
  return list.add(allocation.fields());
}

ResLora::ResLora(Shortcut shortcut, ResLoraOptions options)
    : shortcut_(shortcut), options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_fields(name(), options_.fields());
  options_.allocation.check(name(), options_.rank);
  if (shortcut_ == Shortcut::Input && options_.pre_num != -1 && options_.pre_num != 1) {
    throw std::invalid_argument(
        fmt::format("reslora-is: its shortcut reaches one layer back, so pre_num {} cannot be had", options_.pre_num));
  }
}

std::string ResLora::name() const {
  switch (shortcut_) {
    case Shortcut::Input:
      return "reslora-is";
    case Shortcut::Block:
      return "reslora-bs";
    case Shortcut::Middle:
      return "reslora-ms";
  }
  throw std::logic_error("unknown shortcut");
}

Options ResLora::options() const {
  return options_of(options_);
}

void ResLora::check(const std::vector<nn::NamedSite>& sites) const {
  targets_.check(sites);
  targets_.check_rank(name(), options_.rank, sites);
  methods::check_allocation(name(), options_.allocation, targets_, sites);
  const bool any_block = std::any_of(sites.begin(), sites.end(), [&](const nn::NamedSite& named) {
    return named.info.kind == nn::SiteKind::Linear && named.info.block >= 0 && !targets_.select(named.info).empty();
  });
  if (!any_block)
    throw std::invalid_argument(
        fmt::format("{}: none of the layers it adapts is in a block, so it has no shortcuts (see nn::Site::set_place)", name()));
}

std::shared_ptr<Attachment> ResLora::attach(const std::vector<nn::NamedSite>& sites) const {
  struct Previous {
    Layer layer;
    std::shared_ptr<Chain> chain;
  };
  std::map<std::string, Previous> previous;  // the last adapted layer by role
  const auto allocator = options_.allocation.enabled() ? std::make_shared<methods::RankAllocator>(options_.allocation) : nullptr;
  for (const auto& named : sites) {
    Layer layer{&named, targets_.select(named.info)};
    if (named.info.kind != nn::SiteKind::Linear || layer.chosen.empty()) continue;
    const auto before = previous.find(named.info.role);
    const bool goes_on = before != previous.end() && continues(before->second.layer, layer);
    const auto chain = goes_on ? before->second.chain : std::make_shared<Chain>();
    auto adapter = reslora::make_adapter(shortcut_, named.info, *named.layer(), layer.chosen, targets_.names_whole(named.info),
                                         options_, chain);
    if (allocator) allocator->add(named.info.name, *adapter);
    named.site->attach(std::move(adapter));
    previous[named.info.role] = {std::move(layer), chain};
  }
  return allocator ? allocator : std::make_shared<Attachment>();
}

}  // namespace respeft
