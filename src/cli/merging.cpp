#include "src/cli/merging.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include <respeft/core/interrupt.h>
#include <respeft/core/text.h>
#include <respeft/methods/method.h>
#include <respeft/runs/probe.h>

#include "src/cli/output.h"

namespace respeft::cli {

void MergeFlags::declare(CLI::App& app) {
  data.declare(app, "--images", "images compared, drawn evenly from the classes; default: 64");
  app.add_option("--tolerance", tolerance, "largest accepted difference of a logit, relative to the largest logit")
      ->type_name("X")
      ->default_str("1e-4")
      ->group("Data");
  app.add_option("--how", how,
                 "how shortcuts are merged: " + text::join(merge_names(), ", ") + "; default: the one with the smallest error")
      ->type_name("NAME")
      ->group("Data");
  app.add_option("--calibration", calibration, "number of training images for fitting shortcuts that do not fold exactly")
      ->type_name("N")
      ->default_str("256")
      ->group("Data");
  auto* method_option = app.get_option("--method");  // the model's
  method_option->description(method_option->get_description() + "; or as --how");
  app.add_flag("--accept-loss", accept_loss, "write even if merging the shortcuts exceeds the tolerance")->group("Data");
}

void MergeFlags::take_method(MethodFlags& flags) {
  const auto merges = merge_names();
  const auto is_merge = [&](const std::string& name) { return std::find(merges.begin(), merges.end(), name) != merges.end(); };
  if (!how.empty() && !is_merge(how)) throw std::invalid_argument("--how: " + text::unknown("way to merge", how, merges));
  const auto is_named = [&](const auto& entry) { return entry.name == flags.name; };
  if (is_merge(flags.name)) {
    if (!how.empty() && how != flags.name)
      throw std::invalid_argument(fmt::format("--how {} and --method {} name two ways to merge", how, flags.name));
    how = std::exchange(flags.name, "");
    how_flag_ = "--method";
  } else if (!flags.name.empty() && std::ranges::none_of(methods::registry(), is_named)) {
    throw std::invalid_argument("--method: " + text::unknown("way to merge", flags.name, merges));
  }
}

Probe MergeFlags::probe(const runs::LoadedRun& run) const {
  data.check();
  runs::ProbeOptions options{.data = data.data, .split = data.split, .shares = data.shares, .workers = data.workers};
  if (data.limit > 0) options.images = data.limit;
  options.note = [](const std::string& line) { warn(line); };
  return runs::make_probe(run, options);
}

Merged MergeFlags::merge(runs::LoadedRun& run, const Probe& probe) const {
  if (calibration < 1) throw std::invalid_argument("--calibration: must be at least 1");
  std::optional<Progress> progress;
  MergeOptions options{.how = how, .tolerance = tolerance, .accept_loss = accept_loss, .stop = &InterruptGuard::flag()};
  options.calibration = [&] {
    const at::Tensor images =
        runs::calibration_images(run, {.data = data.data, .shares = data.shares, .images = calibration, .workers = data.workers});
    note(fmt::format("calibrating on {} training images", images.size(0)));
    return images;
  };
  options.progress = [&](const std::string& what, int64_t done, int64_t total) {
    if (!progress) progress.emplace(what, total, "merges");
    progress->update(done);
  };
  try {
    return merge_measured(*run.model, probe, options);
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what(), prefix = "how: ";
    if (!message.starts_with(prefix)) throw;
    throw std::invalid_argument(fmt::format("{} {}", how_flag_, message.substr(prefix.size())));
  }
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

std::string describe(const Comparison& comparison, const Probe& probe, bool random_head) {
  std::vector<std::pair<std::string, std::string>> entries = {
      {"compared on", fmt::format("{} images: {}", count(comparison.images), probe.description)},
      {"largest difference", fmt::format("{} ({} of the largest logit)", scientific(comparison.max_difference),
                                         scientific(comparison.relative_difference))},
      {"same prediction", percent(comparison.agreement)}};
  if (random_head) entries.insert(entries.begin() + 1, {"head", "zeros, so a random one was compared in its place"});
  if (comparison.accuracy_first && comparison.accuracy_second) {
    entries.emplace_back("accuracy", fmt::format("{} before, {} after", percent(*comparison.accuracy_first),
                                                 percent(*comparison.accuracy_second)));
  }
  return key_values(entries);
}

}  // namespace respeft::cli
