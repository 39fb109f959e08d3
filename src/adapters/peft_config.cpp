#include "src/adapters/peft_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string_view>

#include <respeft/core/text.h>
#include "src/formats/json.h"

namespace respeft::adapters {
namespace {

using nlohmann::json;

/// PEFT's name of a method, ours, and the key of its alpha.
struct Type {
  const char *peft, *method, *alpha;
};
constexpr Type types[] = {{"LORA", "lora", "lora_alpha"}, {"LOHA", "loha", "alpha"}, {"LOKR", "lokr", "alpha"}};

/// Keys that change nothing of what a trained adapter computes: where it comes from, which modules were chosen (the tensors
/// say that), how training went, and settings of what another key would have to turn on.
constexpr std::string_view harmless[] = {
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "peft_version",
    "target_modules",
    "exclude_modules",
    "fan_in_fan_out",
    "layers_to_transform",
    "layers_pattern",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "rank_dropout",
    "module_dropout",
    "rank_dropout_scale",
    "init_weights",
    "use_effective_conv2d",
    "ensure_weight_tying",
    "runtime_config",
};

/// Keys that are read below.
constexpr std::string_view understood[] = {
    "peft_type",     "r",    "lora_alpha",        "alpha",           "lora_dropout",   "use_rslora",      "rank_pattern",
    "alpha_pattern", "bias", "init_lora_weights", "modules_to_save", "decompose_both", "decompose_factor"};

/// Why some others are refused.
constexpr std::pair<std::string_view, std::string_view> reasons[] = {
    {"use_dora", "DoRA scales every row of the weight anew, which has no equal here"},
    {"lora_bias", "a bias of lora_B has no equal here"},
    {"target_parameters", "only whole linear layers can be adapted"},
    {"layer_replication", "models with repeated layers have no equal here"},
    {"trainable_token_indices", "an image has no vocabulary"},
    {"use_qalora", "QALoRA's grouped inputs have no equal here"},
    {"alora_invocation_tokens", "an adapter that is switched on by tokens has no equal here"},
};

template <size_t N>
bool contains(const std::string_view (&list)[N], std::string_view key) {
  return std::find(std::begin(list), std::end(list), key) != std::end(list);
}

[[noreturn]] void fail(const std::string& key, const std::string& fault) {
  throw std::runtime_error(fmt::format("'{}': {}", key, fault));
}

double number(const std::string& key, const json& value) {
  const double found = value.is_number() ? value.get<double>() : NAN;
  if (!std::isfinite(found)) fail(key, fmt::format("expected a number, got {}", formats::shown(value)));
  return found;
}

int64_t whole(const std::string& key, const json& value, int64_t least) {
  const double found = number(key, value);
  if (!value.is_number_integer() || found < static_cast<double>(least) || found > 1e9) {
    fail(key, fmt::format("expected a whole number of at least {}, got {}", least, formats::shown(value)));
  }
  return value.get<int64_t>();
}

bool flag(const std::string& key, const json& value) {
  if (!value.is_boolean() && !value.is_null()) fail(key, fmt::format("expected true or false, got {}", formats::shown(value)));
  return value.is_boolean() && value.get<bool>();
}

std::vector<std::string> names(const std::string& key, const json& value) {
  std::vector<std::string> found;
  if (value.is_null()) return found;
  if (!value.is_array()) fail(key, fmt::format("expected a list of names, got {}", formats::shown(value)));
  for (const auto& name : value) {
    if (!name.is_string()) fail(key, fmt::format("expected a list of names, one is {}", formats::shown(name)));
    found.push_back(name.get<std::string>());
  }
  return found;
}

/// A key of `rank_pattern` or `alpha_pattern` as a module's name or the end of one, or with a `^` before it a whole name; nothing
/// where it is a pattern indeed. PEFT looks for `(.*\.)?(key)$`.
std::optional<std::string> module_name(std::string pattern) {
  if (!pattern.empty() && pattern.back() == '$') pattern.pop_back();
  const bool whole = pattern.starts_with('^');
  std::string name;
  for (size_t i = whole ? 1 : 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size() && pattern[i + 1] == '.') ++i;
    if (std::isalnum(static_cast<unsigned char>(pattern[i])) == 0 && pattern[i] != '_' && pattern[i] != '.') return {};
    name += pattern[i];
  }
  return name.empty() ? std::nullopt : std::optional(whole ? "^" + name : name);
}

/// `key`'s object of module names and values.
template <class Read>
auto pattern(const json& config, const std::string& key, const Read& read) {
  std::map<std::string, decltype(read(key, config))> found;
  const auto entry = config.find(key);
  if (entry == config.end() || entry->is_null()) return found;
  if (!entry->is_object()) fail(key, fmt::format("expected an object, got {}", formats::shown(*entry)));
  for (const auto& [text, value] : entry->items()) {
    const auto name = module_name(text);
    if (!name) fail(key, fmt::format("'{}' is a pattern; only names of modules, or the ends of names, are understood", text));
    const auto own = read(key, value);
    if (const auto [held, added] = found.emplace(*name, own); !added && held->second != own)
      fail(key, fmt::format("'{}' is there twice, with other values", *name));
  }
  return found;
}

/// `true`, `false` and the initializations that leave the base as it is.
void check_initialization(const json& value) {
  static const std::vector<std::string> leave_base = {"gaussian", "eva", "orthogonal"};
  if (value.is_boolean() || value.is_null()) return;
  if (value.is_string() && std::find(leave_base.begin(), leave_base.end(), value.get<std::string>()) != leave_base.end()) return;
  fail("init_lora_weights",
       fmt::format("{} may have changed the base's weights at the start, which this file does not hold; PEFT "
                   "converts such an adapter: save_pretrained(…, "
                   "path_initial_model_for_weight_conversion=…)",
                   formats::shown(value)));
}

/// Whether a value turns nothing on.
bool off(const json& value) {
  return value.is_null() || value == false || value == "" || (value.is_structured() && value.empty());
}

/// Everything that is not understood must be off.
void check_others(const json& config) {
  for (const auto& [key, value] : config.items()) {
    if (contains(harmless, key) || contains(understood, key) || off(value)) continue;
    const auto known =
        std::find_if(std::begin(reasons), std::end(reasons), [&, &k = key](const auto& r) { return r.first == k; });
    fail(key, known != std::end(reasons)
                  ? std::string(known->second)
                  : fmt::format("{} is not understood here and may change what is computed", formats::shown(value)));
  }
  if (const auto bias = config.find("bias"); bias != config.end() && *bias != "none" && !bias->is_null()) {
    fail("bias", fmt::format("{}: biases that are trained with the adapter have no place here", formats::shown(*bias)));
  }
}

const Type& type_of(const json& config) {
  const auto found = config.find("peft_type");
  if (found == config.end()) fail("peft_type", "it is missing");
  for (const auto& type : types) {
    if (*found == type.peft) return type;
  }
  fail("peft_type", fmt::format("{} has no equal here; LORA, LOHA and LOKR have", formats::shown(*found)));
}

}  // namespace

double PeftConfig::alpha_of(const std::string& module) const {
  const std::pair<const std::string, double>* found = nullptr;
  const auto look = [&](const std::string& name) {
    const auto entry = alphas.find(name);
    if (entry == alphas.end()) return;
    if (found && found->second != entry->second)
      fail("alpha_pattern", fmt::format("both '{}' and '{}' mean '{}'", found->first, entry->first, module));
    found = &*entry;
  };
  look("^" + module);
  for (size_t begin = 0; begin != std::string::npos;) {
    look(module.substr(begin));
    const size_t dot = module.find('.', begin);
    begin = dot == std::string::npos ? dot : dot + 1;
  }
  return found ? found->second : alpha;
}

PeftConfig peft_config_from_json(const std::string& text) {
  const json document = formats::parse_json(text);
  if (!document.is_object()) throw std::runtime_error("not a JSON object");
  const Type& type = type_of(document);
  check_others(document);
  PeftConfig config;
  config.method = type.method;
  const auto read = [&](const std::string& key, auto& value, const auto& reader) {
    const auto found = document.find(key);
    if (found != document.end()) value = reader(key, *found);
  };
  const auto rank = [](const std::string& key, const json& value) { return whole(key, value, 1); };
  read("r", config.rank, rank);
  read(type.alpha, config.alpha, number);
  read("modules_to_save", config.saved, names);
  if (config.method == "lora") {
    read("lora_dropout", config.dropout, number);
    read("use_rslora", config.rank_stabilized, flag);
    check_initialization(document.value("init_lora_weights", json(true)));
  } else if (config.method == "lokr") {
    read("decompose_both", config.decompose_both, flag);
    read("decompose_factor", config.factor, [](const std::string& key, const json& value) { return whole(key, value, -1); });
  }
  config.ranks = pattern(document, "rank_pattern", rank);
  config.alphas = pattern(document, "alpha_pattern", number);
  return config;
}

std::string to_json(const PeftConfig& config) {
  const auto type = std::find_if(std::begin(types), std::end(types), [&](const Type& t) { return config.method == t.method; });
  const auto tidy = [](double value) {
    return value == std::floor(value) && std::abs(value) < 1e9 ? json(int64_t(value)) : json(value);
  };
  nlohmann::ordered_json document;
  document["peft_type"] = type->peft;
  document["task_type"] = nullptr;
  document["base_model_name_or_path"] = nullptr;
  document["inference_mode"] = true;
  document["r"] = config.rank;
  document[type->alpha] = tidy(config.alpha);
  document["rank_pattern"] = config.ranks;
  auto& alphas = document["alpha_pattern"] = json::object();
  for (const auto& [module, alpha] : config.alphas) alphas[module] = tidy(alpha);
  document["target_modules"] = config.targets;
  document["modules_to_save"] = config.saved.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(config.saved);
  if (config.method == "lora") {
    document["lora_dropout"] = config.dropout;
    document["bias"] = "none";
    document["fan_in_fan_out"] = false;
    document["use_rslora"] = config.rank_stabilized;
  } else if (config.method == "lokr") {
    document["decompose_both"] = config.decompose_both;
    document["decompose_factor"] = config.factor;
  }
  return formats::to_text(document, 2) + "\n";
}

}  // namespace respeft::adapters
