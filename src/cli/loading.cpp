#include "src/cli/loading.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/adapters/adapter_file.h>
#include <respeft/adapters/peft.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/weights.h>
#include <respeft/models/weights_check.h>

#include <respeft/core/text.h>
#include "src/cli/output.h"
#include "src/cli/run_directory.h"
#include "src/formats/json.h"

namespace respeft::cli {
namespace {

/// Everything that says which model is meant, from the flags, a run and the files' metadata; flags win.
struct Sources {
  std::string model, weights, pool, data, data_split;
  std::optional<int64_t> image_size;
  std::optional<adapters::AdapterFile> adapter;
  std::string adapter_path;
  std::vector<std::string> files;
  std::optional<data::Preprocessing> preprocessing;
  std::vector<std::string> class_names;
};

/// What `read` returns; its fault is said to be in `path`.
template <class Read>
auto from_file(const std::string& path, const Read& read) {
  try {
    return read();
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
}

std::vector<std::string> names_from_json(const std::string& path, const std::string& json) {
  const auto names = from_file(path, [&] { return formats::parse_json(json); });
  if (!names.is_array()) return {};
  std::vector<std::string> texts;
  for (const auto& name : names) texts.push_back(name.is_string() ? name.get<std::string>() : name.dump());
  return texts;
}

data::Preprocessing preprocessing_in(const std::string& path, const std::string& json) {
  return from_file(path, [&] { return data::preprocessing_from_json(json); });
}

std::string without_tag(const std::string& name) {
  return name.substr(0, name.find('.'));
}

void check_readable(const std::string& path) {
  if (!std::filesystem::exists(path)) throw std::runtime_error(path + ": No such file or directory");
}

/// Puts `value` into an empty `target`.
template <class Value>
void fill(Value& target, const Value& value) {
  if (target == Value{}) target = value;
}

void read_adapter(Sources& sources, const ModelFlags& flags) {
  sources.adapter = adapters::load_adapter(sources.adapter_path, flags.method.name,
                                           flags.method.name.empty() ? Options{} : flags.method.options());
  if (adapters::is_peft_adapter(sources.adapter_path)) {
    const auto peft = adapters::peft_files(sources.adapter_path);
    sources.files.insert(sources.files.end(), {peft.tensors, peft.config});
  } else {
    sources.files.push_back(sources.adapter_path);
  }
  const auto& info = sources.adapter->info;
  if (!flags.model.empty() && !info.model.empty() && without_tag(flags.model) != without_tag(info.model)) {
    throw std::invalid_argument(
        fmt::format("--model {}: the adapter {} was trained on {}", flags.model, sources.adapter_path, info.model));
  }
  fill(sources.model, info.model);
  fill(sources.pool, info.pool);
  if (info.method.size() && !info.model.empty()) sources.preprocessing = info.preprocessing;
  sources.class_names = info.class_names;
}

/// Merged weights written by this program say what they are.
void read_weights_metadata(Sources& sources) {
  const auto file = formats::open_tensor_file(sources.weights);
  sources.files.insert(sources.files.end(), file->files().begin(), file->files().end());
  const formats::Metadata& metadata = file->metadata();
  const auto find = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  fill(sources.model, find("model"));
  fill(sources.pool, find("pool"));
  if (!sources.preprocessing && !find("preprocessing").empty()) {
    sources.preprocessing = preprocessing_in(sources.weights, find("preprocessing"));
  }
  if (!sources.adapter && !find("class_names").empty())
    sources.class_names = names_from_json(sources.weights, find("class_names"));
}

Sources collect(const ModelFlags& flags) {
  Sources sources{.model = flags.model,
                  .weights = flags.weights,
                  .pool = flags.pool,
                  .image_size = flags.image_size,
                  .adapter_path = flags.adapter};
  if (!flags.run.empty()) {
    const RunDirectory run = read_run(flags.run);
    fill(sources.model, run.model);
    fill(sources.weights, run.weights);
    fill(sources.pool, run.pool);
    fill(sources.adapter_path, run.adapter);
    if (!sources.image_size) sources.image_size = run.image_size;
    sources.data = run.data;
    sources.data_split = run.split;
    sources.files.push_back(run.config);
  }
  if (!sources.adapter_path.empty()) read_adapter(sources, flags);
  if (!sources.weights.empty()) read_weights_metadata(sources);
  if (sources.model.empty()) {
    throw std::invalid_argument(
        "which model? Give --run DIR, or --model NAME with --weights FILE and perhaps --adapter FILE; "
        "an adapter with metadata needs no --model");
  }
  const bool adapter_has_all = sources.adapter && sources.adapter->info.method == "full";
  if (sources.weights.empty() && !adapter_has_all)
    throw std::invalid_argument("the base's weights are needed: give --weights FILE");
  if (!sources.image_size && sources.preprocessing) sources.image_size = sources.preprocessing->size;
  return sources;
}

void check_base(const Sources& sources, const ModelFlags& flags) {
  if (!sources.adapter || sources.weights.empty() || flags.any_base) return;
  const std::string& expected = sources.adapter->info.weights_sha256;
  if (expected.empty()) return;
  const std::string found = formats::weights_sha256(sources.weights);
  if (found == expected) return;
  throw std::invalid_argument(
      fmt::format("{} was trained on other weights than {} (SHA-256 {}… instead of {}…); --any-base uses them all the same",
                  sources.adapter_path, sources.weights, found.substr(0, 12), expected.substr(0, 12)));
}

int64_t classes(const Sources& sources, const ModelFlags& flags) {
  int64_t found = sources.adapter ? models::head_classes(sources.adapter->tensors) : 0;
  const std::string where = found > 0 ? sources.adapter_path : sources.weights;
  if (found == 0 && !sources.weights.empty()) found = models::head_classes_of_file(sources.weights);
  if (found == 0 && !flags.num_classes) {
    throw std::invalid_argument("no file holds a head; give --num-classes for a fresh one");
  }
  if (found != 0 && flags.num_classes && *flags.num_classes != found) {
    throw std::invalid_argument(fmt::format("--num-classes {}: the head in {} has {}", *flags.num_classes, where, found));
  }
  if (found == 0 && *flags.num_classes < 1) throw std::invalid_argument("--num-classes: must be at least 1");
  return found != 0 ? found : *flags.num_classes;
}

/// Where no file holds all of it: normalized as the weights were when they were trained, as far as that is known.
data::Preprocessing usual_preprocessing(const Sources& sources) {
  data::Preprocessing usual;
  if (sources.weights.empty()) return usual;
  if (const auto known = models::known_normalization(sources.weights, sources.model))
    usual.mean = known->mean, usual.std = known->std;
  return usual;
}

/// The line of LibTorch's TorchScript message that says what happened; the others say where in its own code.
std::string last_line(const std::string& message) {
  const auto lines = text::split(message, '\n');
  return lines.empty() ? message : lines.back();
}

LoadedModel load_torchscript(const ModelFlags& flags, const PreprocessingFlags& preprocessing) {
  for (const auto* flag : {&flags.model, &flags.weights, &flags.adapter, &flags.run}) {
    if (!flag->empty()) throw std::invalid_argument("--torchscript goes without --run, --model, --weights and --adapter");
  }
  check_readable(flags.torchscript);
  LoadedModel loaded;
  loaded.name = flags.torchscript;
  loaded.files = {flags.torchscript};
  torch::jit::ExtraFilesMap extra{{"preprocessing.json", ""}, {"class_names.json", ""}};
  try {
    loaded.torchscript = std::make_shared<torch::jit::Module>(torch::jit::load(flags.torchscript, at::kCPU, extra));
  } catch (const c10::Error& error) {
    const std::string reason = error.what_without_backtrace();  // its first sentence says it; advice follows
    throw std::runtime_error(
        fmt::format("{}: not a TorchScript file: {}", flags.torchscript, reason.substr(0, reason.find(". "))));
  }
  loaded.torchscript->eval();
  if (!extra["preprocessing.json"].empty()) {
    loaded.preprocessing = preprocessing_in(flags.torchscript, extra["preprocessing.json"]);
  }
  loaded.class_names = names_from_json(flags.torchscript, extra["class_names.json"]);
  if (flags.image_size) loaded.preprocessing = loaded.preprocessing.at_size(*flags.image_size);
  loaded.preprocessing = preprocessing.apply(loaded.preprocessing);
  data::check_sizes(loaded.preprocessing);
  return loaded;
}

std::shared_ptr<Attachment> attach_to(models::Model& model, const Sources& sources) {
  return from_file(sources.adapter_path, [&] { return adapters::attach_adapter(model, *sources.adapter); });
}

/// Throws unless the files fit the model: by shapes alone, before it takes memory for what a file says about its head.
void check_files(const Sources& sources, models::ModelOptions options) {
  options.device = at::kMeta;
  const auto model = models::create(sources.model, options);
  if (!sources.weights.empty())
    models::load_weights(*model, formats::open_tensor_file(sources.weights)->shapes(), sources.weights);
  if (sources.adapter) attach_to(*model, sources);
}

}  // namespace

LoadedModel load_model(const ModelFlags& flags, const PreprocessingFlags& preprocessing) {
  if (!flags.torchscript.empty()) return load_torchscript(flags, preprocessing);
  const Sources sources = collect(flags);
  check_base(sources, flags);
  models::ModelOptions options;
  options.num_classes = classes(sources, flags);
  options.image_size = sources.image_size;
  options.pool = sources.pool;

  check_files(sources, options);

  LoadedModel loaded;
  loaded.model = models::create(sources.model, options);
  if (!sources.weights.empty()) models::load_weights(*loaded.model, sources.weights);
  if (sources.adapter) loaded.attachment = attach_to(*loaded.model, sources);
  loaded.model->eval();
  loaded.name = sources.model;
  const auto found = sources.preprocessing.value_or(usual_preprocessing(sources)).at_size(loaded.model->input().side());
  loaded.preprocessing = preprocessing.apply(found);
  data::check_sizes(loaded.preprocessing);
  loaded.class_names = sources.class_names;
  if (static_cast<int64_t>(loaded.class_names.size()) != options.num_classes) loaded.class_names.clear();
  loaded.data = sources.data;
  loaded.data_split = sources.data_split;
  loaded.pool = sources.pool;
  loaded.weights = sources.weights;
  loaded.files = sources.files;
  return loaded;
}

formats::Metadata LoadedModel::metadata() const {
  formats::Metadata entries = {{"format", "pt"}, {"model", name}, {"preprocessing", data::to_json(preprocessing)}};
  if (!pool.empty()) entries["pool"] = pool;
  if (!class_names.empty()) entries["class_names"] = nlohmann::json(class_names).dump();
  return entries;
}

at::Tensor LoadedModel::forward(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  if (model) return model->forward(images);
  try {
    const c10::IValue output = torchscript->forward({images});
    if (!output.isTensor() || output.toTensor().dim() != 2) throw std::runtime_error(name + ": does not return logits");
    return output.toTensor();
  } catch (const c10::Error& error) {
    throw std::runtime_error(fmt::format("{}: {}", name, last_line(error.what_without_backtrace())));
  }
}

at::Tensor LoadedModel::logits(const at::Tensor& images, int64_t batch_size) const {
  Progress progress("computing logits", images.size(0), "images");
  std::vector<at::Tensor> batches;
  for (int64_t begin = 0; begin < images.size(0); begin += batch_size) {
    const int64_t size = std::min(batch_size, images.size(0) - begin);
    batches.push_back(forward(images.narrow(0, begin, size)).to(at::kFloat));
    progress.advance(size);
  }
  return at::cat(batches);
}

MergeReport merge_adapters(models::Model& model) {
  return has_adapters(model) ? merge(model) : MergeReport{};
}

std::string class_name(const LoadedModel& model, int64_t index) {
  const auto place = static_cast<size_t>(index);
  return place < model.class_names.size() ? model.class_names[place] : std::to_string(index);
}

}  // namespace respeft::cli
