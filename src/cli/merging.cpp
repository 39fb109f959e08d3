#include "src/cli/merging.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/loader.h>

#include "src/cli/output.h"

namespace respeft::cli {
namespace {

constexpr int64_t kDefaultImages = 64;

Probe random_pixels(int64_t images, int64_t size) {
  auto generator = at::detail::createCPUGenerator(/*seed=*/0);
  return {at::randn({images, 3, size, size}, generator), {}, "random normal pixels"};
}

}  // namespace

void MergeFlags::declare(CLI::App& app) {
  data.declare(app, "--images", "images compared; default: 64");
  app.add_option("--tolerance", tolerance, "accepted difference of a logit, relative to the largest logit")
      ->type_name("X")
      ->default_str("1e-4")
      ->group("Data");
}

Probe MergeFlags::probe(const LoadedModel& model) const {
  DataFlags flags = data;
  if (flags.limit == 0) flags.limit = kDefaultImages;
  if (flags.limit < 0) throw std::invalid_argument("--images: must be at least 1");
  if (flags.data.empty() && model.data.empty()) return random_pixels(flags.limit, model.preprocessing.size);
  try {
    const auto dataset = flags.open(model);
    data::Loader loader(dataset, data::Transform(model.preprocessing), data::sequential_order(dataset->size()),
                        {.batch_size = dataset->size(), .workers = flags.workers});
    const auto batch = loader.next();
    if (!batch) throw std::runtime_error(dataset->description() + ": no images");
    return {batch->images, batch->labels, dataset->description()};
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

Merged merge_and_compare(LoadedModel& model, const Probe& probe) {
  const at::Tensor before = model.logits(probe.images);
  Merged merged;
  merged.report = merge_adapters(*model.model);
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
