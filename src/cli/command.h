#pragma once

#include <CLI/App.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/toml.h>

namespace respeft::cli {

/// What the program's exit status says.
enum ExitStatus : int {
  kDone = 0,
  kFailed = 1,         ///< the work failed, or a tolerance was exceeded
  kUsage = 2,          ///< the command line or the configuration is wrong
  kInterrupted = 130,  ///< stopped with Ctrl-C, as shells have it
};

/// One command of the program, e.g. `respeft merge`. One file a command; the list is in main.cpp.
///
/// `declare` adds the command's flags to `app`, bound to members; then the command line and the `--config` file are read;
/// then `run` does the work and returns the exit status. Every key of a `--config` file is the name of a flag.
/// Errors are exceptions: `std::invalid_argument` and `CLI::ParseError` end the program with status 2, others with 1, each
/// with one line on stderr. Results are printed with output.h to stdout, progress and notes to stderr.
class Command {
 public:
  virtual ~Command() = default;

  virtual void declare(CLI::App& app) = 0;
  virtual int run() = 0;

  /// Adds the flags that every command has: `--config`, `--threads`, `--json`.
  void declare_common(CLI::App& app);
  /// Keeps the `--config` file, whose values the flags have already.
  void take_config(TomlDocument config) { config_ = std::move(config); }
  /// Sets LibTorch's number of threads as the flag says.
  void apply_common() const;

 protected:
  bool json() const { return json_; }  ///< whether stdout is to be one JSON document
  int threads() const { return threads_; }
  const TomlDocument& config_file() const { return config_; }  ///< the `--config` file; without entries where none was given

 private:
  TomlDocument config_;
  bool json_ = false;
  int threads_ = 0;  ///< 0: LibTorch's own choice
};

/// An entry of the program's list of commands.
struct CommandEntry {
  std::string name;
  std::string summary;   ///< one line without a full stop
  std::string examples;  ///< printed under the help: whole command lines, one a line
  std::function<std::unique_ptr<Command>()> create;
};

std::unique_ptr<Command> make_train();
std::unique_ptr<Command> make_eval();
std::unique_ptr<Command> make_predict();
std::unique_ptr<Command> make_merge();
std::unique_ptr<Command> make_export();
std::unique_ptr<Command> make_inspect();
std::unique_ptr<Command> make_info();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_doctor();
std::unique_ptr<Command> make_recipes();
std::unique_ptr<Command> make_suite();

}  // namespace respeft::cli
