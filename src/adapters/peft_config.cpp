#include "src/adapters/peft_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
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
constexpr Type types[] = {
    {"LORA", "lora", "lora_alpha"}, {"LOHA", "loha", "alpha"}, {"LOKR", "lokr", "alpha"}, {"ADALORA", "lora", "lora_alpha"}};

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

/// Those of AdaLoRA: how ranks were pruned while it trained. The tensors have the ranks that were left.
constexpr std::string_view pruning[] = {"tinit", "tfinal",          "deltaT",     "beta1",
                                        "beta2", "orth_reg_weight", "total_step", "rank_pattern"};

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
  const double found = value.is_number_integer() ? value.get<double>() : NAN;
  if (!(found >= static_cast<double>(least) && found <= 1e9)) {
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

/// `key`'s object of patterns and values, in the order of the file: the first that matches a module counts.
ModulePatterns patterns(const nlohmann::ordered_json& config, const std::string& key,
                        const std::function<double(const std::string&, const json&)>& read) {
  ModulePatterns found;
  const auto entry = config.find(key);
  if (entry == config.end() || entry->is_null()) return found;
  if (!entry->is_object()) fail(key, fmt::format("expected an object, got {}", formats::shown(*entry)));
  for (const auto& [pattern, value] : entry->items()) {
    const double own = read(key, value);
    try {
      found.add(pattern, own);
    } catch (const std::runtime_error& error) {
      fail(key, fmt::format("'{}': {}", pattern, error.what()));
    }
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
void check_others(const json& config, bool allocated) {
  for (const auto& [key, value] : config.items()) {
    if (allocated && (contains(pruning, key) || key == "target_r" || key == "init_r")) continue;
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
  fail("peft_type", fmt::format("{} has no equal here; LORA, ADALORA, LOHA and LOKR have", formats::shown(*found)));
}

}  // namespace

double PeftConfig::alpha_of(const std::string& module) const {
  return alphas.find(module).value_or(alpha);
}

int64_t PeftConfig::rank_of(const std::string& module) const {
  return static_cast<int64_t>(ranks.find(module).value_or(static_cast<double>(rank)));
}

PeftConfig peft_config_from_json(const std::string& text) {
  const json document = formats::parse_json(text);
  if (!document.is_object()) throw std::runtime_error("not a JSON object");
  const Type& type = type_of(document);
  PeftConfig config;
  config.method = type.method;
  config.allocated = type.peft == std::string_view("ADALORA");
  check_others(document, config.allocated);
  const auto read = [&](const std::string& key, auto& value, const auto& reader) {
    const auto found = document.find(key);
    if (found != document.end()) value = reader(key, *found);
  };
  const auto rank = [](const std::string& key, const json& value) { return whole(key, value, 1); };
  if (config.allocated) config.rank = 12;  // PEFT's default
  read(config.allocated ? "init_r" : "r", config.rank, rank);
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
  const auto ordered = nlohmann::ordered_json::parse(text);
  config.alphas = patterns(ordered, "alpha_pattern", number);
  if (!config.allocated) {
    config.ranks = patterns(ordered, "rank_pattern", rank);
    return config;
  }
  config.target_rank = 8;  // PEFT's default
  read("target_r", config.target_rank, [](const std::string& key, const json& value) { return whole(key, value, 0); });
  if (config.alpha <= 0.0) fail(type.alpha, "AdaLoRA takes each module's rank for an alpha that is not above 0");
  config.alphas = {};  // AdaLoRA reads neither
  config.rank_stabilized = false;
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
  auto& ranks = document["rank_pattern"] = json::object();
  for (const auto& [module, rank] : config.ranks.entries()) ranks[module] = tidy(rank);
  auto& alphas = document["alpha_pattern"] = json::object();
  for (const auto& [module, alpha] : config.alphas.entries()) alphas[module] = tidy(alpha);
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
