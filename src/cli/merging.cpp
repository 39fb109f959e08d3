#include "src/cli/merging.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/image/loader.h>
#include <respeft/methods/method.h>

#include <respeft/core/text.h>
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

constexpr int64_t kDefaultImages = 64;

Probe random_pixels(int64_t images, int64_t size) {
  auto generator = at::detail::createCPUGenerator(/*seed=*/0);
  return {at::randn({images, 3, size, size}, generator), {}, "random normal pixels"};
}

/// All of the first images of `dataset`, as the model sees them.
data::Batch load_all(const data::DatasetPtr& dataset, const LoadedModel& model, int64_t workers) {
  data::Loader loader(dataset, data::Transform(model.preprocessing), data::sequential_order(dataset->size()),
                      {.batch_size = dataset->size(), .workers = workers});
  auto batch = loader.next();
  if (!batch) throw std::runtime_error(dataset->description() + ": no images");
  return std::move(*batch);
}

/// Training images, a share of every class, on which shortcuts are approximated; random pixels where there are no data.
at::Tensor calibration_images(const MergeFlags& flags, const LoadedModel& model) {
  if (flags.calibration < 1) throw std::invalid_argument("--calibration: must be at least 1");
  const std::string spec =
      flags.data.spec(model, "the shortcuts do not fold exactly, and fitting them needs training images: give --data KIND:PATH");
  auto dataset = data::open_dataset(spec, data::Split::train, flags.data.options(model));
  const int64_t images = std::min(flags.calibration, dataset->size());
  dataset = data::subset(dataset, images, /*seed=*/0);
  note(fmt::format("calibrating on {} training images", images));
  return load_all(dataset, model, flags.data.workers).images;
}

std::vector<Trial> try_merges(const ShortcutMerger& merger, const Probe& probe, const at::Tensor& unmerged) {
  const double update = at::linalg_vector_norm(unmerged - merger.base(probe.images)).item<double>();
  std::vector<Trial> trials;
  Progress progress("trying merges", static_cast<int64_t>(merger.merges().size()), "merges");
  for (const auto merge : merger.merges()) {
    const at::Tensor logits = merger.preview(merge, probe.images);
    const double difference = at::linalg_vector_norm(logits - unmerged).item<double>();
    trials.push_back({merge, update > 0.0 ? difference / update : difference, compare_logits(unmerged, logits, probe.labels),
                      merger.errors(merge)});
    progress.advance();
  }
  return trials;
}

/// The trial that `method` names, or else the one with the smallest error.
const Trial& choose(const ShortcutMerger& merger, const std::vector<Trial>& trials, const std::string& method) {
  if (!method.empty()) {
    const auto wanted = shortcut_merge_from_name(method);
    merger.errors(wanted);  // throws where the adapter has not what it needs
    return *std::find_if(trials.begin(), trials.end(), [&](const Trial& trial) { return trial.merge == wanted; });
  }
  return *std::min_element(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.error < b.error; });
}

std::vector<std::string> merge_names() {
  std::vector<std::string> names = {"exact"};
  for (const auto merge : shortcut_merges()) names.push_back(to_string(merge));
  return names;
}

}  // namespace

void MergeFlags::declare(CLI::App& app) {
  data.declare(app, "--images", "images compared; default: 64");
  app.add_option("--tolerance", tolerance, "accepted difference of a logit, relative to the largest logit")
      ->type_name("X")
      ->default_str("1e-4")
      ->group("Data");
  app.add_option("--calibration", calibration, "training images on which shortcuts that do not fold exactly are fitted")
      ->type_name("N")
      ->default_str("256")
      ->group("Data");
  auto* method_option = app.get_option("--method");  // the model's; here it also says how to merge
  method_option->description(fmt::format("how shortcuts are merged: {} (default: the one with the smallest error); or {}",
                                         text::join(merge_names(), ", "), method_option->get_description()));
  app.add_flag("--accept-loss", accept_loss, "write although merging the shortcuts exceeds the tolerance")->group("Data");
}

Probe MergeFlags::probe(const LoadedModel& model) const {
  DataFlags flags = data;
  if (flags.limit == 0) flags.limit = kDefaultImages;
  if (flags.limit < 0) throw std::invalid_argument("--images: must be at least 1");
  if (flags.data.empty() && model.data.empty()) return random_pixels(flags.limit, model.preprocessing.size);
  try {
    const auto dataset = flags.open(model);
    const auto batch = load_all(dataset, model, flags.workers);
    return {batch.images, batch.labels, dataset->description()};
  } catch (const std::runtime_error& error) {
    if (!flags.data.empty()) throw;
    warn(fmt::format("the run's data cannot be read, so random pixels are compared: {}", error.what()));
    return random_pixels(flags.limit, model.preprocessing.size);
  }
}

void MergeFlags::check(const Comparison& comparison, const std::string& what) const {
  if (comparison.relative_difference <= tolerance) return;  // false for NaN
  throw std::runtime_error(fmt::format("{} differ by {} of the largest logit, more than the tolerance {}; nothing was written",
                                       what, scientific(comparison.relative_difference), scientific(tolerance)));
}

void MergeFlags::check(const Merged& merged) const {
  const auto& comparison = merged.comparison;
  if (comparison.relative_difference <= tolerance) return;
  if (merged.trials.empty()) return check(comparison, "the logits before and after merging");
  if (accept_loss && std::isfinite(comparison.relative_difference)) return;
  throw std::runtime_error(fmt::format(
      "merging the shortcuts ({}) changes a logit by {} of the largest, more than the tolerance {}; nothing was written; "
      "--accept-loss takes it, --tolerance X sets another bound",
      merged.method, scientific(comparison.relative_difference), scientific(tolerance)));
}

void MergeFlags::take_method(MethodFlags& flags) {
  const auto merges = merge_names();
  const auto is_named = [&](const auto& entry) { return entry.name == flags.name; };
  if (std::find(merges.begin(), merges.end(), flags.name) != merges.end()) {
    method = std::exchange(flags.name, "");
  } else if (!flags.name.empty() && std::ranges::none_of(methods::registry(), is_named)) {
    throw std::invalid_argument("--method: " + text::unknown("way to merge", flags.name, merges));
  }
}

Merged MergeFlags::merge(LoadedModel& model, const Probe& probe) const {
  const at::Tensor before = model.logits(probe.images);
  Merged merged;
  merged.method = "exact";
  if (!needs_shortcut_merge(*model.model)) {
    if (!method.empty() && method != "exact") {
      throw std::invalid_argument(
          fmt::format("--method {}: the adapter has no shortcut to approximate; it folds exactly", method));
    }
    merged.report = merge_adapters(*model.model);
  } else {
    if (method == "exact") {
      throw std::invalid_argument(
          "--method exact: the adapter's shortcuts read inputs that a plain layer does not see, so they fold only approximately");
    }
    ShortcutMerger merger(*model.model, calibration_images(*this, model));
    merged.trials = try_merges(merger, probe, before);
    const auto& chosen = choose(merger, merged.trials, method);
    merged.method = to_string(chosen.merge);
    merged.report = merger.merge(chosen.merge);
  }
  merged.logits = model.logits(probe.images);
  merged.comparison = compare_logits(before, merged.logits, probe.labels);
  return merged;
}

nlohmann::json to_json(const Comparison& comparison) {
  nlohmann::json document = {{"images", comparison.images},
                             {"max_difference", comparison.max_difference},
                             {"relative_difference", comparison.relative_difference},
                             {"agreement", comparison.agreement}};
  if (comparison.accuracy_first) document["accuracy_before"] = *comparison.accuracy_first;
  if (comparison.accuracy_second) document["accuracy_after"] = *comparison.accuracy_second;
  return document;
}

nlohmann::json to_json(const std::vector<Trial>& trials) {
  nlohmann::json all = nlohmann::json::object();
  for (const auto& trial : trials) {
    nlohmann::json sites = nlohmann::json::object();
    for (const auto& site : trial.sites) sites[site.name] = site.error;
    all[to_string(trial.merge)] = {{"error", trial.error}, {"comparison", to_json(trial.comparison)}, {"sites", sites}};
  }
  return all;
}

std::string describe(const std::vector<Trial>& trials) {
  std::vector<std::string> header = {"error of a merge"};
  for (const auto& trial : trials) header.push_back(to_string(trial.merge));
  Table table(header);
  for (size_t i = 0; i < trials.front().sites.size(); ++i) {
    const auto& site = trials.front().sites[i];
    std::vector<std::string> row = {site.name};
    for (const auto& trial : trials) row.push_back(site.exact ? "exact" : fmt::format("{:.3f}", trial.sites[i].error));
    table.add(row);
  }
  const auto add = [&](const std::string& name, const auto& value) {
    std::vector<std::string> row = {name};
    for (const auto& trial : trials) row.push_back(value(trial));
    table.add(row);
  };
  add("the model's logits", [](const Trial& trial) { return fmt::format("{:.3f}", trial.error); });
  add("same prediction", [](const Trial& trial) { return percent(trial.comparison.agreement); });
  if (trials.front().comparison.accuracy_second) {
    add("accuracy", [](const Trial& trial) { return percent(*trial.comparison.accuracy_second); });
  }
  return table.text();
}

nlohmann::json to_json(const MergeReport& report) {
  nlohmann::json sites = nlohmann::json::array();
  for (const auto& site : report.sites) {
    sites.push_back({{"name", site.name},
                     {"exact", site.exact},
                     {"adds_bias", site.adds_bias},
                     {"weight_change", site.weight_change},
                     {"bias_change", site.bias_change}});
  }
  return sites;
}

std::string describe(const Comparison& comparison, const Probe& probe) {
  std::vector<std::pair<std::string, std::string>> entries = {
      {"compared on", fmt::format("{} images: {}", count(comparison.images), probe.description)},
      {"largest difference", fmt::format("{} ({} of the largest logit)", scientific(comparison.max_difference),
                                         scientific(comparison.relative_difference))},
      {"same prediction", percent(comparison.agreement)}};
  if (comparison.accuracy_first && comparison.accuracy_second) {
    entries.emplace_back("accuracy", fmt::format("{} before, {} after", percent(*comparison.accuracy_first),
                                                 percent(*comparison.accuracy_second)));
  }
  return key_values(entries);
}

}  // namespace respeft::cli
