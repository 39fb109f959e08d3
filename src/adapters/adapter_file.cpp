#include <respeft/adapters/adapter_file.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/adapters/peft.h>
#include <respeft/nn/branch.h>
#include <respeft/nn/names.h>
#include <respeft/nn/tokens.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "src/adapters/adapter_metadata.h"
#include "src/formats/json.h"

namespace respeft::adapters {
namespace {

using nlohmann::json;

json to_json(const Options& options) {
  json object = json::object();
  for (const auto& [name, value] : options) {
    std::visit([&, &key = name](const auto& held) { object[key] = held; }, value);
  }
  return object;
}

/// The value of an option; throws `std::runtime_error` on what no option is.
OptionValue to_option(const std::string& name, const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()})
    return value.get<double>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  throw std::runtime_error(fmt::format("metadata 'options': '{}' is {}", name, formats::to_text(value)));
}

json parse(const char* key, const std::string& text) {
  try {
    return formats::parse_json(text);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("metadata '{}': {}", key, error.what()));
  }
}

Options options_from_json(const std::string& text) {
  const json object = parse("options", text);
  if (!object.is_object()) throw std::runtime_error("metadata 'options' is not a JSON object");
  Options options;
  for (const auto& [name, value] : object.items()) options[name] = to_option(name, value);
  return options;
}

std::vector<std::string> names_from_json(const std::string& text) {
  const json array = parse("class_names", text);
  const bool names =
      array.is_array() && std::all_of(array.begin(), array.end(), [](const json& name) { return name.is_string(); });
  if (!names) throw std::runtime_error("metadata 'class_names' is not a JSON list of names");
  return array.get<std::vector<std::string>>();
}

const std::string& required(const formats::Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) throw std::runtime_error(fmt::format("metadata '{}' is missing", key));
  return found->second;
}

AdapterInfo read_info(const formats::Metadata& metadata) {
  AdapterInfo info;
  info.method = required(metadata, "method");
  if (metadata.count("options")) info.options = options_from_json(metadata.at("options"));
  required(metadata, "model");
  required(metadata, "preprocessing");
  read_description(metadata, info);
  return info;
}

bool described(const formats::Metadata& metadata) {
  const auto format = metadata.find("format");
  return format != metadata.end() && format->second == "respeft";
}

bool any_with_prefix(const TensorMap& tensors, const std::string& prefix) {
  const auto found = tensors.lower_bound(prefix);
  return found != tensors.end() && found->first.rfind(prefix, 0) == 0;
}

bool has_site(const TensorMap& tensors, const std::string& site) {
  return any_with_prefix(tensors, nn::adapter_key(site, ""));
}

void check_fits(const std::string& key, const at::Tensor& tensor, const at::Tensor& parameter) {
  if (tensor.sizes() != parameter.sizes()) {
    throw std::runtime_error(fmt::format("'{}' has shape [{}]; the model takes [{}]", key, fmt::join(tensor.sizes(), ", "),
                                         fmt::join(parameter.sizes(), ", ")));
  }
  if (!tensor.is_floating_point()) {
    throw std::runtime_error(fmt::format("'{}' holds {}, not floating-point numbers", key, c10::toString(tensor.scalar_type())));
  }
}

/// A layer's shapes without its data.
class LayerShape : public nn::WeightSite {
 public:
  explicit LayerShape(const nn::WeightSite& layer) : layer_(layer) {
    const auto shape_of = [](const at::Tensor& t) { return at::empty(t.sizes(), t.options().device(at::kMeta)); };
    weight = shape_of(layer.weight);
    if (layer.bias.defined()) bias = shape_of(layer.bias);
    set_place(layer.place());
  }

  nn::SiteKind kind() const override { return layer_.kind(); }
  int64_t in_features() const override { return layer_.in_features(); }
  int64_t out_features() const override { return layer_.out_features(); }
  const std::vector<std::string>& part_names() const override { return layer_.part_names(); }
  at::Tensor compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const override {
    return layer_.compute(x, w, b);
  }

 private:
  const nn::WeightSite& layer_;
};

/// A site without a weight, apart from its model.
std::shared_ptr<nn::Site> weightless_shape(const nn::SiteInfo& info) {
  if (info.kind == nn::SiteKind::Branch) return std::make_shared<nn::BranchImpl>(info.in_features);
  return std::make_shared<nn::TokensImpl>(info.out_features, info.in_features);
}

/// The sites of `model` that can have an adapter, apart from it and without data.
struct SiteShapes {
  std::vector<std::shared_ptr<nn::Site>> owned;
  std::vector<nn::NamedSite> sites;

  explicit SiteShapes(torch::nn::Module& model) {
    for (const auto& named : nn::find_sites(model)) {
      if (nn::is_head_name(named.info.name + ".")) continue;
      owned.push_back(named.layer() ? std::make_shared<LayerShape>(*named.layer()) : weightless_shape(named.info));
      sites.push_back({named.info, owned.back().get()});
      sites.back().info.tensor_options = named.info.tensor_options.device(at::kMeta);
    }
  }
};

/// Compares the adapters that the file's options ask for with its tensors, before any memory is taken for them: a rank of any
/// size can be written into a file.
void check_shapes(torch::nn::Module& model, const AdapterFile& adapter) {
  const SiteShapes shapes(model);
  const auto method = methods::create(adapter.info.method, adapter.info.options);
  auto sites = shapes.sites;
  std::erase_if(sites, [&](const nn::NamedSite& named) { return !has_site(adapter.tensors, named.info.name); });
  try {
    method->attach(sites);
  } catch (const c10::Error&) {
    const auto failed = std::find_if(sites.begin(), sites.end(), [](const auto& named) { return !named.site->adapter(); });
    throw std::runtime_error(
        fmt::format("'{}': no tensors are as large as the options ask for", failed == sites.end() ? "" : failed->info.name));
  }
  for (const auto& [info, site] : sites) {
    if (!site->adapter()) continue;
    for (const auto& item : site->adapter()->named_parameters()) {
      const std::string key = nn::adapter_key(info.name, item.key());
      const auto found = adapter.tensors.find(key);
      if (found == adapter.tensors.end()) throw std::runtime_error(fmt::format("'{}' is missing", key));
      check_fits(key, found->second, item.value());
    }
  }
}

/// Checks every tensor before the first is written.
void copy_into(const Attachment& attachment, const TensorMap& tensors) {
  auto all = attachment.trainable();
  all.insert(all.end(), attachment.state().begin(), attachment.state().end());
  std::set<std::string> places;
  for (const auto& [key, parameter] : all) {
    places.insert(key);
    const auto found = tensors.find(key);
    if (found == tensors.end()) {
      if (!parameter.requires_grad()) continue;  // what training noted may be missing: a file of another program
      if (nn::is_head_name(key) && !any_with_prefix(tensors, std::string(nn::kHeadPrefix))) continue;  // it was not trained
      throw std::runtime_error(fmt::format("'{}' is missing", key));
    }
    check_fits(key, found->second, parameter);
  }
  for (const auto& [key, tensor] : tensors) {
    if (places.count(key) == 0) throw std::runtime_error(fmt::format("the model has no place for '{}'", key));
  }
  const at::NoGradGuard no_grad;
  for (const auto& [key, parameter] : all) {
    const auto found = tensors.find(key);
    if (found != tensors.end()) at::Tensor(parameter).copy_(found->second);
  }
}

}  // namespace

formats::Metadata description(const AdapterInfo& info) {
  formats::Metadata metadata = {{"model", info.model}, {"preprocessing", to_json(info.preprocessing)}};
  if (!info.weights_sha256.empty()) metadata["base_sha256"] = info.weights_sha256;
  if (!info.class_names.empty()) metadata["class_names"] = formats::to_text(json(info.class_names));
  if (!info.pool.empty()) metadata["pool"] = info.pool;
  return metadata;
}

void read_description(const formats::Metadata& metadata, AdapterInfo& info) {
  const auto optional = [&](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  info.model = optional("model");
  info.weights_sha256 = optional("base_sha256");
  if (metadata.count("preprocessing")) {
    try {
      info.preprocessing = data::preprocessing_from_json(metadata.at("preprocessing"));
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(std::string("metadata ") + error.what());
    }
  }
  if (metadata.count("class_names")) info.class_names = names_from_json(metadata.at("class_names"));
  info.pool = optional("pool");
}

TensorMap trained_state(const torch::nn::Module& model) {
  TensorMap state;
  for (const auto& item : model.named_parameters()) {
    if (item.value().requires_grad()) state.emplace(item.key(), item.value().detach());
  }
  for (const auto& item : model.named_buffers()) {
    if (nn::is_adapter_name(item.key())) state.emplace(item.key(), item.value());
  }
  return state;
}

void save_adapter(const std::string& path, const AdapterFile& adapter) {
  formats::Metadata metadata = description(adapter.info);
  metadata["format"] = "respeft";
  metadata["method"] = adapter.info.method;
  metadata["options"] = formats::to_text(to_json(adapter.info.options));
  formats::save_safetensors(path, adapter.tensors, metadata);
}

namespace {

/// Reads an adapter that describes itself, in either layout.
AdapterFile load_described(const std::string& path) {
  if (is_peft_adapter(path)) return load_peft_adapter(path);
  const formats::SafetensorsFile file(path);
  AdapterFile adapter;
  try {
    adapter.info = read_info(file.metadata());
    methods::create(adapter.info.method, adapter.info.options);
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
  adapter.tensors = file.tensors();
  return adapter;
}

void refuse_folder(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return;
  const bool run = fs::exists(fs::path(path) / "adapter.safetensors");
  throw std::runtime_error(fmt::format("{}: it has no adapter_config.json, so it is no adapter in PEFT's layout{}", path,
                                       run ? "; a run directory's adapter is its adapter.safetensors" : ""));
}

}  // namespace

AdapterFile load_adapter(const std::string& path, const std::string& method, const Options& options) {
  const bool peft = is_peft_adapter(path);
  if (!peft) refuse_folder(path);
  if (peft || described(formats::SafetensorsFile(path).metadata())) {
    AdapterFile adapter = load_described(path);
    if (!method.empty() && method != adapter.info.method) {
      throw std::invalid_argument(
          fmt::format("{} holds adapters of the method '{}', not '{}'", path, adapter.info.method, method));
    }
    return adapter;
  }
  if (method.empty())
    throw std::runtime_error(fmt::format("{}: it has no metadata of an adapter file, and no method was named", path));
  AdapterFile adapter;
  adapter.info.method = method;
  adapter.info.options = options;
  adapter.tensors = formats::SafetensorsFile(path).tensors();
  return adapter;
}

std::shared_ptr<Attachment> attach_adapter(torch::nn::Module& model, const AdapterFile& adapter) {
  const auto fail = [](const std::runtime_error& error) { throw std::runtime_error(std::string("adapter: ") + error.what()); };
  try {
    check_shapes(model, adapter);
  } catch (const std::runtime_error& error) {
    fail(error);
  }
  const auto method = methods::create(adapter.info.method, adapter.info.options);
  AttachOptions options;
  options.check = false;
  options.only = [&](const nn::SiteInfo& site) { return has_site(adapter.tensors, site.name); };
  auto attachment = attach(model, *method, options);
  try {
    copy_into(*attachment, adapter.tensors);
  } catch (const std::runtime_error& error) {
    detach(model);
    fail(error);
  }
  return attachment;
}

}  // namespace respeft::adapters
