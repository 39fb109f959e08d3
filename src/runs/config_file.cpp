#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include <respeft/formats/file.h>
#include <respeft/methods/method.h>
#include <respeft/runs/config.h>

#include "src/runs/config_values.h"
#include <respeft/core/text.h>

namespace respeft::runs {
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

const char* type_name(const std::string&) {
  return "a text in quotes";
}
const char* type_name(bool) {
  return "true or false";
}
const char* type_name(int64_t) {
  return "a whole number";
}
const char* type_name(double) {
  return "a number";
}
const char* type_name(const values::Rgb&) {
  return "three numbers [R, G, B] or a name";
}

/// Reads a TOML document into a configuration; knows where it is, so that errors can say so.
class Reader {
 public:
  Reader(const std::string& origin, TrainConfig& config) : origin_(origin), config_(config) {}

  void read_document(const toml::table& document) {
    collect(document);
    visit_fields(config_, [&](const FieldInfo& info, auto& member) {
      if (const auto found = leaves_.find(info.name); found != leaves_.end()) {
        read_field(info, *found->second, member);
        leaves_.erase(found);
      }
    });
    for (const auto& [name, node] : leaves_) read_method_option(name, *node);
  }

 private:
  [[noreturn]] void fail(const toml::node& node, const std::string& fault) const {
    throw std::invalid_argument(fmt::format("{}:{}: {}", origin_, node.source().begin.line, fault));
  }

  /// Gathers the keys of all tables: a table only groups keys, its name has no meaning.
  void collect(const toml::table& table) {
    for (const auto& [key, node] : table) {
      if (const auto* inner = node.as_table()) {
        collect(*inner);
        continue;
      }
      std::string name(key.str());
      std::replace(name.begin(), name.end(), '-', '_');
      const auto [first, added] = leaves_.emplace(name, &node);
      if (added) continue;
      const bool later = node.source().begin.line > first->second->source().begin.line;
      fail(later ? node : *first->second, fmt::format("{} is given twice", name));
    }
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

  /// What is no field must be an option of the method.
  void read_method_option(const std::string& name, const toml::node& node) {
    auto known = values::field_names();
    const auto options = config_.method.empty() ? std::vector<OptionInfo>() : methods::find(config_.method).options;
    for (const auto& option : options) {
      known.push_back(option.name);
      if (option.name != name) continue;
      const FieldInfo info{.name = name.c_str(), .help = ""};
      std::visit(
          [&](auto value) {
            read_field(info, node, value);
            config_.method_options[name] = value;
          },
          option.default_value);
      return;
    }
    fail(node, text::unknown("key", name, known));
  }

  std::string origin_;
  TrainConfig& config_;
  std::map<std::string, const toml::node*> leaves_;
};

}  // namespace

TrainConfig parse_config(const std::string& text, const std::string& origin, TrainConfig config) {
  toml::table document;
  try {
    document = toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    throw std::invalid_argument(fmt::format("{}:{}: {}", origin, error.source().begin.line, error.description()));
  }
  Reader(origin, config).read_document(document);
  return config;
}

TrainConfig read_config(const std::string& path, TrainConfig defaults) {
  return parse_config(formats::read_file(path), path, std::move(defaults));
}

}  // namespace respeft::runs
