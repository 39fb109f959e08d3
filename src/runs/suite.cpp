#include <respeft/runs/suite.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/image/fgvc.h>
#include <respeft/data/image/vtab.h>

#include "src/formats/json.h"

namespace respeft::runs {
namespace {

std::string join(const std::string& kind, const std::string& root, const std::string& folder) {
  return kind + ":" + (std::filesystem::path(root) / folder).string();
}

/// A mean of several series: a value a seed for each, and the mean of them.
struct Series {
  double mean = 0.0;
  std::vector<double> by_seed;  ///< empty where the series do not match
};

Series series_of(const Experiment& experiment) {
  Series series{experiment.mean(), {}};
  for (const auto& run : experiment.runs) series.by_seed.push_back(run.test_score);
  return series;
}

Series mean_of(const std::vector<Series>& parts) {
  Series mean{0.0, std::vector<double>(parts[0].by_seed.size())};
  const auto count = static_cast<double>(parts.size());
  for (const auto& part : parts) {
    mean.mean += part.mean / count;
    if (part.by_seed.size() != mean.by_seed.size()) mean.by_seed.clear();
    for (size_t i = 0; i < mean.by_seed.size(); ++i) mean.by_seed[i] += part.by_seed[i] / count;
  }
  return mean;
}

SuiteMean named(const std::string& name, const Series& series) {
  SuiteMean mean{name, series.mean, std::nullopt};
  if (series.by_seed.size() < 2) return mean;
  double squares = 0.0;
  for (const double value : series.by_seed) squares += std::pow(value - series.mean, 2);
  mean.deviation = std::sqrt(squares / static_cast<double>(series.by_seed.size() - 1));
  return mean;
}

/// The score's name, as all results have it; the first's if they differ.
std::string score_name(const std::vector<SuiteResult>& results) {
  return results.empty() ? "accuracy" : results.front().experiment.score;
}

/// The protocol of all results; nothing where they have several, or none.
std::optional<std::string> common_protocol(const std::vector<SuiteResult>& results) {
  std::optional<std::string> common;
  for (const auto& result : results) {
    const auto& own = result.experiment.config.protocol;
    if (common && *common != own) return std::nullopt;
    common = own;
  }
  return common;
}

}  // namespace

SuiteTasks suite_tasks(const std::string& spec) {
  const size_t colon = spec.find(':');
  const std::string kind = spec.substr(0, colon), root = colon == std::string::npos ? "" : spec.substr(colon + 1);
  SuiteTasks suite{kind, {}, 0};
  if (root.empty() || (kind != "vtab" && kind != "fgvc"))
    throw std::invalid_argument(fmt::format("expected vtab:ROOT or fgvc:ROOT, not '{}'", spec));
  if (kind == "vtab") {
    suite.all = static_cast<int64_t>(data::vtab_tasks().size());
    for (const auto& task : data::vtab_tasks_in(root)) {
      suite.tasks.push_back({task.name, data::to_string(task.group), join(kind, root, task.name)});
    }
  } else {
    suite.all = static_cast<int64_t>(data::fgvc_tasks().size());
    std::string previous;
    for (const auto& [task, folder] : data::fgvc_tasks_in(root)) {
      if (!suite.tasks.empty() && suite.tasks.back().name == task.name)
        throw std::runtime_error(
            fmt::format("{}: both {} and {} are {}; only one of them can be its folder", root, previous, folder, task.title));
      suite.tasks.push_back({task.name, "", join(kind, root, folder)});
      previous = folder;
    }
  }
  if (suite.tasks.empty())
    throw std::runtime_error(fmt::format("{}: none of the {} datasets of {} is there", root, suite.all, kind));
  return suite;
}

std::vector<SuiteTask> benchmark_tasks(const std::string& benchmark) {
  std::vector<SuiteTask> tasks;
  if (benchmark == "vtab") {
    for (const auto& task : data::vtab_tasks()) tasks.push_back({task.name, data::to_string(task.group), ""});
  } else {
    for (const auto& task : data::fgvc_tasks()) tasks.push_back({task.name, "", ""});
  }
  return tasks;
}

std::string SuiteReport::protocol() const {
  return common_protocol(results).value_or("");
}

std::vector<SuiteMean> suite_means(const std::vector<SuiteResult>& results) {
  if (!common_protocol(results)) return {};
  std::vector<std::pair<std::string, std::vector<Series>>> groups;
  std::vector<Series> all;
  for (const auto& [task, experiment] : results) {
    all.push_back(series_of(experiment));
    const auto& name = task.group;  // a lambda of C++20 in older Clangs takes no structured binding
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& known) { return known.first == name; });
    if (group == groups.end()) group = groups.insert(groups.end(), {name, {}});
    group->second.push_back(all.back());
  }
  std::vector<SuiteMean> means;
  std::vector<Series> group_means;
  for (const auto& [name, series] : groups) {
    group_means.push_back(mean_of(series));
    if (!name.empty()) means.push_back(named(name, group_means.back()));
  }
  if (all.empty()) return means;
  means.push_back(named(fmt::format("mean of {}", all.size()), mean_of(all)));
  if (!means[0].name.starts_with("mean")) means.push_back(named("mean of groups", mean_of(group_means)));
  return means;
}

std::string to_json(const SuiteReport& report) {
  nlohmann::ordered_json json = {{"benchmark", report.benchmark},
                                 {"all", report.all},
                                 {"protocol", nullptr},
                                 {"failed", nlohmann::ordered_json::array()},
                                 {"datasets", nlohmann::ordered_json::array()},
                                 {"means", nlohmann::ordered_json::array()}};
  if (const auto protocol = common_protocol(report.results)) json["protocol"] = *protocol;
  for (const auto& [name, error] : report.failed) json["failed"].push_back({{"dataset", name}, {"error", error}});
  for (const auto& [task, experiment] : report.results) {
    nlohmann::ordered_json one = {{"dataset", task.name}, {"group", task.group}};
    one.update(nlohmann::ordered_json::parse(to_json(experiment)));
    json["datasets"].push_back(std::move(one));
  }
  const std::string score = "test_" + score_name(report.results);
  for (const auto& mean : suite_means(report.results)) {
    nlohmann::ordered_json one = {{"mean", mean.name}, {score, mean.score}, {score + "_deviation", nullptr}};
    if (mean.deviation) one[score + "_deviation"] = *mean.deviation;
    json["means"].push_back(std::move(one));
  }
  return formats::to_text(json, 2);
}

}  // namespace respeft::runs
