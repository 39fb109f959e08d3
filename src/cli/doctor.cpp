#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/image/check.h>
#include <respeft/models/weights_check.h>
#include <respeft/nn/names.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/flags.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

using data::Finding;
using data::Severity;

/// Items of a warning or a note that are printed; an error's are printed all.
constexpr size_t kShown = 10;

std::string size_text(const std::array<int64_t, 2>& size) {
  return fmt::format("{}×{}", size[0], size[1]);
}

class Doctor : public Command {
 public:
  void declare(CLI::App& app) override {
    const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help,
                         const std::string& group) { return app.add_option(flag, value, help)->type_name(type)->group(group); };
    std::vector<std::string> kinds;
    for (const auto& kind : data::dataset_kinds()) kinds.push_back(kind.name + ":PATH");
    add("--data", data_, "KIND:PATH", text::join(kinds, ", "), "Data");
    add("--split", split_, "X,…", "shares by which a folder of classes is split, as train's --split", "Data");
    app.add_flag("--any-size", any_size_, "accept numbers of images and classes that differ from the published ones")
        ->group("Data");
    add("--workers", workers_, "N", "threads that decode images", "Data")->default_str("2");
    add("--weights", weights_, "FILE", "pretrained weights to compare with --model", "Model");
    add("--state-dict", state_dict_, "KEY", kStateDictHelp, "Model");
    add("--model", model_, "NAME", "timm's name of the architecture, e.g. vit_base_patch16_224", "Model");
    add("--image-size", image_size_, "N", "pixels per side of the input; default: the model's own", "Model");
    add("--pool", pool_, "NAME", "input of the head: token or avg; default: the model's own", "Model");
    app.add_flag("--allow-warnings", allow_warnings_, "exit with status 0 even with warnings")->group("General");
    preprocessing_.declare(app);
  }

  int run() override {
    if (data_.empty() && weights_.empty())
      throw std::invalid_argument("nothing to check: give --data KIND:PATH or --weights FILE");
    if (weights_.empty() != model_.empty()) throw std::invalid_argument("--weights and --model go together");
    if (workers_ < 0) throw std::invalid_argument("--workers: must be at least 0");
    preprocessing_.apply({});  // throws on what cannot be
    if (!data_.empty()) check_data();
    if (!weights_.empty()) check_weights();
    std::stable_sort(findings_.begin(), findings_.end(), [](auto& a, auto& b) { return a.severity > b.severity; });
    json() ? print_json(document()) : print(text());
    return fine() ? kDone : kFailed;
  }

 private:
  bool fine() const { return !data::has_findings(findings_, allow_warnings_ ? Severity::error : Severity::warning); }

  void check_data() {
    Progress* shown = nullptr;
    std::optional<Progress> progress;
    report_ = data::check_data(
        data_, {.dataset = {split_}, .workers = workers_, .any_size = any_size_, .progress = [&](int64_t done, int64_t total) {
                  if (!shown) shown = &progress.emplace("decoding", total, "images");
                  shown->update(done);
                }});
    findings_ = report_->findings;
  }

  void check_weights() {
    const int64_t classes = report_ && !report_->class_names.empty() ? static_cast<int64_t>(report_->class_names.size()) : 0;
    try {
      weights_check_ = models::check_weights(weights_, model_, {.num_classes = classes, .image_size = image_size_, .pool = pool_},
                                             state_dict_);
    } catch (const std::runtime_error& error) {
      if (!report_) throw;
      findings_.push_back({Severity::error, "weights", error.what(), {}});  // what was found of the data is shown all the same
      return;
    }
    data::Preprocessing planned;  // as training does it where nothing else is given
    if (const auto& known = weights_check_->normalization) planned.mean = known->mean, planned.std = known->std;
    planned = preprocessing_.apply(planned);
    auto found = models::weight_findings(*weights_check_, weights_, model_, classes, planned);
    findings_.insert(findings_.end(), found.begin(), found.end());
  }

  nlohmann::json document() const {
    nlohmann::json document = {{"ok", fine()}, {"findings", nlohmann::json::array()}};
    for (const auto& finding : findings_) {
      document["findings"].push_back({{"severity", data::to_string(finding.severity)},
                                      {"check", finding.check},
                                      {"message", finding.message},
                                      {"items", finding.items}});
    }
    if (report_) document["data"] = data_document();
    if (weights_check_) document["weights"] = weights_document();
    return document;
  }

  nlohmann::json data_document() const {
    const auto& images = report_->images;
    nlohmann::json splits = nlohmann::json::array();
    for (const auto& split : report_->splits) {
      splits.push_back({{"split", data::to_string(split.split)},
                        {"images", split.images},
                        {"published", split.published ? nlohmann::json(*split.published) : nlohmann::json()},
                        {"class_images", split.class_images}});
    }
    return {{"spec", data_},
            {"name", report_->name},
            {"class_names", report_->class_names},
            {"splits", splits},
            {"images",
             {{"different", images.images},
              {"unreadable", images.unreadable},
              {"kinds", images.kinds},
              {"smallest", images.smallest},
              {"median", images.median},
              {"largest", images.largest}}}};
  }

  nlohmann::json weights_document() const {
    const auto& check = *weights_check_;
    nlohmann::json document = {{"file", weights_},
                               {"model", model_},
                               {"layout", check.layout},
                               {"loads", check.fault.empty()},
                               {"matched", check.matched},
                               {"missing", check.missing},
                               {"unused", check.unused},
                               {"wrong_shapes", check.wrong_shapes},
                               {"not_finite", check.not_finite},
                               {"head_classes", check.head_classes},
                               {"positions_resampled", check.positions_resampled()},
                               {"file_grid", check.file_grid},
                               {"model_grid", check.model_grid},
                               {"file_patch", check.file_patch},
                               {"model_patch", check.model_patch},
                               {"normalization", nullptr}};
    if (check.normalization) {
      document["normalization"] = {
          {"mean", check.normalization->mean}, {"std", check.normalization->std}, {"source", check.normalization->source}};
    }
    return document;
  }

  std::string data_text() const {
    const auto& images = report_->images;
    std::vector<std::string> kinds;
    for (const auto& [kind, number] : images.kinds) kinds.push_back(fmt::format("{} {}", count(number), kind));
    std::vector<std::pair<std::string, std::string>> entries = {
        {"data", report_->name == data_ ? data_ : fmt::format("{} ({})", report_->name, data_)},
        {"classes", count(static_cast<int64_t>(report_->class_names.size()))},
        {"images", count(images.images) + (images.unreadable ? fmt::format(", {} unreadable", count(images.unreadable)) : "")}};
    if (!kinds.empty()) entries.emplace_back("stored as", text::join(kinds, ", "));
    if (images.images > images.unreadable) {
      entries.emplace_back("sizes", fmt::format("{} … {}, median {}", size_text(images.smallest), size_text(images.largest),
                                                size_text(images.median)));
    }
    Table table({"split", "images", "published", "fewest in a class", "most in a class"});
    for (const auto& split : report_->splits) {
      const auto [fewest, most] = std::minmax_element(split.class_images.begin(), split.class_images.end());
      const bool none = fewest == split.class_images.end();
      table.add({data::to_string(split.split), count(split.images), split.published ? count(*split.published) : "–",
                 none ? "–" : count(*fewest), none ? "–" : count(*most)});
    }
    return key_values(entries) + (report_->splits.empty() ? "" : "\n" + table.text()) + "\n";
  }

  std::string weights_text() const {
    const auto& check = *weights_check_;
    std::vector<std::pair<std::string, std::string>> entries = {
        {"weights", weights_},
        {"model", model_},
        {"layout", check.layout.empty() ? "not recognized" : check.layout},
        {"keys", fmt::format("{} match, {} missing, {} without a place", check.matched.size(),
                             check.missing.size() + check.wrong_shapes.size(), check.unused.size() + check.wrong_shapes.size())}};
    if (check.fault.empty() && !check.missing.empty()) entries.emplace_back("fresh", text::join(check.missing, ", "));
    if (check.fault.empty() && !check.unused.empty()) entries.emplace_back("left out", text::join(check.unused, ", "));
    if (check.file_patch != 0) entries.emplace_back("patches", fmt::format("{0}×{0} pixels", check.file_patch));
    if (check.file_grid != 0) {
      entries.emplace_back("positions", check.positions_resampled()
                                            ? fmt::format("{0}×{0}, resampled to {1}×{1}", check.file_grid, check.model_grid)
                                            : fmt::format("{0}×{0}", check.file_grid));
    }
    if (check.normalization) {
      entries.emplace_back("normalized",
                           fmt::format("mean {}, std {}: {}", models::channels_text(check.normalization->mean),
                                       models::channels_text(check.normalization->std), check.normalization->source));
    }
    return key_values(entries) + "\n";
  }

  std::string text() const {
    std::string result;
    if (report_) result += data_text();
    if (weights_check_) result += weights_text();
    for (const auto& finding : findings_) {
      result += fmt::format("{}: {}\n", data::to_string(finding.severity), finding.message);
      const size_t shown = finding.severity == Severity::error ? finding.items.size() : std::min(kShown, finding.items.size());
      for (size_t i = 0; i < shown; ++i) result += "  " + finding.items[i] + "\n";
      if (shown < finding.items.size())
        result += fmt::format("  and {} more; --json has them all\n", finding.items.size() - shown);
    }
    const auto number = [&](Severity severity) {
      return std::count_if(findings_.begin(), findings_.end(), [&](const Finding& f) { return f.severity == severity; });
    };
    const auto errors = number(Severity::error), warnings = number(Severity::warning);
    if (!findings_.empty()) result += "\n";
    result += errors + warnings == 0 ? "Nothing is wrong.\n"
                                     : fmt::format("{} error{}, {} warning{}.\n", errors, errors == 1 ? "" : "s", warnings,
                                                   warnings == 1 ? "" : "s");
    return result;
  }

  std::string data_, split_, weights_, model_, pool_, state_dict_;
  std::optional<int64_t> image_size_;
  int64_t workers_ = 2;
  bool any_size_ = false, allow_warnings_ = false;
  PreprocessingFlags preprocessing_;

  std::optional<data::DataReport> report_;
  std::optional<models::WeightsCheck> weights_check_;
  std::vector<Finding> findings_;
};

}  // namespace

std::unique_ptr<Command> make_doctor() {
  return std::make_unique<Doctor>();
}

}  // namespace respeft::cli
