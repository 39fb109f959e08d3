#include "src/cli/command.h"

#include <ATen/Parallel.h>

#include <CLI/Validators.hpp>
#include <stdexcept>

namespace respeft::cli {

void Command::declare_common(CLI::App& app) {
  app.add_option("--config", config_.origin, "a TOML file with these flags' names as keys; flags on the command line win")
      ->type_name("FILE")
      ->group("General");
  app.add_option("--threads", threads_, "threads for the computation; default: all cores")->type_name("N")->group("General");
  app.add_flag("--json", json_, "print one JSON document instead of text")->group("General");
}

void Command::apply_common() const {
  if (threads_ < 0) throw std::invalid_argument("--threads: must be at least 1");
  if (threads_ > 0) at::set_num_threads(threads_);
}

}  // namespace respeft::cli
