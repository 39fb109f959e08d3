#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/core/text.h>
#include <respeft/export/checked.h>

#include "src/cli/command.h"
#include "src/cli/loading.h"
#include "src/cli/merging.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

class Export : public Command {
 public:
  void declare(CLI::App& app) override {
    std::vector<std::string> formats;
    for (const auto& format : exporting::registry()) formats.push_back(format.name + " (" + format.summary + ")");
    app.add_option("--format", format_, text::join(formats, "; "))
        ->type_name("NAME")
        ->default_str("torchscript")
        ->group("Output");
    app.add_option("--out", out_, "the exported file, or the new folder for a format that is one")
        ->type_name("PATH")
        ->group("Output");
    model_.declare(app, /*with_torchscript=*/false);
    preprocessing_.declare(app);
    merge_.declare(app);
  }

  int run() override {
    const ExportFormat& format = exporting::find(format_);
    if (out_.empty()) throw std::invalid_argument(fmt::format("where to? Give --out {}", format.folder ? "FOLDER" : "FILE"));
    format.folder ? check_output_folder(out_) : check_output_place(out_);
    merge_.take_method(model_.method);
    const InterruptGuard guard;
    runs::LoadedRun model = load_model(model_, preprocessing_);
    refuse_to_overwrite("--out", out_, model.files);
    if (format.adapters && !model.attachment)
      throw std::invalid_argument(fmt::format("--format {} writes an adapter: give --adapter or --run", format.name));
    const Probe probe = merge_.probe(model);
    std::optional<Merged> merged;
    if (!format.adapters && unmergeable_site(*model.model).empty()) {
      merged = merge_.merge(model, probe);
      merge_.check(*merged);
    }
    const auto written = export_checked(
        *model.model, format, out_, model.export_info(format.adapters), probe,
        {.tolerance = merge_.tolerance, .note = [](const std::string& line) { note(line); }, .stop = &InterruptGuard::flag()});
    json() ? print_json(document(format, probe, merged, written)) : print_text(format, probe, merged, written);
    return kDone;
  }

 private:
  nlohmann::json document(const ExportFormat& format, const Probe& probe, const std::optional<Merged>& merged,
                          const CheckedExport& written) const {
    nlohmann::json document = {{"out", out_},
                               {"format", format.name},
                               {"bytes", written.bytes},
                               {"compared_on", probe.description},
                               {"random_head", written.random_head},
                               {"merged_sites", merged ? merged->report.sites.size() : 0},
                               {"merging", merged ? to_json(merged->comparison) : nlohmann::json()}};
    document["file"] = written.comparison ? to_json(*written.comparison) : nlohmann::json();
    return document;
  }

  void print_text(const ExportFormat& format, const Probe& probe, const std::optional<Merged>& merged,
                  const CheckedExport& written) const {
    if (merged && !merged->report.sites.empty()) {
      print_line(fmt::format("Merged {} sites; logits before and after:", merged->report.sites.size()));
      print(describe(merged->comparison, probe, merged->random_head) + "\n");
    }
    if (written.comparison) {
      print_line("The exported file, run and compared with the model:");
      print(describe(*written.comparison, probe, written.random_head) + "\n");
    } else {
      print_line(fmt::format("A {} file cannot be run here; check it where you use it.\n", format.name));
    }
    print_line(fmt::format("{}: {}, {}", out_, format.name, bytes(written.bytes)));
  }

  std::string format_ = "torchscript", out_;
  ModelFlags model_;
  PreprocessingFlags preprocessing_;
  MergeFlags merge_;
};

}  // namespace

std::unique_ptr<Command> make_export() {
  return std::make_unique<Export>();
}

}  // namespace respeft::cli
