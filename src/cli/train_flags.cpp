#include "src/cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>

#include <respeft/methods/method.h>
#include <respeft/runs/run.h>

#include "src/cli/output.h"

// The flags are the fields of the settings, which say their names, ranges and help texts: runs/config.cpp, train/options.cpp,
// data/image/options.cpp, and the options of the methods.
namespace respeft::cli {
namespace {

bool is_setting(const std::string& name) {
  runs::TrainConfig defaults;
  if (defaults.fields().find(name) != nullptr) return true;
  return std::ranges::any_of(methods::registry(), [&](const auto& entry) { return entry.options.find(name) != nullptr; });
}

}  // namespace

void TrainFlags::declare(CLI::App& app, std::vector<std::string> without) {
  app_ = &app;
  without.push_back("threads");  // every command has it
  runs::TrainConfig defaults;
  for (const auto& field : defaults.fields()) {
    const std::string& name = field.info.name;
    if (std::find(without.begin(), without.end(), name) != without.end()) continue;
    if (name == "method") {
      method_.declare(app, field.text());
    } else {
      declare_field(field);
    }
  }
  app.add_flag("--resume", resume_, "continue what is in --out from its last checkpoint")->group("Run");
}

void TrainFlags::declare_field(const Field& field) {
  const auto keep = [this, name = field.info.name](const std::string& text) { given_.emplace_back(name, text); };
  const std::string flag = flag_name(field.info.name), value = field.text();
  if (field.is_switch()) {
    declare_switch(*app_, field, keep)->description(field.info.help + (value == "true" ? "; on unless " + flag + "=false" : ""));
  } else {
    declare_value(*app_, field, keep)->default_str(value);
  }
}

runs::ConfigSources TrainFlags::sources(int threads, const TomlDocument& file) const {
  runs::ConfigSources sources;
  sources.file = file;
  std::erase_if(sources.file.entries, [](const TomlEntry& entry) { return !is_setting(entry.name); });  // e.g. `json`
  sources.settings = given_;
  if (app_->count("--method") > 0) sources.settings.emplace_back("method", method_.name);
  for (const auto& [name, text] : method_.values) sources.settings.emplace_back(name, text);
  if (threads > 0) sources.settings.emplace_back("threads", std::to_string(threads));
  sources.resume = resume_;
  sources.called = flag_name;
  sources.note = [](const std::string& line) { note(line); };
  return sources;
}

bool TrainFlags::note_protocol(const runs::TrainConfig& config) const {
  if (config.protocol != "paper" || config.recipe.empty() || !given("protocol").empty()) return false;
  if (resume_ && runs::started_config(config.out)) return false;
  note(fmt::format("protocol paper, by recipe {}: the epoch is chosen on the TEST split; --protocol honest chooses it on val",
                   config.recipe));
  return true;
}

}  // namespace respeft::cli
