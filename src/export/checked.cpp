#include <respeft/export/checked.h>

#include <fmt/format.h>

#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include <respeft/core/interrupt.h>

namespace respeft {
namespace {

namespace fs = std::filesystem;

/// A file or folder that is written and checked beside its place, and put there by `keep`; gone otherwise.
class Candidate {
 public:
  Candidate(const std::string& out, bool folder) {
    fs::path path = fs::exists(out) ? fs::canonical(out) : fs::path(out);
    if (!path.has_filename()) path = path.parent_path();  // a slash at the end
    if (!folder && fs::exists(path) && !fs::is_regular_file(path))
      throw std::runtime_error(fmt::format("{}: is a {}, not a file", out, fs::is_directory(path) ? "folder" : "device"));
    out_ = path.string();
    // A name that no other export has.
    path_ = (path.parent_path() / fmt::format("{}.unchecked-{}{}", path.stem().string(), ::getpid(), path.extension().string()))
                .string();
  }
  ~Candidate() { remove(); }
  Candidate(const Candidate&) = delete;
  Candidate& operator=(const Candidate&) = delete;

  const std::string& path() const { return path_; }
  /// Writes the file; an error speaks of the place that was asked for.
  void write(const ExportFormat& format, models::Model& model, const ExportInfo& info) const {
    try {
      format.write(model, path_, info);
    } catch (const std::runtime_error& error) {
      std::string message = error.what();
      if (const size_t at = message.find(path_); at != std::string::npos) message.replace(at, path_.size(), out_);
      throw std::runtime_error(message);
    }
  }
  void remove() const {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
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

/// Writes the candidate and runs it.
std::optional<Comparison> write_and_compare(const Candidate& file, models::Model& model, const ExportFormat& format,
                                            const ExportInfo& info, const Probe& probe, const CheckedExportOptions& options) {
  const auto check_stop = [&] {
    if (options.stop != nullptr && options.stop->load()) throw Interrupted("stopped while exporting; nothing was written");
  };
  check_stop();
  file.write(format, model, info);
  check_stop();
  if (!format.run) return std::nullopt;
  const at::Tensor expected = logits_of(model, probe.inputs, 32, options.stop);
  const auto compared = compare_logits(expected, format.run(file.path(), probe.inputs, model), probe.labels);
  check_stop();
  check_tolerance(compared, options.tolerance, "the logits of the exported file and the model");
  // One example alone: the file must not have kept the batch size.
  const auto single = compare_logits(expected.slice(0, 0, 1), format.run(file.path(), probe.inputs.slice(0, 0, 1), model));
  check_tolerance(single, options.tolerance, "the logits of the exported file and the model for a single image");
  check_stop();
  return compared;
}

}  // namespace

CheckedExport export_checked(models::Model& model, const ExportFormat& format, const std::string& path, const ExportInfo& info,
                             const Probe& probe, const CheckedExportOptions& options) {
  const Candidate file(path, format.folder);
  CheckedExport done;
  if (format.run && options.note)
    options.note(fmt::format("running the {} file on {} images", format.name, probe.inputs.size(0)));
  std::optional<Comparison> with_random_head;
  {
    const RandomHead head(model);
    done.random_head = head.active();
    const Probe unlabelled{probe.inputs, {}, probe.description};
    if (head.active()) with_random_head = write_and_compare(file, model, format, info, unlabelled, options);
    if (head.active()) file.remove();
  }
  done.comparison = write_and_compare(file, model, format, info, probe, options);
  if (done.random_head) done.comparison = with_random_head;
  file.keep();
  done.bytes = size_of(path);
  return done;
}

}  // namespace respeft
