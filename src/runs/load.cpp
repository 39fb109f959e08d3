#include <respeft/runs/load.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/adapters/adapter_file.h>
#include <respeft/adapters/peft.h>
#include <respeft/core/text.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/transforms.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/weights.h>
#include <respeft/models/weights_file.h>
#include <respeft/runs/run_directory.h>

#include "src/formats/json.h"

namespace respeft::runs {
namespace {

/// Everything that says which model is meant, from the options, a run and the files' metadata; options win.
struct Sources {
  std::string model, weights, state_dict, pool, data, data_split;
  std::optional<int64_t> image_size;
  std::optional<adapters::AdapterFile> adapter;
  std::string adapter_path;
  std::shared_ptr<models::WeightsFile> file;  ///< of `weights`; null without them
  std::string frozen_sha256;                  ///< of the base that a checkpoint was made on
  std::vector<std::string> files, notes;
  std::optional<data::Preprocessing> preprocessing;
  std::vector<std::string> class_names;
};

/// The result of `read`; its fault is said to be in `path`.
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

/// Puts `value` into an empty `target`.
template <class Value>
void fill(Value& target, const Value& value) {
  if (target == Value{}) target = value;
}

/// Takes from the adapter whatever the options leave open.
void use_adapter(Sources& sources, const LoadOptions& options) {
  const auto& info = sources.adapter->info;
  if (!options.model.empty() && !info.model.empty() && without_tag(options.model) != without_tag(info.model)) {
    throw std::invalid_argument(
        fmt::format("--model {}: the adapter {} was trained on {}", options.model, sources.adapter_path, info.model));
  }
  fill(sources.model, info.model);
  fill(sources.pool, info.pool);
  if (!info.method.empty() && !info.model.empty()) sources.preprocessing = info.preprocessing;
  sources.class_names = info.class_names;
}

void read_adapter(Sources& sources, const LoadOptions& options) {
  sources.adapter = adapters::load_adapter(sources.adapter_path, options.method, options.method_options);
  if (adapters::is_peft_adapter(sources.adapter_path)) {
    const auto peft = adapters::peft_files(sources.adapter_path);
    sources.files.insert(sources.files.end(), {peft.tensors, peft.config});
  } else {
    sources.files.push_back(sources.adapter_path);
  }
}

/// Merged weights written by this library describe themselves.
void read_weights(Sources& sources) {
  sources.file = std::make_shared<models::WeightsFile>(sources.weights, sources.state_dict);
  const auto& file = *sources.file;
  sources.files.insert(sources.files.end(), file.files().begin(), file.files().end());
  fill(sources.model, file.model());
  fill(sources.pool, file.pool());
  if (!sources.preprocessing) sources.preprocessing = file.preprocessing();
  if (!sources.adapter) sources.class_names = file.class_names();
}

/// The class names of the data that a run trains on; none where the data cannot be read now.
std::vector<std::string> class_names_of_data(const TrainConfig& config) {
  try {
    const std::string split = config.train_split.empty() ? "train" : config.train_split;
    return data::open_dataset(config.data, data::split_from_name(split), config.dataset_options())->class_names();
  } catch (const std::exception&) {
    return {};
  }
}

void read_run(Sources& sources, const LoadOptions& options) {
  const RunDirectory directory(options.run);
  TrainConfig config;
  if (options.adapter.empty()) {
    TrainedRun run = directory.read();
    config = std::move(run.config);
    sources.adapter = std::move(run.adapter);
    sources.adapter_path = run.finished ? directory.adapter_path() : directory.checkpoint_path();
    sources.files = std::move(run.files);
    sources.frozen_sha256 = run.frozen_sha256;
    if (!run.finished) {
      if (sources.adapter->info.class_names.empty()) sources.adapter->info.class_names = class_names_of_data(config);
      sources.notes.push_back(fmt::format("{} has not finished: its checkpoint after epoch {} of {} is used", options.run,
                                          run.epochs, config.last_epoch()));
    }
  } else {
    config = directory.read_config();
    sources.files = {directory.config_path()};
  }
  fill(sources.model, config.model);
  if (sources.weights.empty()) fill(sources.state_dict, config.state_dict);
  fill(sources.weights, config.weights);
  fill(sources.pool, config.pool);
  if (!sources.image_size && config.image_size > 0) sources.image_size = config.image_size;
  sources.data = config.data;
  sources.data_split = config.dataset_options().split;
}

Sources collect(const LoadOptions& options) {
  Sources sources{.model = options.model,
                  .weights = options.weights,
                  .state_dict = options.state_dict,
                  .pool = options.pool,
                  .image_size = options.image_size,
                  .adapter_path = options.adapter};
  if (!options.run.empty()) read_run(sources, options);
  if (!sources.adapter && !sources.adapter_path.empty()) read_adapter(sources, options);
  if (sources.adapter) use_adapter(sources, options);
  if (!sources.weights.empty()) read_weights(sources);
  if (sources.model.empty()) {
    throw std::invalid_argument(
        "which model? Give --run DIR, or --model NAME with --weights FILE and perhaps --adapter FILE; "
        "an adapter with metadata needs no --model");
  }
  const bool adapter_has_all = sources.adapter && sources.adapter->info.method == "full";
  if (sources.weights.empty() && !adapter_has_all)
    throw std::invalid_argument("the base's weights are needed: give --weights FILE");
  if (!sources.image_size && sources.preprocessing) sources.image_size = sources.preprocessing->size;
  if (!sources.image_size && sources.file) sources.image_size = sources.file->image_size();
  return sources;
}

void check_weights_file(const Sources& sources, const LoadOptions& options) {
  if (!sources.adapter || sources.weights.empty() || options.any_base) return;
  const std::string& expected = sources.adapter->info.weights_sha256;
  if (expected.empty()) return;
  const std::string& found = sources.file->sha256();
  if (found == expected) return;
  throw std::invalid_argument(
      fmt::format("{} was trained on other weights than {} (SHA-256 {}… instead of {}…); --any-base uses them all the same",
                  sources.adapter_path, sources.weights, found.substr(0, 12), expected.substr(0, 12)));
}

/// The same for a checkpoint, which keeps the hash of the base in memory.
void check_frozen(const Sources& sources, const models::Model& model, const LoadOptions& options) {
  if (sources.frozen_sha256.empty() || options.any_base || models::base_sha256(model) == sources.frozen_sha256) return;
  throw std::invalid_argument(fmt::format("{} was made on other weights than {}; --any-base uses them all the same",
                                          sources.adapter_path, sources.weights));
}

int64_t classes(const Sources& sources, const LoadOptions& options) {
  int64_t found = sources.adapter ? models::head_classes(sources.adapter->tensors) : 0;
  const std::string where = found > 0 ? sources.adapter_path : sources.weights;
  if (found == 0 && sources.file) found = sources.file->head_classes();
  const auto& asked = options.num_classes;
  if (found == 0 && !asked) throw std::invalid_argument("no file holds a head; give --num-classes for a fresh one");
  if (found != 0 && asked && *asked != found)
    throw std::invalid_argument(fmt::format("--num-classes {}: the head in {} has {}", *asked, where, found));
  if (found == 0 && *asked < 1) throw std::invalid_argument("--num-classes: must be at least 1");
  return found != 0 ? found : *asked;
}

/// Where no file holds all of it: normalized as the weights were when they were trained, as far as that is known.
data::Preprocessing usual_preprocessing(const Sources& sources) {
  data::Preprocessing usual;
  if (!sources.file) return usual;
  if (const auto known = sources.file->normalization(sources.model)) usual.mean = known->mean, usual.std = known->std;
  return usual;
}

/// The line of LibTorch's TorchScript message that says what happened; the others say where in its own code.
std::string last_line(const std::string& message) {
  const auto lines = text::split(message, '\n');
  return lines.empty() ? message : lines.back();
}

LoadedRun load_torchscript(const LoadOptions& options) {
  for (const auto* other : {&options.model, &options.weights, &options.state_dict, &options.adapter, &options.run}) {
    if (!other->empty()) throw std::invalid_argument("--torchscript goes without --run, --model, --weights and --adapter");
  }
  if (!std::filesystem::exists(options.torchscript))
    throw std::runtime_error(options.torchscript + ": No such file or directory");
  LoadedRun loaded;
  loaded.name = options.torchscript;
  loaded.files = {options.torchscript};
  torch::jit::ExtraFilesMap extra{{"preprocessing.json", ""}, {"class_names.json", ""}};
  try {
    loaded.torchscript = std::make_shared<torch::jit::Module>(torch::jit::load(options.torchscript, at::kCPU, extra));
  } catch (const c10::Error& error) {
    const std::string reason = error.what_without_backtrace();  // its first sentence says it; advice follows
    throw std::runtime_error(
        fmt::format("{}: not a TorchScript file: {}", options.torchscript, reason.substr(0, reason.find(". "))));
  }
  loaded.torchscript->eval();
  if (!extra["preprocessing.json"].empty())
    loaded.preprocessing = preprocessing_in(options.torchscript, extra["preprocessing.json"]);
  loaded.class_names = names_from_json(options.torchscript, extra["class_names.json"]);
  if (options.image_size) loaded.preprocessing = loaded.preprocessing.at_size(*options.image_size);
  loaded.preprocessing = options.preprocessing.over(loaded.preprocessing);
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
  if (sources.file) sources.file->require_fit(*model);
  if (sources.adapter) attach_to(*model, sources);
}

void require_choice(const char* setting, const std::optional<std::string>& value, const std::vector<std::string>& choices) {
  if (value && std::find(choices.begin(), choices.end(), *value) == choices.end())
    throw std::invalid_argument(fmt::format("{}: {}", setting, text::unknown("value", *value, choices)));
}

at::Tensor finite(at::Tensor logits) {
  if (!at::isfinite(logits).all().item<bool>()) throw std::runtime_error("the model's logits are not finite");
  return logits;
}

std::vector<std::vector<Prediction>> likeliest(const LoadedRun& run, const std::vector<at::Tensor>& images, int64_t top) {
  if (top < 1) throw std::invalid_argument(fmt::format("the {} likeliest classes: must be at least 1", top));
  const at::Tensor logits = finite(run.forward(at::stack(images)).to(at::kFloat));
  const auto [values, classes] = logits.softmax(1).topk(std::min(top, logits.size(1)), 1);
  const at::Tensor probabilities = values.to(at::kDouble).cpu().contiguous(), indices = classes.cpu().contiguous();
  std::vector<std::vector<Prediction>> all;
  for (int64_t i = 0; i < indices.size(0); ++i) {
    auto& predictions = all.emplace_back();
    for (int64_t k = 0; k < indices.size(1); ++k) {
      const int64_t index = indices.const_data_ptr<int64_t>()[i * indices.size(1) + k];
      predictions.push_back({index, run.class_name(index), probabilities.const_data_ptr<double>()[i * indices.size(1) + k]});
    }
  }
  return all;
}

}  // namespace

data::Preprocessing PreprocessingChanges::over(data::Preprocessing files) const {
  if (mean) files.mean = *mean;
  if (std) files.std = *std;
  if (std::any_of(files.std.begin(), files.std.end(), [](double value) { return !(value > 0) || !std::isfinite(value); }))
    throw std::invalid_argument("std: must be numbers above zero");
  require_choice("interpolation", interpolation, {"bicubic", "bilinear"});
  require_choice("resize_mode", resize_mode, {"squash", "shortest"});
  if (interpolation) files.interpolation = *interpolation;
  if (resize_mode) files.resize_mode = *resize_mode;
  if (resize_size) files.resize_size = *resize_size;
  if (files.resize_size < 0)
    throw std::invalid_argument(fmt::format("resize_size: must be at least 0, not {}", files.resize_size));
  return files;
}

LoadedRun load_run(const std::string& directory) {
  return load_run(LoadOptions{.run = directory});
}

LoadedRun load_run(const LoadOptions& options) {
  if (!options.torchscript.empty()) return load_torchscript(options);
  const Sources sources = collect(options);
  check_weights_file(sources, options);
  models::ModelOptions shape;
  shape.num_classes = classes(sources, options);
  shape.image_size = sources.image_size;
  shape.pool = sources.pool;
  check_files(sources, shape);

  LoadedRun loaded;
  loaded.model = models::create(sources.model, shape);
  if (sources.file) sources.file->load(*loaded.model);
  check_frozen(sources, *loaded.model, options);
  if (sources.adapter) loaded.attachment = attach_to(*loaded.model, sources);
  loaded.model->eval();
  loaded.name = sources.model;
  const auto found = sources.preprocessing.value_or(usual_preprocessing(sources)).at_size(loaded.model->input().side());
  loaded.preprocessing = options.preprocessing.over(found);
  data::check_sizes(loaded.preprocessing);
  loaded.class_names = sources.class_names;
  if (static_cast<int64_t>(loaded.class_names.size()) != shape.num_classes) loaded.class_names.clear();
  loaded.data = sources.data;
  loaded.data_split = sources.data_split;
  loaded.pool = sources.pool;
  loaded.weights = sources.weights;
  loaded.state_dict = sources.state_dict;
  loaded.files = sources.files;
  loaded.notes = sources.notes;
  return loaded;
}

at::Tensor LoadedRun::forward(const at::Tensor& images) const {
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

at::Tensor LoadedRun::logits(const at::Tensor& images, int64_t batch_size, const std::function<void(int64_t)>& progress) const {
  std::vector<at::Tensor> batches;
  for (int64_t begin = 0; begin < images.size(0); begin += batch_size) {
    const int64_t size = std::min(batch_size, images.size(0) - begin);
    batches.push_back(forward(images.narrow(0, begin, size)).to(at::kFloat));
    if (progress) progress(begin + size);
  }
  return at::cat(batches);
}

std::vector<Prediction> LoadedRun::classify(const std::string& path, int64_t top) const {
  return classify(std::vector<std::string>{path}, top).front();
}

std::vector<Prediction> LoadedRun::classify(const data::Image& image, int64_t top) const {
  return likeliest(*this, {data::Transform(preprocessing)(image)}, top).front();
}

std::vector<std::vector<Prediction>> LoadedRun::classify(const std::vector<std::string>& paths, int64_t top) const {
  const data::Transform transform(preprocessing);
  std::vector<at::Tensor> images;
  for (const auto& path : paths) images.push_back(transform(data::read_image(path)));
  return likeliest(*this, images, top);
}

std::string LoadedRun::class_name(int64_t index) const {
  const auto place = static_cast<size_t>(index);
  return place < class_names.size() ? class_names[place] : std::to_string(index);
}

data::DatasetOptions LoadedRun::dataset_options(const std::string& spec) const {
  const size_t colon = spec.find(':');
  std::error_code missing;
  const bool same = colon != std::string::npos && colon == data.find(':') && spec.compare(0, colon, data, 0, colon) == 0 &&
                    std::filesystem::equivalent(spec.substr(colon + 1), data.substr(colon + 1), missing);
  return {same ? data_split : ""};
}

formats::Metadata LoadedRun::metadata() const {
  formats::Metadata entries = {{"format", "pt"}, {"model", name}, {"preprocessing", data::to_json(preprocessing)}};
  if (!pool.empty()) entries["pool"] = pool;
  if (!class_names.empty()) entries["class_names"] = nlohmann::json(class_names).dump();
  return entries;
}

ExportInfo LoadedRun::export_info(bool adapters) const {
  ExportInfo info{preprocessing, class_names};
  if (!adapters) return info;
  if (!attachment) throw std::invalid_argument(name + " has no adapter: give --adapter or --run");
  info.method = attachment->method();
  info.options = attachment->options();
  if (!weights.empty()) info.weights_sha256 = formats::weights_sha256(weights, state_dict);
  return info;
}

void check_classes(const LoadedRun& run, const data::Dataset& dataset) {
  const auto& known = run.class_names;
  const auto& found = dataset.class_names();
  if (run.model && run.model->num_classes() != dataset.num_classes()) {
    throw std::invalid_argument(fmt::format("the model has {} classes, but the data ({}) have {}", run.model->num_classes(),
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

}  // namespace respeft::runs
