#pragma once

#include <CLI/App.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/preprocessing.h>
#include <respeft/core/options.h>

namespace respeft::cli {

/// `--method` and the options of all methods, e.g. `--rank 8 --targets q,v`; a method's option `pre_num` is `--pre-num`.
struct MethodFlags {
  std::string name;                           ///< empty: not given
  std::map<std::string, std::string> values;  ///< what was given, by option name (underscores)

  void declare(CLI::App& app, const std::string& default_name = "", const std::string& group = "Method");
  /// The given options, typed as method `method` has them. Throws `std::invalid_argument` for an option that it does not
  /// have (saying which it has) and for a value of the wrong type.
  Options options(const std::string& method) const;
  Options options() const { return options(name); }
};

/// How images become pixels, where the files do not say: `--mean`, `--std`, `--interpolation`, `--resize-size`, `--resize-mode`.
struct PreprocessingFlags {
  std::string mean, std, interpolation, resize_mode;  ///< `0.485,0.456,0.406`; empty: not given
  std::optional<int64_t> resize_size;

  void declare(CLI::App& app);
  /// `files` with what was given put over it.
  data::Preprocessing apply(data::Preprocessing files) const;
};

/// Which model a command works on.
struct ModelFlags {
  std::string model, weights, adapter, pool, run, torchscript;
  std::optional<int64_t> image_size, num_classes;
  bool any_base = false;
  MethodFlags method;  ///< for adapter files without metadata

  /// `with_torchscript`: whether `--torchscript` is offered.
  void declare(CLI::App& app, bool with_torchscript);
};

/// A value written on the command line as the type that `like` has. Throws `std::invalid_argument` naming `flag`.
OptionValue parse_value(const std::string& flag, const std::string& text, const OptionValue& like);

/// A value as it is written on the command line: `on` and `off`, numbers, text.
std::string value_text(const OptionValue& value);

/// An option's flag: `pre_num` -> `--pre-num`.
std::string flag_name(const std::string& option);

}  // namespace respeft::cli
