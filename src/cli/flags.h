#pragma once

#include <CLI/App.hpp>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <respeft/core/fields.h>
#include <respeft/core/options.h>
#include <respeft/data/image/preprocessing.h>

namespace respeft::cli {

/// Called with the text that a flag was given.
using TakeText = std::function<void(const std::string&)>;

/// Adds a flag with a value for a field, under the field's name with dashes.
CLI::Option* declare_value(CLI::App& app, const Field& field, TakeText take);
/// Adds a switch for a true-or-false field; `--flag=false` turns it off.
CLI::Option* declare_switch(CLI::App& app, const Field& field, TakeText take);

/// Sets a field from a flag. Errors name the flag: "--lr: must be above 0, not -1".
void set_from_flag(Fields& fields, const std::string& name, const std::string& text);
/// The value that a flag's text stands for, with the same errors.
OptionValue parse_flag(const Field& field, const std::string& text);

/// `--method` and the options of all methods, e.g. `--rank 8 --targets q,v`; a method's option `pre_num` is `--pre-num`.
struct MethodFlags {
  std::string name;                           ///< empty: not given
  std::map<std::string, std::string> values;  ///< what was given, by option name (underscores)

  void declare(CLI::App& app, const std::string& default_name = "", const std::string& group = "Method");
  /// The given options, with the types that method `method` has for them. Throws `std::invalid_argument` for an option that it
  /// does not have (with the list of those it has) and for a bad value.
  Options options(const std::string& method) const;
  Options options() const { return options(name); }
};

/// How images become pixels, where the files do not say: `--mean`, `--std`, `--interpolation`, `--resize-size`, `--resize-mode`.
struct PreprocessingFlags {
  std::map<std::string, std::string> values;  ///< given flags, by the name of the field

  void declare(CLI::App& app);
  /// `files` with what was given put over it.
  data::Preprocessing apply(data::Preprocessing files) const;
};

/// Which model a command works on.
struct ModelFlags {
  std::string model, weights, state_dict, adapter, pool, run, torchscript;
  std::optional<int64_t> image_size, num_classes;
  bool any_base = false;
  MethodFlags method;  ///< for adapter files without metadata

  /// `with_torchscript`: whether `--torchscript` is offered.
  void declare(CLI::App& app, bool with_torchscript);
};

/// Help of `--state-dict`.
inline constexpr char kStateDictHelp[] =
    "which of several state dicts in the weights file: its name in the checkpoint, e.g. state_dict_ema, or the prefix of its "
    "tensors' names";

/// An option's flag: `pre_num` -> `--pre-num`.
std::string flag_name(const std::string& option);

}  // namespace respeft::cli
