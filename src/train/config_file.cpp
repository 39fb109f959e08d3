#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/io/file.h>
#include <respeft/methods/method.h>
#include <respeft/train/config.h>

#include "src/train/config_values.h"
#include "src/util/text.h"

namespace respeft::train {
namespace {

/// Reads one value; `false` when the node has another type.
bool read(const FieldInfo&, const toml::node& node, std::string& value) {
  if (!node.is_string()) return false;
  value = node.as_string()->get();
  return true;
}

bool read(const FieldInfo&, const toml::node& node, bool& value) {
  if (!node.is_boolean()) return false;
  value = node.as_boolean()->get();
  return true;
}

bool read(const FieldInfo&, const toml::node& node, int64_t& value) {
  if (!node.is_integer()) return false;
  value = node.as_integer()->get();
  return true;
}

bool read(const FieldInfo&, const toml::node& node, double& value) {
  if (!node.is_number()) return false;
  value = node.is_integer() ? static_cast<double>(node.as_integer()->get()) : node.as_floating_point()->get();
  return true;
}

bool read(const FieldInfo& info, const toml::node& node, values::Rgb& value) {
  if (node.is_string()) {
    values::parse(info, node.as_string()->get(), value);
    return true;
  }
  const auto* array = node.as_array();
  if (array == nullptr || array->size() != value.size()) return false;
  for (size_t i = 0; i < value.size(); ++i) {
    if (!read(info, *array->get(i), value[i])) return false;
  }
  return true;
}

const char* type_name(const std::string&) { return "a text in quotes"; }
const char* type_name(bool) { return "true or false"; }
const char* type_name(int64_t) { return "a whole number"; }
const char* type_name(double) { return "a number"; }
const char* type_name(const values::Rgb&) { return "three numbers [R, G, B] or a name"; }

/// Reads a TOML document into a configuration; knows where it is, so that errors can say so.
class Reader {
 public:
  Reader(const std::string& origin, TrainConfig& config) : origin_(origin), config_(config) {}

  void read_document(const toml::table& document, std::vector<std::string>* given) {
    auto known = values::field_names();
    known.emplace_back("method_options");
    for (const auto& [key, node] : document) {
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) fail(node, util::unknown("key", name, known));
      if (given != nullptr) given->push_back(name);
    }
    visit_fields(config_, [&](const FieldInfo& info, auto& member) {
      if (const toml::node* node = document.get(info.name)) read_field(info, *node, member);
    });
    if (const toml::node* node = document.get("method_options")) read_method_options(*node);
  }

 private:
  [[noreturn]] void fail(const toml::node& node, const std::string& fault) const {
    throw std::invalid_argument(fmt::format("{}, line {}: {}", origin_, node.source().begin.line, fault));
  }

  template <class T>
  void read_field(const FieldInfo& info, const toml::node& node, T& member) const {
    try {
      T value = member;
      if (!read(info, node, value)) throw std::invalid_argument(fmt::format("must be {}", type_name(value)));
      values::check(info, value);
      member = value;
    } catch (const std::invalid_argument& error) {
      fail(node, fmt::format("{}: {}", info.name, error.what()));
    }
  }

  void read_method_options(const toml::node& node) {
    const auto* table = node.as_table();
    if (table == nullptr) fail(node, "method_options: must be a table");
    const auto& known = methods::find(config_.method).options;
    for (const auto& [key, value] : *table) {
      const std::string name(key.str());
      const auto option = std::find_if(known.begin(), known.end(), [&](const OptionInfo& info) { return info.name == name; });
      if (option == known.end()) {
        std::vector<std::string> names;
        for (const auto& info : known) names.push_back(info.name);
        fail(value, names.empty() ? fmt::format("method '{}' has no options, but '{}' is given", config_.method, name)
                                  : util::unknown(fmt::format("option of method '{}'", config_.method), name, names));
      }
      const FieldInfo info{.name = option->name.c_str(), .help = ""};
      std::visit(
          [&](auto like) {
            read_field(info, value, like);
            config_.method_options[name] = like;
          },
          option->default_value);
    }
  }

  std::string origin_;
  TrainConfig& config_;
};

TrainConfig parse(const std::string& text, const std::string& origin, TrainConfig config, std::vector<std::string>* given) {
  toml::table document;
  try {
    document = toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    throw std::invalid_argument(fmt::format("{}, line {}: {}", origin, error.source().begin.line, error.description()));
  }
  Reader(origin, config).read_document(document, given);
  return config;
}

}  // namespace

TrainConfig parse_config(const std::string& toml, const std::string& origin, TrainConfig defaults) {
  return parse(toml, origin, std::move(defaults), nullptr);
}

TrainConfig read_config(const std::string& path, TrainConfig defaults, std::vector<std::string>* given) {
  return parse(io::read_file(path), path, std::move(defaults), given);
}

}  // namespace respeft::train
