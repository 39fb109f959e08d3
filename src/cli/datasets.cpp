#include "src/cli/datasets.h"

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

data::Split parse_split(const std::string& name) {
  try {
    return data::split_from_name(name);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("--split: {}", error.what()));
  }
}

/// The model's logits must mean what the data's labels mean.
void check_classes(const LoadedModel& model, const data::Dataset& dataset) {
  const auto& known = model.class_names;
  const auto& found = dataset.class_names();
  if (model.model && model.model->num_classes() != dataset.num_classes()) {
    throw std::invalid_argument(fmt::format("the model has {} classes, but the data ({}) have {}", model.model->num_classes(),
                                            dataset.description(), dataset.num_classes()));
  }
  if (known.empty() || found.empty() || known == found) return;
  size_t differs = 0;
  while (differs < known.size() && differs < found.size() && known[differs] == found[differs]) ++differs;
  const auto name = [&](const std::vector<std::string>& names) { return differs < names.size() ? names[differs] : "(none)"; };
  throw std::invalid_argument(
      fmt::format("the model's classes are not the data's: class {} is '{}' in the model and '{}' in the data", differs,
                  name(known), name(found)));
}

/// Whether two `KIND:PATH` name the same data.
bool is_same(const std::string& first, const std::string& second) {
  const size_t colon = first.find(':');
  std::error_code missing;
  return colon != std::string::npos && colon == second.find(':') && first.compare(0, colon, second, 0, colon) == 0 &&
         std::filesystem::equivalent(first.substr(colon + 1), second.substr(colon + 1), missing);
}

}  // namespace

void DataFlags::declare(CLI::App& app, const std::string& limit_flag, const std::string& limit_help) {
  std::vector<std::string> kinds;
  for (const auto& kind : data::dataset_kinds()) kinds.push_back(kind.name + ":PATH");
  const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
    return app.add_option(flag, value, help)->type_name(type)->group("Data");
  };
  add("--data", data, "KIND:PATH", text::join(kinds, ", ") + "; default: the run's");
  add("--split", split, "NAME", "train, val, trainval (both) or test")->default_str("test");
  add("--shares", shares, "X,…", "how a folder of classes is split: see train's --split; default: as in the run");
  add(limit_flag, limit, "N", limit_help);
  add("--workers", workers, "N", "threads that decode images ahead of the computation")->default_str("2");
}

std::string DataFlags::spec(const LoadedModel& model, const std::string& missing) const {
  const std::string& chosen = data.empty() ? model.data : data;
  if (chosen.empty()) throw std::invalid_argument(missing);
  return chosen;
}

data::DatasetOptions DataFlags::options(const LoadedModel& model) const {
  if (!shares.empty()) return {shares};
  return {data.empty() || is_same(data, model.data) ? model.data_split : ""};
}

data::DatasetPtr DataFlags::open(const LoadedModel& model) const {
  const std::string chosen = spec(model);
  if (limit < 0) throw std::invalid_argument("the number of images must be at least 1");
  if (workers < 0) throw std::invalid_argument("--workers: must be at least 0");
  auto dataset = data::open_dataset(chosen, parse_split(split), options(model));
  check_classes(model, *dataset);
  return limit > 0 ? data::first(dataset, limit) : dataset;
}

}  // namespace respeft::cli
