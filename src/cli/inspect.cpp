#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numbers>
#include <stdexcept>

#include <respeft/inspect/inspect.h>
#include <respeft/merge/merge.h>
#include <respeft/models/weights.h>

#include "src/cli/command.h"
#include "src/cli/loading.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

constexpr const char* kLegend =
    "change: ‖W' − W‖ / ‖W‖.  rank: effective rank of W' − W.  σ1: largest singular value, before and after.\n"
    "largest Δσ: of all singular values, relative to σ1.  angles: largest principal angle between the leading {} left (right)\n"
    "singular directions of W and W', in degrees.\n";

double degrees(double radians) {
  return radians * 180.0 / std::numbers::pi;
}

/// The largest change of a singular value, relative to the largest singular value of the base.
double largest_shift(const WeightChange& change) {
  double largest = 0;
  for (size_t i = 0; i < change.singular_values.size(); ++i) {
    largest = std::max(largest, std::abs(change.changed_values[i] - change.singular_values[i]));
  }
  return change.singular_values.empty() || change.singular_values[0] == 0 ? 0 : largest / change.singular_values[0];
}

class Inspect : public Command {
 public:
  void declare(CLI::App& app) override {
    const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
      return app.add_option(flag, value, help)->type_name(type)->group("View");
    };
    add("--directions", directions_, "K", "number of leading singular directions to compare")->default_str("8");
    add("--layers", layers_, "TEXT", "only layers with this in their name, e.g. blocks.3. or fc1");
    model_.declare(app, /*with_torchscript=*/false);
  }

  int run() override {
    if (directions_ < 1) throw std::invalid_argument("--directions: must be at least 1");
    runs::LoadedRun adapted = load_model(model_);
    if (!adapted.attachment) throw std::invalid_argument("nothing to inspect: give --adapter FILE or --run DIR");
    if (adapted.weights.empty()) throw std::invalid_argument("the base's weights are needed: give --weights FILE");
    const auto base = load_base(adapted);
    if (has_adapters(*adapted.model)) merge(*adapted.model);
    compare(weight_matrices(*base), weight_matrices(*adapted.model));
    json() ? print_json(document(adapted)) : print(text());
    return kDone;
  }

 private:
  static std::shared_ptr<models::Model> load_base(const runs::LoadedRun& adapted) {
    auto base = models::create(
        adapted.name,
        {.num_classes = adapted.model->num_classes(), .image_size = adapted.model->input().side(), .pool = adapted.pool});
    models::load_weights(*base, adapted.weights, adapted.state_dict);
    return base;
  }

  void compare(const std::vector<WeightMatrix>& before, const std::vector<WeightMatrix>& after) {
    const at::NoGradGuard no_grad;
    Progress progress("decomposing", static_cast<int64_t>(before.size()), "matrices");
    size_t matching = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      progress.advance();
      if (before[i].name.find(layers_) == std::string::npos) continue;
      ++matching;
      if (before[i].weight.equal(after[i].weight)) {
        unchanged_.push_back(before[i].name);
      } else {
        changes_.push_back(compare_weights(before[i].name, before[i].weight, after[i].weight, directions_));
      }
    }
    if (matching == 0) throw std::invalid_argument(fmt::format("--layers: no layer has '{}' in its name", layers_));
  }

  nlohmann::json document(const runs::LoadedRun& model) const {
    nlohmann::json layers = nlohmann::json::array();
    for (const auto& change : changes_) {
      layers.push_back({{"name", change.name},
                        {"shape", change.shape},
                        {"relative_change", change.relative_change},
                        {"effective_rank", change.effective_rank},
                        {"singular_values", change.singular_values},
                        {"changed_values", change.changed_values},
                        {"left_angles", change.left_angles},
                        {"right_angles", change.right_angles}});
    }
    return {{"model", model.name},
            {"method", model.attachment->method()},
            {"directions", directions_},
            {"layers", layers},
            {"unchanged", unchanged_}};
  }

  std::string text() const {
    Table table({"layer", "change", "rank", "σ1", "largest Δσ", "left angle", "right angle"});
    for (const auto& change : changes_) {
      table.add({change.name, percent(change.relative_change), fmt::format("{:.1f}", change.effective_rank),
                 fmt::format("{:.3f} → {:.3f}", change.singular_values.at(0), change.changed_values.at(0)),
                 percent(largest_shift(change)), fmt::format("{:.1f}°", degrees(change.left_angles.back())),
                 fmt::format("{:.1f}°", degrees(change.right_angles.back()))});
    }
    std::string result;
    if (!changes_.empty()) result = table.text() + "\n" + fmt::format(fmt::runtime(kLegend), directions_);
    if (!unchanged_.empty()) result += fmt::format("{} weight matrices did not change.\n", unchanged_.size());
    return result;
  }

  int64_t directions_ = 8;
  std::string layers_;
  ModelFlags model_;
  std::vector<WeightChange> changes_;
  std::vector<std::string> unchanged_;
};

}  // namespace

std::unique_ptr<Command> make_inspect() {
  return std::make_unique<Inspect>();
}

}  // namespace respeft::cli
