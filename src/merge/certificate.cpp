#include <respeft/merge/certificate.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/core/text.h>
#include <respeft/data/image/loader.h>
#include <respeft/data/image/transforms.h>
#include <respeft/data/sampler.h>
#include <respeft/nn/names.h>

namespace respeft {
namespace {

/// Of `RandomHead`'s weights; as new heads are drawn elsewhere.
constexpr double kHeadDeviation = 0.02;

std::string scientific(double value) {
  return value == 0 ? "0" : fmt::format("{:.1e}", value);
}

void check_stop(const std::atomic<bool>* stop) {
  if (stop != nullptr && stop->load()) throw Interrupted("stopped while merging; nothing was written");
}

std::vector<Trial> try_merges(const ShortcutMerger& merger, const Probe& probe, const at::Tensor& unmerged,
                              const MergeOptions& options) {
  const double update = at::linalg_vector_norm(unmerged - merger.base(probe.inputs)).item<double>();
  const auto merges = merger.merges();
  std::vector<Trial> trials;
  for (const auto merge : merges) {
    check_stop(options.stop);
    const at::Tensor logits = merger.preview(merge, probe.inputs);
    const double difference = at::linalg_vector_norm(logits - unmerged).item<double>();
    trials.push_back({merge, update > 0.0 ? difference / update : difference, compare_logits(unmerged, logits, probe.labels),
                      merger.errors(merge)});
    if (options.progress)
      options.progress("trying merges", static_cast<int64_t>(trials.size()), static_cast<int64_t>(merges.size()));
  }
  return trials;
}

/// The trial that `how` names, or else the one with the smallest error.
const Trial& choose(const ShortcutMerger& merger, const std::vector<Trial>& trials, const std::string& how) {
  if (!how.empty()) {
    const auto wanted = shortcut_merge_from_name(how);
    merger.errors(wanted);  // throws where the adapter lacks something that it needs
    return *std::find_if(trials.begin(), trials.end(), [&](const Trial& trial) { return trial.merge == wanted; });
  }
  const auto error = [](const Trial& trial) {
    return std::isnan(trial.error) ? std::numeric_limits<double>::infinity() : trial.error;
  };
  return *std::min_element(trials.begin(), trials.end(), [&](const Trial& a, const Trial& b) { return error(a) < error(b); });
}

void merge_exactly(models::Model& model, Merged& merged, const MergeOptions& options) {
  if (!options.how.empty() && options.how != "exact") {
    throw std::invalid_argument(
        fmt::format("how: {}: the adapter has no shortcut to approximate; it folds exactly", options.how));
  }
  check_stop(options.stop);
  if (has_adapters(model)) merged.report = merge(model);
}

void merge_shortcuts(models::Model& model, const Probe& probe, const at::Tensor& before, Merged& merged,
                     const MergeOptions& options) {
  if (options.how == "exact") {
    throw std::invalid_argument(
        "how: exact: the adapter's shortcuts read inputs that a plain layer does not see, so they fold only approximately");
  }
  if (!options.calibration) {
    throw std::invalid_argument(
        "the shortcuts do not fold exactly, and fitting them needs training images: give --data KIND:PATH");
  }
  ShortcutMerger merger(model, options.calibration());
  merged.trials = try_merges(merger, probe, before, options);
  const auto& chosen = choose(merger, merged.trials, options.how);
  check_stop(options.stop);
  merged.how = to_string(chosen.merge);
  merged.report = merger.merge(chosen.merge);
}

}  // namespace

Probe random_probe(const models::Model& model, int64_t examples) {
  if (examples < 1) throw std::invalid_argument(fmt::format("{} random inputs: must be at least 1", examples));
  const models::InputSpec input = model.input();
  Probe probe{input.example(examples).at(input.name), {}, fmt::format("random {}", input.name)};
  return probe;
}

Probe image_probe(data::DatasetPtr dataset, const data::Preprocessing& preprocessing, int64_t images, int64_t workers) {
  dataset = data::sample(std::move(dataset), images);
  data::Loader loader(dataset, data::Transform(preprocessing), data::sequential_order(dataset->size()),
                      {.batch_size = std::max<int64_t>(dataset->size(), 1), .workers = workers});
  auto batch = loader.next();
  if (!batch) throw std::runtime_error(dataset->description() + ": no images");
  return {batch->images, batch->labels, dataset->description()};
}

at::Tensor logits_of(models::Model& model, const at::Tensor& inputs, int64_t batch_size, const std::atomic<bool>* stop) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> batches;
  for (int64_t begin = 0; begin < inputs.size(0); begin += batch_size) {
    check_stop(stop);
    batches.push_back(model.forward(inputs.narrow(0, begin, std::min(batch_size, inputs.size(0) - begin))).to(at::kFloat));
  }
  return at::cat(batches);
}

RandomHead::RandomHead(models::Model& model, uint64_t seed) {
  const at::NoGradGuard no_grad;
  for (const auto& item : model.named_parameters()) {
    if (item.key() != std::string(nn::kHeadPrefix) + "weight" || item.value().numel() == 0 || item.value().any().item<bool>())
      continue;
    weight_ = item.value();
    auto generator = at::detail::createCPUGenerator(seed);
    weight_.copy_(at::randn(weight_.sizes(), generator) * kHeadDeviation);
  }
}

RandomHead::~RandomHead() {
  const at::NoGradGuard no_grad;
  if (weight_.defined()) weight_.zero_();
}

std::vector<std::string> merge_names() {
  std::vector<std::string> names = {"exact"};
  for (const auto merge : shortcut_merges()) names.push_back(to_string(merge));
  return names;
}

Merged merge_measured(models::Model& model, const Probe& given, const MergeOptions& options) {
  const auto names = merge_names();
  if (!options.how.empty() && std::find(names.begin(), names.end(), options.how) == names.end())
    throw std::invalid_argument("how: " + text::unknown("way to merge", options.how, names));
  const RandomHead head(model);
  Probe probe = given;
  if (head.active()) probe.labels = at::Tensor();  // a random head's accuracy is no figure of the model's
  const at::Tensor before = logits_of(model, probe.inputs, 32, options.stop);
  Merged merged;
  merged.how = "exact";
  merged.random_head = head.active();
  if (needs_shortcut_merge(model)) {
    merge_shortcuts(model, probe, before, merged, options);
  } else {
    merge_exactly(model, merged, options);
  }
  merged.logits = logits_of(model, probe.inputs);
  merged.comparison = compare_logits(before, merged.logits, probe.labels);
  return merged;
}

void check_tolerance(const Comparison& comparison, double tolerance, const std::string& what) {
  if (comparison.relative_difference <= tolerance) return;  // false for NaN
  throw ToleranceExceeded(fmt::format("{} differ by {} of the largest logit, more than the tolerance {}; nothing was written",
                                      what, scientific(comparison.relative_difference), scientific(tolerance)));
}

void check_merge(const Merged& merged, const MergeOptions& options) {
  const double difference = merged.comparison.relative_difference;
  if (merged.trials.empty()) return check_tolerance(merged.comparison, options.tolerance, "the logits before and after merging");
  if (difference <= options.tolerance || (options.accept_loss && std::isfinite(difference))) return;
  throw ToleranceExceeded(fmt::format(
      "merging the shortcuts ({}) changes a logit by {} of the largest, more than the tolerance {}; nothing was written; "
      "--accept-loss takes it, --tolerance X sets another bound",
      merged.how, scientific(difference), scientific(options.tolerance)));
}

Merged merge_certified(models::Model& model, const Probe& probe, const MergeOptions& options) {
  Merged merged = merge_measured(model, probe, options);
  check_merge(merged, options);
  return merged;
}

}  // namespace respeft
