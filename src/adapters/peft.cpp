#include <respeft/adapters/peft.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/formats/file.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/family.h>
#include <respeft/models/weight_map.h>
#include <respeft/nn/names.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>

#include <respeft/core/text.h>
#include "src/adapters/adapter_metadata.h"
#include "src/adapters/peft_config.h"
#include "src/adapters/peft_factors.h"

namespace respeft::adapters {
namespace {

namespace fs = std::filesystem;

constexpr const char *kConfig = "adapter_config.json", *kTensors = "adapter_model.safetensors", *kPickled = "adapter_model.bin";
/// PEFT's wrapper around the base.
const std::string kPrefix = "base_model.model.";

/// What PEFT puts after a factor's name.
const char* suffix_of(const std::string& method) {
  return method == "lora" ? ".weight" : "";
}

using models::LayerPlace;

/// The name of the projection at `place`: `q`, `k` or `v` of attention.
std::string part_name(const models::ModelFamily& family, const LayerPlace& place) {
  return family.weights().parts(place.site).at(static_cast<size_t>(place.part));
}

/// One adapter in PEFT's layout on its way into this library's.
class Reading {
 public:
  explicit Reading(const PeftFiles& files) : files_(files), file_(formats::open_tensor_file(files.tensors)) {}

  AdapterFile run() {
    read_config();
    layout_ = config_.allocated ? "adalora" : config_.method;
    for (const auto& [key, entry] : file_->entries()) sort_in(key);
    if (updates_.empty()) fail(files_.tensors, "it holds no adapter of a linear layer");
    check_ranks();
    AdapterFile adapter;
    adapter.info.method = config_.method;
    convert(adapter);
    add_head(adapter.tensors);
    try {
      read_description(file_->metadata(), adapter.info);
      methods::create(adapter.info.method, adapter.info.options);
    } catch (const std::exception& error) {
      fail(files_.tensors, error.what());
    }
    return adapter;
  }

 private:
  struct Update {
    std::string module;  ///< PEFT's name
    FactorMap factors;
    int64_t rank = 0;
  };

  [[noreturn]] static void fail(const std::string& path, const std::string& fault) {
    throw std::runtime_error(fmt::format("{}: {}", path, fault));
  }
  [[noreturn]] void fail_at(const std::string& key, const std::string& fault) const {
    fail(files_.tensors, fmt::format("'{}': {}", key, fault));
  }

  void read_config() {
    constexpr uintmax_t largest = 16 << 20;
    if (fs::file_size(files_.config) > largest) fail(files_.config, "it is too large for such a file");
    try {
      config_ = peft_config_from_json(formats::read_file(files_.config));
    } catch (const std::runtime_error& error) {
      fail(files_.config, error.what());
    }
  }

  /// Puts a tensor where it belongs: to an update, or to the head.
  void sort_in(const std::string& key) {
    if (key.rfind(kPrefix, 0) != 0) fail_at(key, fmt::format("it does not begin with '{}'", kPrefix));
    const std::string name = without_adapter_name(key.substr(kPrefix.size()));
    if (name.empty()) return;
    for (const auto& kind : factor_kinds(layout_)) {
      const std::string end = fmt::format(".{}{}", kind.name, suffix_of(layout_));
      if (name.ends_with(end)) return add_factor(key, name.substr(0, name.size() - end.size()), kind.name);
    }
    const size_t dot = name.find('.');
    const auto is_head = [&](const models::ModelFamily* family) {
      const auto bases = family->weights().bases();
      return std::any_of(bases.begin(), bases.end(),
                         [&](const auto& base) { return family->weights().head_name(base) == name.substr(0, dot); });
    };
    if (dot == name.npos || std::none_of(models::families().begin(), models::families().end(), is_head)) {
      fail_at(key, "only the factors of linear layers and a head (modules_to_save) have a place here");
    }
    head_keys_[fmt::format("{}{}", nn::kHeadPrefix, name.substr(dot + 1))] = key;
  }

  /// A state dict that PEFT did not write itself names the adapter: `….lora_A.NAME.weight`, `head.modules_to_save.NAME.weight`.
  /// Returns the name without that; nothing for the frozen copy of a module that was trained whole.
  std::string without_adapter_name(const std::string& name) {
    if (name.find(".original_module.") != std::string::npos) return "";
    std::string plain = name, adapter;
    const auto cut = [&](size_t begin) {  // at the dot before the adapter's name
      const size_t end = std::min(name.find('.', begin + 1), name.size());
      adapter = name.substr(begin + 1, end - begin - 1);
      return end;
    };
    const std::string saved = ".modules_to_save";
    if (const size_t at = name.find(saved + "."); at != std::string::npos) {
      plain = name.substr(0, at) + name.substr(cut(at + saved.size()));
    } else {
      for (const auto& kind : factor_kinds(layout_)) {
        const size_t begin = name.find(fmt::format(".{}.", kind.name)), end = begin + 1 + std::string_view(kind.name).size();
        if (begin == std::string::npos || name.substr(end) == suffix_of(layout_)) continue;
        plain = name.substr(0, end) + name.substr(cut(end));
      }
    }
    if (name_of_adapter_ && *name_of_adapter_ != adapter) {
      fail(files_.tensors, fmt::format("it holds the adapters '{}' and '{}'; give a file of one (PEFT's save_pretrained with "
                                       "selected_adapters=[NAME])",
                                       *name_of_adapter_, adapter));
    }
    name_of_adapter_ = adapter;
    return plain;
  }

  void add_factor(const std::string& key, const std::string& module, const std::string& kind) {
    const auto& entry = file_->entries().at(key);
    const LayerPlace place = place_of(key, module);
    const int64_t least = config_.allocated ? 0 : 1;  // AdaLoRA prunes some updates to rank 0
    if (entry.shape.size() != 2 || entry.shape[0] < least || entry.shape[1] < least) {
      fail_at(key, fmt::format("shape [{}]; a factor of a linear layer's update is a matrix", fmt::join(entry.shape, ", ")));
    }
    if (!c10::isFloatingType(entry.dtype))
      fail_at(key, fmt::format("it holds {}, not floating-point numbers", c10::toString(entry.dtype)));
    auto& update = updates_[place];
    if (!update.module.empty() && update.module != module) fail_at(key, fmt::format("'{}' is the same layer", update.module));
    update.module = module;
    update.factors[kind] = file_->tensor(key);
  }

  /// The layer that PEFT calls `module`, in the models of the first family that has it.
  LayerPlace place_of(const std::string& key, const std::string& module) {
    for (const auto* family : models::families()) {
      if (const auto reason = family->weights().no_adapter(module); !reason.empty()) fail_at(key, reason);
      std::string base;
      const auto place = family->weights().place(module, base);
      if (!place) continue;
      if (!base.empty()) base_ = base;
      family_ = family;
      return *place;
    }
    fail_at(key, fmt::format("'{}' is no linear layer of timm's or Transformers' ViT or DINOv2", module));
  }

  /// Every update must have one rank, the configuration's unless that speaks of exceptions.
  void check_ranks() {
    for (auto& [place, update] : updates_) {
      const auto complain = [&, &u = update](const std::string& fault) { fail_at(kPrefix + u.module, fault); };
      for (const auto& kind : factor_kinds(layout_)) {
        if (config_.method != "lokr" && update.factors.count(kind.name) == 0) complain(fmt::format("it has no {}", kind.name));
      }
      try {
        update.rank = rank_of(layout_, update.factors);
      } catch (const std::runtime_error& error) {
        complain(error.what());
      }
      if (!config_.allocated) check_rank(update);
      rank_ = std::max(rank_, update.rank);
    }
    std::erase_if(updates_, [](const auto& entry) { return entry.second.rank == 0; });
    if (updates_.empty()) fail(files_.tensors, "the rank of every update is 0: it changes nothing");
    refuse_padding_without_end();
  }

  /// What `read` returns; its fault is one of the configuration.
  template <class Read>
  auto of_config(const Read& read) const {
    try {
      return read();
    } catch (const std::runtime_error& error) {
      fail(files_.config, error.what());
    }
  }

  void check_rank(Update& update) const {
    const int64_t said = config_.method == "lokr" ? config_.rank : of_config([&] { return config_.rank_of(update.module); });
    if (update.rank == 0) update.rank = said;
    if (update.rank != said) {
      fail_at(kPrefix + update.module, fmt::format("it has rank {}; {} says {}", update.rank, kConfig, said));
    }
  }

  /// One rank for all, and zeros for projections that are adapted elsewhere, must not take much more memory than the file.
  void refuse_padding_without_end() const {
    constexpr double most = 16.0, always = 64 << 20;
    std::map<std::string, int64_t> own;  // adapted projections of each layer
    std::set<int64_t> parts;
    for (const auto& [place, update] : updates_) {
      if (place.part < 0) continue;
      ++own[place.site];
      parts.insert(place.part);
    }
    double held = 0.0, needed = 0.0;
    for (const auto& [place, update] : updates_) {
      const double layers =  // the update's share of those of its layer
          place.part < 0 ? 1.0 : static_cast<double>(parts.size()) / static_cast<double>(own.at(place.site));
      for (const auto& [kind, factor] : update.factors) {
        const auto bytes = static_cast<double>(factor.nbytes());
        held += bytes;
        needed += layers * bytes * static_cast<double>(rank_) / static_cast<double>(update.rank);
      }
    }
    if (needed > most * held + always)
      fail(files_.tensors,
           fmt::format("ranks up to {} among many small ones would take {:.0f} times the file's size", rank_, needed / held));
  }

  double scale_of(const Update& update) const {
    if (config_.allocated) return config_.alpha / (static_cast<double>(config_.rank) + 1e-5);  // PEFT's SVDLinear
    const auto rank = static_cast<double>(update.rank);
    const double alpha = of_config([&] { return config_.alpha_of(update.module); });
    return alpha / (config_.rank_stabilized ? std::sqrt(rank) : rank);
  }

  /// Ranks go on being allocated where there is something left to prune; elsewhere A stands for diag(E) A.
  bool keeps_importance() const { return config_.allocated && config_.target_rank >= 1 && config_.target_rank < rank_; }

  void fold_importances() {
    for (auto& [place, update] : updates_) {
      update.factors.at("lora_A") = update.factors.at("lora_A") * update.factors.at("lora_E");
      update.factors.erase("lora_E");
    }
    layout_ = config_.method;
  }

  void convert(AdapterFile& adapter) {
    if (config_.allocated && !keeps_importance()) fold_importances();
    double scale = 0.0;  // of the first update that has one; the others' factors take the difference
    for (const auto& [place, update] : updates_) {
      if (scale == 0.0) scale = scale_of(update);
    }
    std::set<std::string> roles;
    std::map<std::string, std::set<int64_t>> parts;
    for (const auto& [place, update] : updates_) {
      const double own = scale_of(update);
      FactorMap factors = padded(layout_, update.factors, rank_);
      if (own != scale) factors = scaled(layout_, std::move(factors), own / scale);
      put(adapter.tensors, place, factors);
      roles.insert(place.part < 0 ? place.site.substr(place.site.rfind('.') + 1) : part_name(*family_, place));
    }
    fill_parts(adapter.tensors, roles);
    const bool plain = scale == config_.alpha / static_cast<double>(rank_);
    adapter.info.options = {{"rank", rank_},
                            {"alpha", plain ? config_.alpha : scale * static_cast<double>(rank_)},
                            {"targets", text::join({roles.begin(), roles.end()}, ",")}};
    if (config_.method == "lora") adapter.info.options["dropout"] = config_.dropout;
    if (keeps_importance()) adapter.info.options["target_rank"] = config_.target_rank;
    if (config_.method == "lokr") {
      adapter.info.options["factor"] = config_.factor;
      adapter.info.options["decompose_both"] = config_.decompose_both;
    }
  }

  void put(TensorMap& tensors, const LayerPlace& place, const FactorMap& factors) const {
    const std::string part = place.part < 0 ? "" : part_name(*family_, place) + ".";
    for (const auto& [kind, factor] : factors)
      tensors[fmt::format("{}{}{}{}", place.site, nn::kAdapterMarker, part, kind)] = factor;
  }

  /// Where some projections of a layer are adapted, those that are adapted in other layers get an update of zeros.
  void fill_parts(TensorMap& tensors, const std::set<std::string>& roles) const {
    for (const auto& [place, update] : updates_) {
      if (place.part < 0) continue;
      const auto parts = static_cast<int64_t>(family_->weights().parts(place.site).size());
      for (int64_t part = 0; part < parts; ++part) {
        const LayerPlace other{place.site, part};
        if (roles.count(part_name(*family_, other)) == 0 || updates_.count(other) != 0) continue;
        FactorMap zeros = padded(layout_, update.factors, rank_);
        for (auto& [kind, factor] : zeros) factor = at::zeros_like(factor);
        put(tensors, other, zeros);
      }
    }
  }

  void add_head(TensorMap& tensors) const {
    for (const auto& [name, key] : head_keys_) {
      if (name != nn::kHeadWeight && name != nn::kHeadBias) fail_at(key, "a head has a weight and a bias");
      tensors[name] = file_->tensor(key);
      if (name != nn::kHeadWeight) continue;
      try {
        tensors[name] = family_->weights().head_from(tensors[name], base_);
      } catch (const std::runtime_error& error) {
        fail_at(key, error.what());
      }
    }
  }

  const PeftFiles& files_;
  std::unique_ptr<formats::TensorFile> file_;
  PeftConfig config_;
  const models::ModelFamily* family_ = nullptr;  ///< of the models that have the adapted layers
  std::string layout_;                           ///< the method, `adalora` where ranks are allocated: which factors there are
  std::optional<std::string> name_of_adapter_;   ///< as the keys have it; empty where they have none
  std::map<LayerPlace, Update> updates_;
  std::map<std::string, std::string> head_keys_;  ///< keys by timm's name
  std::string base_;                              ///< Transformers' model type, where one is known
  int64_t rank_ = 0;
};

/// One adapter on its way into PEFT's layout.
class Writing {
 public:
  Writing(const AdapterFile& adapter, const std::string& base)
      : adapter_(adapter), base_(base), map_(family_with(base).weights()) {
    config_.method = adapter.info.method;
  }

  void run(const std::string& folder) {
    read_options();
    std::map<std::string, std::map<int64_t, FactorMap>> sites;
    for (const auto& [key, tensor] : adapter_.tensors) sort_in(key, tensor, sites);
    for (auto& [site, updates] : sites) convert(site, updates);
    if (modules_.empty()) throw std::invalid_argument("the adapter holds no update to write");
    describe_modules();
    formats::Metadata metadata = description(adapter_.info);
    metadata["format"] = "pt";
    formats::write_folder(folder, [&](const std::string& place) {
      formats::write_file(place + "/" + kConfig, to_json(config_));
      formats::save_safetensors(place + "/" + kTensors, tensors_, metadata);
    });
  }

 private:
  void read_options() {
    const auto& method = config_.method;
    if (method != "lora" && method != "loha" && method != "lokr") {
      throw std::invalid_argument(fmt::format("PEFT has no method like {}; lora, loha and lokr can be written for it{}", method,
                                              method == "full" ? "" : ", and a merged model in other formats"));
    }
    const auto created = methods::create(method, adapter_.info.options);
    const Options options = created->options();
    config_.rank = std::get<int64_t>(options.at("rank"));
    config_.alpha = std::get<double>(options.at("alpha"));
    if (method == "lora") config_.dropout = std::get<double>(options.at("dropout"));
    if (method == "lokr") {
      config_.factor = std::get<int64_t>(options.at("factor"));
      config_.decompose_both = std::get<bool>(options.at("decompose_both"));
    }
  }

  void sort_in(const std::string& key, const at::Tensor& tensor, std::map<std::string, std::map<int64_t, FactorMap>>& sites) {
    if (!nn::is_adapter_name(key)) return add_head(key, tensor);
    const std::string site = nn::site_of(key), own = key.substr(site.size() + nn::kAdapterMarker.size());
    const auto parts = map_.parts(site);
    const auto part = std::find(parts.begin(), parts.end(), own.substr(0, own.find('.')));
    if (part == parts.end()) {
      sites[site][-1][own] = tensor;
    } else {
      sites[site][part - parts.begin()][own.substr(part->size() + 1)] = tensor;
    }
  }

  void add_head(const std::string& key, const at::Tensor& tensor) {
    if (key != nn::kHeadWeight && key != nn::kHeadBias)
      throw std::invalid_argument(fmt::format("'{}' has no place in PEFT's layout", key));
    const std::string name = map_.head_name(base_);
    tensors_[fmt::format("{}{}.{}", kPrefix, name, key.substr(nn::kHeadPrefix.size()))] =
        key == nn::kHeadWeight ? map_.head_to(tensor, base_) : tensor;
    config_.saved = {name};
  }

  void convert(const std::string& site, std::map<int64_t, FactorMap>& updates) {
    for (auto& [part, factors] : updates) fold_importance(factors);
    std::erase_if(updates, [](const auto& update) { return update.second.empty(); });
    if (updates.empty()) return;
    const auto parts = static_cast<int64_t>(map_.parts(site).size());
    const bool whole = updates.count(-1) != 0;
    const std::string own_name = map_.module_name({site}, base_);  // empty where its projections are modules by themselves
    if (parts > 0 && config_.method == "lokr" && whole == own_name.empty()) {
      throw std::invalid_argument(fmt::format(
          "'{}': a Kronecker product of {} is none of {}", site, whole ? "the fused weight" : "single projections",
          whole ? "single projections, which Transformers' models have" : "the fused weight, which timm's models have"));
    }
    if (!own_name.empty() || parts == 0) return add(own_name, whole ? updates.at(-1) : fused(config_.method, updates, parts));
    for (int64_t part = 0; part < parts; ++part) {
      const auto own = updates.find(part);
      if (!whole && own == updates.end()) continue;
      add(map_.module_name({site, part}, base_), whole ? part_of(config_.method, updates.at(-1), part, parts) : own->second);
    }
  }

  /// Where ranks were allocated, diag(E) A stands for A, without the directions that were pruned; nothing if all were.
  static void fold_importance(FactorMap& factors) {
    const auto importance = factors.find("lora_E");
    if (importance == factors.end()) return;
    const auto kept = importance->second.flatten().nonzero().flatten();
    FactorMap folded;
    if (kept.numel() > 0) {
      folded["lora_A"] = (factors.at("lora_A") * importance->second).index_select(0, kept);
      folded["lora_B"] = factors.at("lora_B").index_select(1, kept);
    }
    factors = std::move(folded);
  }

  void add(const std::string& module, const FactorMap& factors) {
    if (module.empty()) throw std::invalid_argument(fmt::format("Transformers' {} has no module for an adapter's layer", base_));
    const int64_t rank = config_.method == "lokr" ? 0 : rank_of(config_.method, factors);
    modules_[module] = rank > 0 ? rank : config_.rank;
    for (const auto& [kind, factor] : factors) {
      tensors_[fmt::format("{}{}.{}{}", kPrefix, module, kind, suffix_of(config_.method))] = factor;
    }
  }

  /// Names the modules, and those whose rank is not the usual one; alpha / rank is the same everywhere.
  void describe_modules() {
    std::map<int64_t, size_t> counts;
    for (const auto& [module, rank] : modules_) ++counts[rank];
    const int64_t usual =
        std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    const double alpha = config_.alpha;
    const auto alpha_at = [&, rank = config_.rank](int64_t own) {
      return own == rank ? alpha : alpha * static_cast<double>(own) / static_cast<double>(rank);
    };
    for (const auto& [module, rank] : modules_) {
      config_.targets.push_back(module);
      if (rank == usual) continue;
      config_.ranks.add(module, static_cast<double>(rank));
      config_.alphas.add(module, alpha_at(rank));
    }
    config_.alpha = alpha_at(usual);
    config_.rank = usual;
  }

  /// The family that has models of this base.
  static const models::ModelFamily& family_with(const std::string& base) {
    std::vector<std::string> known;
    for (const auto* family : models::families()) {
      const auto bases = family->weights().bases();
      if (std::find(bases.begin(), bases.end(), base) != bases.end()) return *family;
      known.insert(known.end(), bases.begin(), bases.end());
    }
    throw std::invalid_argument(text::unknown("base of an adapter", base, known));
  }

  const AdapterFile& adapter_;
  const std::string& base_;
  const models::WeightMap& map_;
  PeftConfig config_;
  TensorMap tensors_;
  std::map<std::string, int64_t> modules_;  ///< ranks by PEFT's name
};

}  // namespace

namespace {

/// The folders in `folder` that hold an adapter, as PEFT saves those that are not called "default"; sorted.
std::vector<fs::path> named_adapters(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (fs::directory_iterator each(folder, ignored), end; each != end; each.increment(ignored)) {
    if (fs::is_regular_file(each->path() / kConfig, ignored)) found.push_back(each->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

bool is_peft_adapter(const std::string& path) {
  const fs::path given(path);
  std::error_code ignored;
  if (fs::is_directory(given, ignored)) return fs::exists(given / kConfig, ignored) || !named_adapters(given).empty();
  return (given.filename() == kTensors || given.filename() == kPickled) && fs::exists(given.parent_path() / kConfig, ignored);
}

PeftFiles peft_files(const std::string& path) {
  const fs::path given(path);
  fs::path folder = fs::is_directory(given) ? given : given.parent_path();
  if (!fs::exists(folder / kConfig)) {
    const auto named = named_adapters(folder);
    if (named.size() != 1) {
      std::vector<std::string> names;
      for (const auto& each : named) names.push_back(each.filename().string());
      throw std::runtime_error(
          fmt::format("{}: it holds several adapters; give the folder of one: {}", path, text::join(names, ", ")));
    }
    folder = named.front();
  }
  for (const char* name : {kTensors, kPickled}) {  // PEFT's own order
    if (fs::exists(folder / name)) return {(folder / kConfig).string(), (folder / name).string()};
  }
  throw std::runtime_error(fmt::format("{}: there is no {} or {}", folder.string(), kTensors, kPickled));
}

AdapterFile load_peft_adapter(const std::string& path) {
  const PeftFiles files = peft_files(path);
  return Reading(files).run();
}

void save_peft_adapter(const std::string& folder, const AdapterFile& adapter, const std::string& base) {
  Writing(adapter, base).run(folder);
}

}  // namespace respeft::adapters
