#include <respeft/adapters/peft.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/formats/file.h>
#include <respeft/formats/tensor_file.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <stdexcept>

#include "src/adapters/adapter_metadata.h"
#include "src/adapters/peft_config.h"
#include "src/adapters/peft_factors.h"
#include "src/models/vit/weight_names.h"
#include <respeft/core/text.h>

namespace respeft::adapters {
namespace {

namespace fs = std::filesystem;

constexpr const char *kConfig = "adapter_config.json", *kTensors = "adapter_model.safetensors", *kPickled = "adapter_model.bin";
/// PEFT's wrapper around the base.
const std::string kPrefix = "base_model.model.";
const std::string kFused = ".attn.qkv";
constexpr int64_t kParts = 3;
constexpr const char* kPartNames[kParts] = {"q", "k", "v"};

/// What PEFT puts after a factor's name.
const char* suffix_of(const std::string& method) {
  return method == "lora" ? ".weight" : "";
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Where an update belongs: a site, and the projection fused in it (its number) unless it is of the whole weight.
struct Place {
  std::string site;
  int64_t part = -1;

  auto operator<=>(const Place&) const = default;
};

/// The place of timm's module, with q, k and v apart or not.
Place place_of(const std::string& timm) {
  for (int64_t part = 0; part < kParts; ++part) {
    const std::string end = fmt::format(".attn.{}", kPartNames[part]);
    if (ends_with(timm, end)) return {timm.substr(0, timm.size() - end.size()) + kFused, part};
  }
  return {timm};
}

/// Whether this is the name of a linear layer in a block.
bool is_linear(const std::string& site) {
  constexpr const char* layers[] = {".attn.qkv", ".attn.proj", ".mlp.fc1", ".mlp.fc2"};
  const size_t begin = std::string("blocks.").size(), end = site.find_first_not_of("0123456789", begin);
  return site.rfind("blocks.", 0) == 0 && end != begin && end != std::string::npos &&
         std::any_of(std::begin(layers), std::end(layers),
                     [&](const char* layer) { return site.compare(end, std::string::npos, layer) == 0; });
}

/// One adapter in PEFT's layout on its way into this library's.
class Reading {
 public:
  explicit Reading(const PeftFiles& files) : files_(files), file_(formats::open_tensor_file(files.tensors)) {}

  AdapterFile run() {
    read_config();
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
    const std::string name = key.substr(kPrefix.size());
    for (const auto& kind : factor_kinds(config_.method)) {
      const std::string end = fmt::format(".{}{}", kind.name, suffix_of(config_.method));
      if (ends_with(name, end)) return add_factor(key, name.substr(0, name.size() - end.size()), kind.name);
    }
    const bool timm = name.rfind("head.", 0) == 0;
    if (!timm && name.rfind("classifier.", 0) != 0) {
      fail_at(key, "only the factors of linear layers and a head (modules_to_save) have a place here");
    }
    head_keys_[timm ? name : "head" + name.substr(name.find('.'))] = key;
  }

  void add_factor(const std::string& key, const std::string& module, const std::string& kind) {
    const auto& entry = file_->entries().at(key);
    std::string base;
    const std::string found = models::timm_module(module, base), timm = found.empty() ? module : found;
    if (timm == "head" || timm == "classifier") fail_at(key, "a head can be trained whole (modules_to_save), not be adapted");
    if (timm == "patch_embed.proj")
      fail_at(key,
              "the patch projection is a convolution, and only linear layers are adapted here; train with "
              "exclude_modules=['patch_embed.proj']");
    const Place place = place_of(timm);
    if (!is_linear(place.site))
      fail_at(key, fmt::format("'{}' is no linear layer of timm's or Transformers' ViT or DINOv2", module));
    if (entry.shape.size() != 2 || entry.shape[0] < 1 || entry.shape[1] < 1) {
      fail_at(key, fmt::format("shape [{}]; a factor of a linear layer's update is a matrix", fmt::join(entry.shape, ", ")));
    }
    if (!c10::isFloatingType(entry.dtype))
      fail_at(key, fmt::format("it holds {}, not floating-point numbers", c10::toString(entry.dtype)));
    if (!base.empty()) base_ = base;
    auto& update = updates_[place];
    if (!update.module.empty() && update.module != module) fail_at(key, fmt::format("'{}' is the same layer", update.module));
    update.module = module;
    update.factors[kind] = file_->tensor(key);
  }

  /// Every update must have one rank, the configuration's unless that speaks of exceptions.
  void check_ranks() {
    for (auto& [place, update] : updates_) {
      const auto complain = [&, &u = update](const std::string& fault) { fail_at(kPrefix + u.module, fault); };
      for (const auto& kind : factor_kinds(config_.method)) {
        if (config_.method != "lokr" && update.factors.count(kind.name) == 0) complain(fmt::format("it has no {}", kind.name));
      }
      try {
        update.rank = rank_of(config_.method, update.factors);
      } catch (const std::runtime_error& error) {
        complain(error.what());
      }
      if (update.rank == 0) update.rank = config_.rank;
      if ((config_.ranks.empty() || config_.method == "lokr") && update.rank != config_.rank) {
        complain(fmt::format("it has rank {}; {} says {}", update.rank, kConfig, config_.rank));
      }
      rank_ = std::max(rank_, update.rank);
    }
    refuse_padding_without_end();
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
    const auto rank = static_cast<double>(update.rank);
    try {
      return config_.alpha_of(update.module) / (config_.rank_stabilized ? std::sqrt(rank) : rank);
    } catch (const std::runtime_error& error) {
      fail(files_.config, error.what());
    }
  }

  void convert(AdapterFile& adapter) {
    double scale = 0.0;  // of the first update that has one; the others' factors take the difference
    for (const auto& [place, update] : updates_) {
      if (scale == 0.0) scale = scale_of(update);
    }
    std::set<std::string> roles;
    std::map<std::string, std::set<int64_t>> parts;
    for (const auto& [place, update] : updates_) {
      const double own = scale_of(update);
      FactorMap factors = padded(config_.method, update.factors, rank_);
      if (own != scale) factors = scaled(config_.method, std::move(factors), own / scale);
      put(adapter.tensors, place, factors);
      roles.insert(place.part < 0 ? place.site.substr(place.site.rfind('.') + 1) : kPartNames[place.part]);
    }
    fill_parts(adapter.tensors, roles);
    const bool plain = scale == config_.alpha / static_cast<double>(rank_);
    adapter.info.options = {{"rank", rank_},
                            {"alpha", plain ? config_.alpha : scale * static_cast<double>(rank_)},
                            {"targets", text::join({roles.begin(), roles.end()}, ",")}};
    if (config_.method == "lora") adapter.info.options["dropout"] = config_.dropout;
    if (config_.method == "lokr") {
      adapter.info.options["factor"] = config_.factor;
      adapter.info.options["decompose_both"] = config_.decompose_both;
    }
  }

  static void put(TensorMap& tensors, const Place& place, const FactorMap& factors) {
    const std::string part = place.part < 0 ? "" : fmt::format("{}.", kPartNames[place.part]);
    for (const auto& [kind, factor] : factors) tensors[fmt::format("{}.adapter.{}{}", place.site, part, kind)] = factor;
  }

  /// Where some projections of a layer are adapted, those that are adapted in other layers get an update of zeros.
  void fill_parts(TensorMap& tensors, const std::set<std::string>& roles) const {
    for (const auto& [place, update] : updates_) {
      if (place.part < 0) continue;
      for (int64_t part = 0; part < kParts; ++part) {
        const Place other{place.site, part};
        if (roles.count(kPartNames[part]) == 0 || updates_.count(other) != 0) continue;
        FactorMap zeros = padded(config_.method, update.factors, rank_);
        for (auto& [kind, factor] : zeros) factor = at::zeros_like(factor);
        put(tensors, other, zeros);
      }
    }
  }

  void add_head(TensorMap& tensors) const {
    for (const auto& [name, key] : head_keys_) {
      if (name != "head.weight" && name != "head.bias") fail_at(key, "a head has a weight and a bias");
      at::Tensor tensor = file_->tensor(key);
      if (name == "head.weight" && base_.rfind("dinov2", 0) == 0) {
        if (tensor.dim() != 2 || tensor.size(1) % 2 != 0) fail_at(key, "DINOv2's classifier reads two vectors of one length");
        tensor = models::narrow_head(tensor);
        if (!tensor.defined())
          fail_at(key, "it reads the mean over the patches beside the class token, which a head here does not");
      }
      tensors[name] = tensor;
    }
  }

  const PeftFiles& files_;
  std::unique_ptr<formats::TensorFile> file_;
  PeftConfig config_;
  std::map<Place, Update> updates_;
  std::map<std::string, std::string> head_keys_;  ///< keys by timm's name
  std::string base_;                              ///< Transformers' model type, where one is known
  int64_t rank_ = 0;
};

/// One adapter on its way into PEFT's layout.
class Writing {
 public:
  Writing(const AdapterFile& adapter, const std::string& base) : adapter_(adapter), base_(base) {
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
    const std::string marker = ".adapter.";
    const size_t at = key.find(marker);
    if (at == std::string::npos) return add_head(key, tensor);
    std::string kind = key.substr(at + marker.size());
    int64_t part = -1;
    for (int64_t i = 0; i < kParts; ++i) {
      if (kind.rfind(fmt::format("{}.", kPartNames[i]), 0) == 0) part = i;
    }
    if (part >= 0) kind = kind.substr(2);
    sites[key.substr(0, at)][part][kind] = tensor;
  }

  void add_head(const std::string& key, const at::Tensor& tensor) {
    if (key != "head.weight" && key != "head.bias")
      throw std::invalid_argument(fmt::format("'{}' has no place in PEFT's layout", key));
    const std::string name = base_ == "timm" ? "head" : "classifier";
    const bool widen = key == "head.weight" && base_.rfind("dinov2", 0) == 0;
    tensors_[kPrefix + name + key.substr(4)] = widen ? models::wide_head(tensor) : tensor;
    config_.saved = {name};
  }

  void convert(const std::string& site, std::map<int64_t, FactorMap>& updates) {
    for (auto& [part, factors] : updates) fold_importance(factors);
    std::erase_if(updates, [](const auto& update) { return update.second.empty(); });
    if (updates.empty()) return;
    const bool fused_site = ends_with(site, kFused), whole = updates.count(-1) != 0;
    if (fused_site && config_.method == "lokr" && whole != (base_ == "timm")) {
      throw std::invalid_argument(fmt::format(
          "'{}': a Kronecker product of {} is none of {}", site, whole ? "the fused weight" : "single projections",
          whole ? "single projections, which Transformers' models have" : "the fused weight, which timm's models have"));
    }
    if (base_ == "timm") {
      add(site, whole ? updates.at(-1) : fused(config_.method, updates, kParts));
    } else if (!fused_site) {
      add(models::huggingface_module(site, base_), updates.at(-1));
    } else {
      for (int64_t part = 0; part < kParts; ++part) {
        const auto own = updates.find(part);
        if (!whole && own == updates.end()) continue;
        const std::string name = fmt::format("{}.{}", site.substr(0, site.rfind('.')), kPartNames[part]);
        add(models::huggingface_module(name, base_), whole ? part_of(config_.method, updates.at(-1), part, kParts) : own->second);
      }
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
      config_.ranks[module] = rank;
      config_.alphas[module] = alpha_at(rank);
    }
    config_.alpha = alpha_at(usual);
    config_.rank = usual;
  }

  const AdapterFile& adapter_;
  const std::string& base_;
  PeftConfig config_;
  TensorMap tensors_;
  std::map<std::string, int64_t> modules_;  ///< ranks by PEFT's name
};

}  // namespace

bool is_peft_adapter(const std::string& path) {
  const fs::path given(path);
  std::error_code ignored;
  if (fs::is_directory(given, ignored)) return fs::exists(given / kConfig, ignored);
  return (given.filename() == kTensors || given.filename() == kPickled) && fs::exists(given.parent_path() / kConfig, ignored);
}

PeftFiles peft_files(const std::string& path) {
  const fs::path given(path), folder = fs::is_directory(given) ? given : given.parent_path();
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
  const std::vector<std::string> bases = {"timm", "vit", "dinov2", "dinov2_with_registers"};
  if (std::find(bases.begin(), bases.end(), base) == bases.end()) {
    throw std::invalid_argument(text::unknown("base of an adapter", base, bases));
  }
  Writing(adapter, base).run(folder);
}

}  // namespace respeft::adapters
