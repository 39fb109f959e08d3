#include <fmt/format.h>

#include <cmath>

#include <respeft/core/text.h>
#include <respeft/models/weights_check.h>

namespace respeft::models {
namespace {

using data::Finding;
using data::Severity;

/// The same up to the digits that are usually written.
bool alike(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  for (size_t c = 0; c < 3; ++c) {
    if (std::abs(a[c] - b[c]) > 1e-3) return false;
  }
  return true;
}

}  // namespace

std::string channels_text(const std::array<double, 3>& values) {
  return fmt::format("{:.4g},{:.4g},{:.4g}", values[0], values[1], values[2]);
}

std::string normalization_mismatch(const Normalization& known, const data::Preprocessing& planned) {
  if (alike(known.mean, planned.mean) && alike(known.std, planned.std)) return "";
  const std::string mean = channels_text(known.mean), std = channels_text(known.std);
  return fmt::format(
      "the weights were trained with mean {} and std {} ({}), but training would use {} and {}: leave --mean and --std out, or "
      "give --mean {} --std {}",
      mean, std, known.source, channels_text(planned.mean), channels_text(planned.std), mean, std);
}

std::vector<Finding> weight_findings(const WeightsCheck& check, const std::string& path, const std::string& model,
                                     int64_t classes, const data::Preprocessing& planned) {
  std::vector<Finding> findings;
  const auto find = [&](Severity severity, const char* name, std::string message, std::vector<std::string> items = {}) {
    findings.push_back({severity, name, std::move(message), std::move(items)});
  };
  if (!check.fault.empty()) {
    std::vector<std::string> items;
    for (const auto& key : check.missing) items.push_back(fmt::format("'{}' is missing", key));
    for (const auto& key : check.unused) {
      if (!key.starts_with("head.")) items.push_back(fmt::format("'{}' has no place in {}", key, model));
    }
    items.insert(items.end(), check.wrong_shapes.begin(), check.wrong_shapes.end());
    std::string message = fmt::format("{}: {}", path, check.fault);
    if (check.file_patch != 0 && check.file_patch != check.model_patch) {
      message += fmt::format("; its patches are {} pixels a side, the model's {}", check.file_patch, check.model_patch);
    }
    if (!check.fitting.empty()) message += "; it looks made for " + text::join(check.fitting, " or ");
    find(Severity::error, "keys", message, std::move(items));
  }
  if (!check.not_finite.empty()) {
    find(Severity::error, "values",
         fmt::format("{}: infinite or not a number in {} of its tensors", path, check.not_finite.size()), check.not_finite);
  }
  if (check.positions_resampled()) {
    find(Severity::note, "positions",
         fmt::format("position embeddings are resampled from {0}×{0} to {1}×{1} patches", check.file_grid, check.model_grid));
  }
  if (check.head_classes != 0 && classes != 0 && check.head_classes != classes) {
    find(Severity::note, "head",
         fmt::format("the file's head of {} classes is left out: the data have {}", check.head_classes, classes));
  }
  if (!check.normalization) {
    find(Severity::note, "normalization",
         fmt::format("what {} was normalized with is not known; training would use mean {} and std {}", path,
                     channels_text(planned.mean), channels_text(planned.std)));
  } else if (const std::string mismatch = normalization_mismatch(*check.normalization, planned); !mismatch.empty()) {
    find(Severity::warning, "normalization", mismatch);
  }
  return findings;
}

}  // namespace respeft::models
