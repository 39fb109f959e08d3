#include <respeft/train/record.h>

#include <nlohmann/json.hpp>

#include <stdexcept>

namespace respeft::train {
namespace {

using Json = nlohmann::ordered_json;

Json record_json(const EpochRecord& r) {
  Json json = {{"epoch", r.epoch},           {"lr", r.lr},
               {"train_loss", r.train_loss}, {"train_accuracy", r.train_accuracy},
               {"seconds", r.seconds},       {"data_wait_seconds", r.data_wait_seconds}};
  if (r.evaluation) {
    const auto& e = *r.evaluation;
    json["split"] = e.split;
    json[e.split + "_images"] = e.images;
    json[e.split + "_loss"] = e.loss;
    json[e.split + "_accuracy"] = e.accuracy;
    json["eval_seconds"] = e.seconds;
  }
  return json;
}

EpochRecord record_from(const Json& json) {
  EpochRecord r;
  json.at("epoch").get_to(r.epoch);
  json.at("lr").get_to(r.lr);
  json.at("train_loss").get_to(r.train_loss);
  json.at("train_accuracy").get_to(r.train_accuracy);
  json.at("seconds").get_to(r.seconds);
  json.at("data_wait_seconds").get_to(r.data_wait_seconds);
  if (json.contains("split")) {
    Evaluation e;
    json.at("split").get_to(e.split);
    json.at(e.split + "_images").get_to(e.images);
    json.at(e.split + "_loss").get_to(e.loss);
    json.at(e.split + "_accuracy").get_to(e.accuracy);
    json.at("eval_seconds").get_to(e.seconds);
    r.evaluation = e;
  }
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

std::string to_json(const EpochRecord& record) {
  return record_json(record).dump();
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
  if (p.last) json["last"] = record_json(*p.last);
  if (p.best) json["best"] = record_json(*p.best);
  return json.dump();
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
    if (json.contains("last")) p.last = record_from(json.at("last"));
    if (json.contains("best")) p.best = record_from(json.at("best"));
    if (p.epochs < 0 || p.steps < 0) throw std::runtime_error("negative epochs or steps");
    return p;
  });
}

}  // namespace respeft::train
