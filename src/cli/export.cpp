#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/export/export.h>
#include <respeft/formats/tensor_file.h>

#include "src/cli/command.h"
#include "src/cli/merging.h"
#include "src/cli/output.h"
#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

namespace fs = std::filesystem;

/// A file or folder that is written and checked beside its place, and put there by `keep`; gone otherwise.
class Candidate {
 public:
  Candidate(const std::string& out, bool folder) {
    fs::path path = fs::exists(out) ? fs::canonical(out) : fs::path(out);
    if (!path.has_filename()) path = path.parent_path();  // a slash at the end
    if (!folder && fs::exists(path) && !fs::is_regular_file(path)) throw std::runtime_error(out + ": is a device, not a file");
    out_ = path.string();
    path_ = (path.parent_path() / (path.stem().string() + ".unchecked" + path.extension().string())).string();
  }
  ~Candidate() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  /// Writes the file; an error speaks of the place that was asked for.
  void write(const std::function<void(const std::string&)>& writer) const {
    try {
      writer(path_);
    } catch (const std::runtime_error& error) {
      std::string message = error.what();
      if (const size_t at = message.find(path_); at != std::string::npos) message.replace(at, path_.size(), out_);
      throw std::runtime_error(message);
    }
  }
  void keep() const { fs::rename(path_, out_); }

 private:
  std::string out_, path_;
};

int64_t size_of(const fs::path& path) {
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t sum = 0;
  for (const auto& file : fs::directory_iterator(path)) sum += static_cast<int64_t>(file.file_size());
  return sum;
}

class Export : public Command {
 public:
  void declare(CLI::App& app) override {
    std::vector<std::string> formats;
    for (const auto& format : exporting::registry()) formats.push_back(format.name + " (" + format.summary + ")");
    app.add_option("--format", format_, text::join(formats, "; "))
        ->type_name("NAME")
        ->default_str("torchscript")
        ->group("Output");
    app.add_option("--out", out_, "the exported file, or for a format that is a folder, the new folder")
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
    LoadedModel model = load_model(model_, preprocessing_);
    refuse_to_overwrite("--out", out_, model.files);
    const Probe probe = merge_.probe(model);
    const Merged merged = format.adapters ? unmerged(format, model, probe) : merge_.merge(model, probe);
    merge_.check(merged);

    const Candidate file(out_, format.folder);
    file.write([&](const std::string& path) { format.write(*model.model, path, export_info(format, model)); });
    const auto checked = check_file(format, file.path(), model, probe, merged.logits);
    file.keep();
    report(format, probe, merged, checked);
    return kDone;
  }

 private:
  /// The model with its adapters, for a format that holds them.
  static Merged unmerged(const ExportFormat& format, const LoadedModel& model, const Probe& probe) {
    if (!model.attachment) {
      throw std::invalid_argument(fmt::format("--format {} writes an adapter: give --adapter or --run", format.name));
    }
    Merged result;
    result.logits = model.logits(probe.images);
    result.comparison = compare_logits(result.logits, result.logits, probe.labels);
    return result;
  }

  static ExportInfo export_info(const ExportFormat& format, const LoadedModel& model) {
    ExportInfo info{model.preprocessing, model.class_names};
    if (!format.adapters) return info;
    info.method = model.attachment->method();
    info.options = model.attachment->options();
    if (!model.weights.empty()) info.weights_sha256 = formats::weights_sha256(model.weights);
    return info;
  }

  /// Runs the written file; nothing where the format cannot be run here.
  std::optional<Comparison> check_file(const ExportFormat& format, const std::string& path, const LoadedModel& model,
                                       const Probe& probe, const at::Tensor& expected) const {
    if (!format.run) return std::nullopt;
    note(fmt::format("running the {} file on {} images", format.name, probe.images.size(0)));
    const auto comparison = compare_logits(expected, format.run(path, probe.images, *model.model), probe.labels);
    merge_.check(comparison, "the logits of the exported file and the model");
    // One image alone: the file must not have kept the batch size.
    merge_.check(compare_logits(expected.slice(0, 0, 1), format.run(path, probe.images.slice(0, 0, 1), *model.model)),
                 "the logits of the exported file and the model for a single image");
    return comparison;
  }

  void report(const ExportFormat& format, const Probe& probe, const Merged& merged,
              const std::optional<Comparison>& checked) const {
    const auto size = size_of(out_);
    if (json()) {
      nlohmann::json document = {{"out", out_},
                                 {"format", format.name},
                                 {"bytes", size},
                                 {"compared_on", probe.description},
                                 {"merged_sites", merged.report.sites.size()},
                                 {"merging", to_json(merged.comparison)}};
      document["file"] = checked ? to_json(*checked) : nlohmann::json();
      return print_json(document);
    }
    if (!merged.report.sites.empty()) {
      print_line(fmt::format("Merged {} sites; logits before and after:", merged.report.sites.size()));
      print(describe(merged.comparison, probe) + "\n");
    }
    if (checked) {
      print_line("The exported file, run and compared with the model:");
      print(describe(*checked, probe) + "\n");
    } else {
      print_line(fmt::format("A {} file cannot be run here; try it where it is to be used.\n", format.name));
    }
    print_line(fmt::format("{}: {}, {}", out_, format.name, bytes(size)));
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
