#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/formats/safetensors.h>
#include <respeft/models/weights.h>

#include "src/cli/command.h"
#include "src/cli/loading.h"
#include "src/cli/merging.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

class Merge : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("--out", out_, "file for the merged weights (safetensors, timm's names)")->type_name("FILE")->group("Output");
    model_.declare(app, /*with_torchscript=*/false);
    preprocessing_.declare(app);
    merge_.declare(app);
  }

  int run() override {
    if (out_.empty()) throw std::invalid_argument("where to? Give --out FILE.safetensors");
    check_output_place(out_);
    merge_.take_method(model_.method);
    const InterruptGuard guard;
    runs::LoadedRun model = load_model(model_, preprocessing_);
    refuse_to_overwrite("--out", out_, model.files);
    if (!model.attachment) throw std::invalid_argument("nothing to merge: give --adapter FILE or --run DIR");
    const Probe probe = merge_.probe(model);
    const Merged merged = merge_.merge(model, probe);
    if (!json() && !merged.trials.empty()) print(describe(merged.trials) + "\n");
    merge_.check(merged);
    const auto state = models::plain_state(*model.model);
    if (InterruptGuard::flag()) throw Interrupted("stopped; nothing was written");
    formats::save_safetensors(out_, state, model.metadata());
    if (json()) {
      print_json({{"out", out_},
                  {"model", model.name},
                  {"exact", merged.report.exact()},
                  {"method", merged.how},
                  {"random_head", merged.random_head},
                  {"merges", to_json(merged.trials)},
                  {"compared_on", probe.description},
                  {"comparison", to_json(merged.comparison)},
                  {"sites", to_json(merged.report)}});
    } else {
      print_text(merged, probe, state);
    }
    return kDone;
  }

 private:
  void print_text(const Merged& merged, const Probe& probe, const TensorMap& state) const {
    Table table({"site", "fold", "weight change", "bias change"});
    for (const auto& site : merged.report.sites) {
      table.add({site.name, site.exact ? "exact" : "approximate", percent(site.weight_change),
                 site.adds_bias ? "added" : percent(site.bias_change)});
    }
    if (!merged.report.sites.empty()) print(table.text() + "\n");
    if (merged.report.sites.empty()) print_line("The adapter has nothing to merge: its trained weights are already plain.\n");
    if (!merged.trials.empty()) print_line(fmt::format("Merged by {}.", merged.how));
    print(describe(merged.comparison, probe, merged.random_head));
    print_line(fmt::format("\n{}: {} tensors, {}", out_, count(static_cast<int64_t>(state.size())),
                           bytes(static_cast<int64_t>(std::filesystem::file_size(out_)))));
  }

  std::string out_;
  ModelFlags model_;
  PreprocessingFlags preprocessing_;
  MergeFlags merge_;
};

}  // namespace

std::unique_ptr<Command> make_merge() {
  return std::make_unique<Merge>();
}

}  // namespace respeft::cli
