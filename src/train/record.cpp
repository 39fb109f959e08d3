#include <respeft/train/record.h>

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/formats/json.h"

namespace respeft::train {
namespace {

using Json = nlohmann::ordered_json;

void add_metrics(Json& json, const std::string& split, const MetricValues& metrics) {
  for (const auto& [name, value] : metrics.values()) json[split + "_" + name] = value;
}

/// The numbers under keys that begin with the split's name; whole ones are no metrics but counts.
MetricValues metrics_from(const Json& json, const std::string& split) {
  std::vector<std::pair<std::string, double>> values;
  for (const auto& [key, value] : json.items()) {
    if (key.starts_with(split + "_") && value.is_number_float())
      values.emplace_back(key.substr(split.size() + 1), value.get<double>());
  }
  return values;
}

Json record_json(const EpochRecord& r) {
  Json json = {{"epoch", r.epoch}};
  if (r.step > 0) json["step"] = r.step;
  json["lr"] = r.lr;
  add_metrics(json, "train", r.train);
  json["seconds"] = r.seconds;
  json["data_wait_seconds"] = r.data_wait_seconds;
  if (r.evaluation) {
    const auto& e = *r.evaluation;
    json["split"] = e.split;
    json[e.split + "_" + e.unit] = e.examples;
    add_metrics(json, e.split, e.metrics);
    json["eval_seconds"] = e.seconds;
  }
  return json;
}

Evaluation evaluation_from(const Json& json) {
  Evaluation e;
  json.at("split").get_to(e.split);
  json.at("eval_seconds").get_to(e.seconds);
  e.metrics = metrics_from(json, e.split);
  for (const auto& [key, value] : json.items()) {
    if (!key.starts_with(e.split + "_") || !value.is_number_integer()) continue;
    e.unit = key.substr(e.split.size() + 1);
    value.get_to(e.examples);
    return e;
  }
  throw std::runtime_error(fmt::format("no number of the examples of '{}'", e.split));
}

EpochRecord record_from(const Json& json) {
  EpochRecord r;
  json.at("epoch").get_to(r.epoch);
  r.step = json.value("step", int64_t{0});
  json.at("lr").get_to(r.lr);
  r.train = metrics_from(json, "train");
  json.at("seconds").get_to(r.seconds);
  json.at("data_wait_seconds").get_to(r.data_wait_seconds);
  if (json.contains("split")) r.evaluation = evaluation_from(json);
  return r;
}

template <class Read>
auto parsed(const std::string& text, Read&& read) {
  try {
    return read(Json::parse(text));
  } catch (const Json::exception& error) {
    throw std::runtime_error(error.what());
  }
}

}  // namespace

double MetricValues::at(const std::string& name) const {
  for (const auto& [own, value] : values_) {
    if (own == name) return value;
  }
  throw std::out_of_range(fmt::format("no metric '{}'", name));
}

bool MetricValues::contains(const std::string& name) const {
  return std::any_of(values_.begin(), values_.end(), [&](const auto& value) { return value.first == name; });
}

bool RunProgress::contains(const EpochRecord& record) const {
  if (pending && pending->epoch == record.epoch && pending->step == record.step) return false;
  return record.step > 0 ? record.step <= steps : record.epoch <= epochs;
}

std::string to_json(const EpochRecord& record) {
  return formats::to_text(record_json(record));
}

EpochRecord epoch_record_from_json(const std::string& json) {
  return parsed(json, record_from);
}

std::string to_json(const RunProgress& p) {
  Json json = {{"epochs", p.epochs},
               {"steps", p.steps},
               {"seconds", p.seconds},
               {"train_seconds", p.train_seconds},
               {"eval_seconds", p.eval_seconds},
               {"data_wait_seconds", p.data_wait_seconds}};
  if (p.epoch_steps > 0) {
    json["epoch_steps"] = p.epoch_steps;
    json["epoch_seconds"] = p.epoch_seconds;
    json["epoch_wait_seconds"] = p.epoch_wait_seconds;
  }
  if (p.last) json["last"] = record_json(*p.last);
  if (p.best) json["best"] = record_json(*p.best);
  if (p.pending) json["pending"] = record_json(*p.pending);
  return formats::to_text(json);
}

RunProgress run_progress_from_json(const std::string& text) {
  return parsed(text, [](const Json& json) {
    RunProgress p;
    json.at("epochs").get_to(p.epochs);
    json.at("steps").get_to(p.steps);
    json.at("seconds").get_to(p.seconds);
    json.at("train_seconds").get_to(p.train_seconds);
    json.at("eval_seconds").get_to(p.eval_seconds);
    json.at("data_wait_seconds").get_to(p.data_wait_seconds);
    p.epoch_steps = json.value("epoch_steps", int64_t{0});
    p.epoch_seconds = json.value("epoch_seconds", 0.0);
    p.epoch_wait_seconds = json.value("epoch_wait_seconds", 0.0);
    if (json.contains("last")) p.last = record_from(json.at("last"));
    if (json.contains("best")) p.best = record_from(json.at("best"));
    if (json.contains("pending")) p.pending = record_from(json.at("pending"));
    if (p.epochs < 0 || p.steps < 0 || p.epoch_steps < 0) throw std::runtime_error("negative epochs or steps");
    return p;
  });
}

}  // namespace respeft::train
