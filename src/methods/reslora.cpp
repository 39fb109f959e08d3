#include <respeft/methods/reslora.h>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/core/text.h>

#include "src/methods/fields.h"
#include "src/methods/rank_allocation.h"
#include "src/methods/reslora_adapter.h"

namespace respeft {
namespace {

using reslora::Chain;

bool is_number(const std::string& word) {
  return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
}

/// A site's kind: its name without the numbers of its block, so that the layers of all blocks share it. Numbers are path
/// components (`blocks.3.attn.qkv`); where there is none, the digits that end the first component that has some (`block3.fc`).
std::string kind_of(const std::string& name) {
  auto path = text::split(name, '.');
  bool numbered = false;
  for (auto& component : path) {
    if (!is_number(component)) continue;
    component = "*";
    numbered = true;
  }
  for (size_t i = 0; i + 1 < path.size() && !numbered; ++i) {
    const size_t end = path[i].find_last_not_of("0123456789") + 1;
    if (end == path[i].size()) continue;
    path[i] = path[i].substr(0, end) + "*";
    numbered = true;
  }
  return text::join(path, ".");
}

}  // namespace

Fields ResLoraOptions::fields() {
  Fields list;
  list.add(methods::rank_field(), rank);
  list.add(methods::alpha_field(), alpha);
  list.add(methods::dropout_field(), dropout);
  list.add({.name = "pre_num",
            .help = "how many earlier layers a shortcut reaches back; -1: all (reslora-is always reaches one)",
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

void ResLora::prepare(const std::vector<nn::NamedSite>& sites) {
  targets_.check(sites);
  targets_.check_rank(name(), options_.rank, sites);
  chains_.clear();
  allocator_ = methods::make_allocator(name(), options_.allocation, targets_, sites);
  struct Previous {
    nn::SiteInfo info;
    std::vector<int64_t> chosen;
    std::shared_ptr<Chain> chain;
  };
  std::map<std::string, Previous> previous;  // by kind, whether adapted or not
  for (const auto& [info, site] : sites) {
    if (info.kind != nn::SiteKind::Linear) continue;
    auto chosen = targets_.select(info);
    auto& before = previous[kind_of(info.name)];
    const bool continues = before.chain && before.chosen == chosen && before.info.in_features == info.in_features &&
                           before.info.out_features == info.out_features && before.info.parts == info.parts;
    std::shared_ptr<Chain> chain;
    if (!chosen.empty()) {
      chains_[info.name] = chain = continues ? before.chain : std::make_shared<Chain>();
      chain->planned.push_back(info.name);
    }
    before = {info, std::move(chosen), chain};
  }
}

std::shared_ptr<nn::Adapter> ResLora::adapt(const nn::SiteInfo& info, const nn::Site& site) {
  const auto chain = chains_.find(info.name);
  if (chain == chains_.end()) return nullptr;
  const auto& planned = chain->second->planned;
  const auto own = std::find(planned.begin(), planned.end(), info.name);
  if (static_cast<size_t>(own - planned.begin()) != chain->second->layers.size()) {  // one before it was left out after all
    const auto rest = std::make_shared<Chain>(Chain{{own, planned.end()}, {}});
    for (const auto& name : rest->planned) chains_[name] = rest;
  }
  const auto chosen = targets_.select(info);
  const bool whole = targets_.names_whole(info);
  auto adapter = reslora::make_adapter(shortcut_, info, site, chosen, whole, options_, chain->second);
  if (allocator_) allocator_->add(info.name, *adapter);
  return adapter;
}

std::shared_ptr<TrainingHook> ResLora::hook() {
  return allocator_;
}

}  // namespace respeft
