#include "src/methods/rank_allocation.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft {

Fields RankAllocationOptions::fields() {
  Fields list;
  list.add({.name = "target_rank",
            .help = "prune to this rank on average, by importance (AdaLoRA); 0: every rank stays",
            .group = "Method",
            .minimum = 0},
           target_rank);
  list.add({.name = "prune_start",
            .help = "share of the steps after which pruning begins",
            .group = "Method",
            .minimum = 0,
            .maximum = 1},
           prune_start);
  list.add({.name = "prune_end",
            .help = "share of the steps after which the ranks are final",
            .group = "Method",
            .minimum = 0,
            .maximum = 1,
            .above_minimum = true},
           prune_end);
  list.add({.name = "prune_every", .help = "steps between two prunings", .group = "Method", .minimum = 1}, prune_every);
  list.add({.name = "orthogonality",
            .help = "weight of the orthogonality regularization in the loss",
            .group = "Method",
            .minimum = 0},
           orthogonality);
  return list;
}

void RankAllocationOptions::check(const std::string& method, int64_t rank) const {
  if (target_rank >= rank)
    throw std::invalid_argument(
        fmt::format("{}: target_rank: must be below the rank of {} (0: every rank stays), not {}", method, rank, target_rank));
  if (prune_start > prune_end)
    throw std::invalid_argument(
        fmt::format("{}: prune_start: must not be above prune_end = {}, not {}", method, prune_end, prune_start));
}

namespace methods {
namespace {

constexpr double kSmoothing = 0.85;  // β1 and β2 of Eq. 9 and 10

/// ‖M − I‖_F of a square M.
at::Tensor distance_from_identity(const at::Tensor& square) {
  return at::linalg_vector_norm(square - at::eye(square.size(0), square.options()));
}

}  // namespace

RankAllocator::RankAllocator(const RankAllocationOptions& options) : Attachment("rank_allocation"), options_(options) {
  final_ = register_buffer("final", at::zeros({1}));
}

bool RankAllocator::is_final() const {
  const auto version = static_cast<uint32_t>(final_._version());
  if (!known_final_ || known_final_->first != version) known_final_.emplace(version, final_.item<float>() > 0.0F);
  return known_final_->second;
}

void RankAllocator::Factor::update() {
  if (!value.grad().defined()) return;  // a step in which the layer was not called
  const auto now = (value.detach() * value.grad()).abs();
  sensitivity.mul_(kSmoothing).add_(now, 1.0 - kSmoothing);
  deviation.mul_(kSmoothing).add_((now - sensitivity).abs(), 1.0 - kSmoothing);
}

namespace {

/// The module at `path` in `root`, made where it is not there.
torch::nn::Module& module_at(torch::nn::Module& root, const std::vector<std::string>& path) {
  auto* module = &root;
  for (const auto& name : path) {
    const auto children = module->named_children();
    module = children.contains(name) ? children[name].get()
                                     : module->register_module(name, std::make_shared<torch::nn::Module>()).get();
  }
  return *module;
}

}  // namespace

void RankAllocator::add(const std::string& site, const LowRankAdapter& adapter) {
  for (size_t i = 0; i < adapter.pairs().size(); ++i) {
    const auto& pair = *adapter.pairs()[i];
    auto path = text::split(site, '.');
    path.push_back(std::to_string(i));
    auto& place = module_at(*this, path);  // so that a buffer's name says whose it is
    const auto factor = [&](const char* name, const at::Tensor& value) {
      auto& module = module_at(place, {name});
      const auto zeros = [&] { return at::zeros_like(value, value.options().requires_grad(false)); };
      return Factor{value, module.register_buffer("sensitivity", zeros()), module.register_buffer("deviation", zeros())};
    };
    const auto ones = at::ones_like(pair.lora_E, pair.lora_E.options().requires_grad(false));
    Tracked tracked{factor("lora_A", pair.lora_A), factor("lora_E", pair.lora_E), factor("lora_B", pair.lora_B), {}};
    tracked.kept = module_at(place, {"lora_E"}).register_buffer("kept", ones);
    updates_.push_back(std::move(tracked));
  }
}

at::Tensor RankAllocator::regularization() const {
  at::Tensor sum;
  for (const auto& [a, e, b, kept] : updates_) {
    const auto both = distance_from_identity(a.value.mm(a.value.t())) + distance_from_identity(b.value.t().mm(b.value));
    sum = sum.defined() ? sum + both : both;
  }
  return sum.defined() ? sum * (options_.orthogonality / (2.0 * static_cast<double>(updates_.size()))) : sum;
}

RankAllocator::Phases RankAllocator::phases(int64_t steps) const {
  const auto at_share = [&](double share) { return static_cast<int64_t>(std::floor(share * static_cast<double>(steps))); };
  // No importance is known before the second step.
  return {at_share(options_.prune_start), std::min(std::max<int64_t>(at_share(options_.prune_end), 2), steps)};
}

int64_t RankAllocator::budget(int64_t step, int64_t steps) const {
  int64_t whole = 0;
  for (const auto& update : updates_) whole += update.kept.numel();
  const int64_t target = options_.target_rank * static_cast<int64_t>(updates_.size());
  const auto [start, end] = phases(steps);
  if (step >= end) return target;
  if (step <= start) return whole;
  const double left = 1.0 - static_cast<double>(step - start) / static_cast<double>(end - start);
  return target + static_cast<int64_t>(static_cast<double>(whole - target) * left * left * left);
}

void RankAllocator::after_step(int64_t step, int64_t steps) {
  const at::NoGradGuard no_grad;
  const auto [start, end] = phases(steps);
  const bool was_final = is_final();
  if (step < end && !was_final) {
    for (auto& update : updates_) {
      for (auto* factor : {&update.a, &update.e, &update.b}) factor->update();
    }
  }
  const bool due = !was_final && (step >= end || (step > start && step % options_.prune_every == 0));
  if (due) prune(budget(step, steps));
  if (step >= end) final_.fill_(1.0);
  if (due || was_final) {
    for (auto& update : updates_) update.e.value.detach().mul_(update.kept);
  }
}

void RankAllocator::prune(int64_t budget) {
  std::vector<at::Tensor> scores;
  for (const auto& [a, e, b, kept] : updates_) {
    scores.push_back(e.importance().view(-1) + a.importance().mean(1) + b.importance().mean(0));
  }
  const auto all = at::cat(scores).to(at::kDouble);
  auto keep = at::zeros_like(all);
  keep.index_fill_(0, std::get<1>(all.topk(budget)), 1.0);
  int64_t first = 0;
  for (auto& update : updates_) {
    const int64_t rank = update.kept.numel();
    update.kept.copy_(keep.narrow(0, first, rank).view({rank, 1}));
    first += rank;
  }
}

void check_allocation(const std::string& method, const RankAllocationOptions& options, const Targets& targets,
                      const std::vector<nn::NamedSite>& sites) {
  if (!options.enabled()) return;
  std::set<std::string> others;
  for (const auto& [info, site] : sites) {
    if (targets.select(info).empty()) continue;
    if (info.kind == nn::SiteKind::Linear) return;
    others.insert(info.role);
  }
  throw std::invalid_argument(
      fmt::format("{}: with a target_rank of {}, expected targets (and blocks) that match a linear layer, whose ranks can be "
                  "allocated; they match {}",
                  method, options.target_rank, others.empty() ? "nothing" : text::join({others.begin(), others.end()}, ", ")));
}

}  // namespace methods
}  // namespace respeft
