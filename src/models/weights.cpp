#include <respeft/models/weights.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/formats/file.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/vit/vit.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "src/models/vit/huggingface_config.h"
#include <respeft/core/text.h>

namespace respeft::models {
namespace {

bool is_head(const std::string& key) {
  constexpr const char* heads[] = {"head.", "classifier.", "dino_head.", "ibot_head."};
  return std::any_of(std::begin(heads), std::end(heads), [&](const char* head) { return key.starts_with(head); });
}
bool is_adapter(const std::string& key) {
  return key.find(".adapter.") != std::string::npos;
}

/// The plain model's parameters by name. Throws if an adapter is attached.
std::map<std::string, at::Tensor> plain_parameters(const models::ImageModel& model) {
  std::map<std::string, at::Tensor> result;
  for (const auto& item : model.named_parameters()) {
    if (is_adapter(item.key())) {
      throw std::invalid_argument(fmt::format("the model has adapters attached ('{}'): merge or detach them first", item.key()));
    }
    result.emplace(item.key(), item.value());
  }
  return result;
}

/// One state dict on its way into one model.
class Loading {
 public:
  Loading(models::ImageModel& model, TensorMap tensors, const std::string& origin)
      : model_(model), parameters_(plain_parameters(model)), origin_(origin) {
    try {
      tensors_ = to_timm_layout(std::move(tensors), report_.layout);
    } catch (const std::runtime_error& error) {
      fail(error.what());
    }
  }

  /// Throws where the tensors, which may be without data, do not fit the model.
  void check() {
    unflatten_patch_projection();
    fit_positions();
    leave_out_other_head();
    match_keys();
    for (const auto& [key, tensor] : tensors_) check(key, tensor);
  }

  const std::string& layout() const { return report_.layout; }

  /// Every check comes before the first write: a model that cannot be loaded stays what it was.
  LoadReport run() {
    check();
    const at::NoGradGuard no_grad;
    for (const auto& [key, tensor] : tensors_) parameters_.at(key).copy_(tensor);
    return std::move(report_);
  }

 private:
  [[noreturn]] void fail(const std::string& fault) const { throw std::runtime_error(fmt::format("{}: {}", origin_, fault)); }

  /// `[D, C·p·p]`, the weight of a linear over flattened patches, is the convolution's, which timm reshapes too.
  void unflatten_patch_projection() {
    const auto weight = tensors_.find("patch_embed.proj.weight"), target = parameters_.find("patch_embed.proj.weight");
    if (weight == tensors_.end() || target == parameters_.end()) return;
    if (weight->second.dim() == 2 && weight->second.size(0) == target->second.size(0) &&
        weight->second.numel() == target->second.numel()) {
      weight->second = weight->second.reshape(target->second.sizes());
    }
  }

  void fit_positions() {
    const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model_);
    const auto found = tensors_.find("pos_embed");
    if (!vit || found == tensors_.end() || found->second.sizes() == vit->pos_embed.sizes()) return;
    const auto& embedding = found->second;
    const int64_t grid = vit->config.grid(), prefix = vit->pos_embed.size(1) - grid * grid;
    const int64_t patches = embedding.dim() == 3 ? embedding.size(1) - prefix : 0;
    const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(patches, 0)))));
    if (patches < 1 || side * side != patches || embedding.size(0) != 1 || embedding.size(2) != vit->pos_embed.size(2)) {
      fail(fmt::format("'pos_embed' has shape [{}]; {} takes [1, {} + n², {}]", fmt::join(embedding.sizes(), ", "), model_.name(),
                       prefix, vit->pos_embed.size(2)));
    }
    const auto resampling =
        report_.layout == "google" ? models::Resampling::kBilinear : models::Resampling::kBicubic;  // timm's choice
    found->second = models::resample_position_embedding(embedding, grid, prefix, resampling);
    report_.positions_resampled = true;
  }

  /// A head for other classes, or one that reads other features, is not this model's.
  void leave_out_other_head() {
    const bool wanted = model_.num_classes() > 0 && head_classes(tensors_) == model_.num_classes();
    for (auto item = tensors_.begin(); item != tensors_.end();) {
      const bool remove = is_head(item->first) && !(wanted && item->first.rfind("head.", 0) == 0);
      if (remove) report_.unused.push_back(item->first);
      item = remove ? tensors_.erase(item) : std::next(item);
    }
    for (const auto& [key, parameter] : parameters_) {
      if (!wanted && is_head(key)) report_.missing.push_back(key);
    }
  }

  /// timm puts the final norm before pooling (`norm`) with a class token and after it (`fc_norm`) with mean pooling. A file
  /// that differs from the model in nothing but that leaves the model's own norm fresh, as in timm, unless the file's head, which
  /// needs its norm, is loaded.
  void match_keys() {
    std::vector<std::string> missing, unknown;
    for (const auto& [key, parameter] : parameters_) {
      if (tensors_.count(key) == 0 && !(is_head(key) && head_left_out())) missing.push_back(key);
    }
    for (const auto& [key, tensor] : tensors_) {
      if (parameters_.count(key) == 0) unknown.push_back(key);
    }
    const bool before_pooling = parameters_.count("norm.weight") != 0;
    const std::string own = before_pooling ? "norm." : "fc_norm.", other = before_pooling ? "fc_norm." : "norm.";
    const auto all_of = [](const std::vector<std::string>& keys, const std::string& norm) {
      return !keys.empty() && std::all_of(keys.begin(), keys.end(),
                                          [&](const std::string& key) { return key == norm + "weight" || key == norm + "bias"; });
    };
    if (all_of(missing, own) && all_of(unknown, other)) {
      if (!head_left_out() && model_.num_classes() > 0) fail(other_pooling(unknown.front(), missing.front()));
      for (const auto& key : unknown) tensors_.erase(key);
      report_.unused.insert(report_.unused.end(), unknown.begin(), unknown.end());
      report_.missing.insert(report_.missing.end(), missing.begin(), missing.end());
    } else if (!missing.empty() || !unknown.empty()) {
      fail(mismatch(missing, unknown));
    }
  }

  bool head_left_out() const { return tensors_.count("head.weight") == 0; }

  static std::string other_pooling(const std::string& found, const std::string& expected) {
    return fmt::format(
        "it has '{}' where the model has '{}': its head was trained with another pooling (class token or mean) than the model's",
        found, expected);
  }

  std::string mismatch(const std::vector<std::string>& missing, const std::vector<std::string>& unknown) const {
    const auto others = [](size_t count) { return count > 1 ? fmt::format(" (and {} more)", count - 1) : std::string(); };
    std::string text;
    if (!unknown.empty()) {
      text = fmt::format("{} has no place for '{}'{}", model_.name(), unknown.front(), others(unknown.size()));
      const std::string meant = text::nearest(unknown.front(), missing);
      if (!meant.empty()) return text + fmt::format("; did it mean '{}'?", meant);
    }
    if (!missing.empty()) {
      const std::string subject = text.empty() ? fmt::format("{} needs", model_.name()) : text + ", and it needs";
      text = fmt::format("{} '{}'{}, which is missing", subject, missing.front(), others(missing.size()));
    }
    return text;
  }

  void check(const std::string& key, const at::Tensor& tensor) const {
    const auto& target = parameters_.at(key);
    if (tensor.sizes() != target.sizes()) {
      fail(fmt::format("'{}' has shape [{}]; {} takes [{}]", key, fmt::join(tensor.sizes(), ", "), model_.name(),
                       fmt::join(target.sizes(), ", ")));
    }
    if (!tensor.is_floating_point())
      fail(fmt::format("'{}' holds {}, not floating-point numbers", key, c10::toString(tensor.scalar_type())));
  }

  models::ImageModel& model_;
  std::map<std::string, at::Tensor> parameters_;
  const std::string& origin_;
  TensorMap tensors_;
  LoadReport report_;
};

}  // namespace

int64_t head_classes_of_file(const std::string& path) {
  const auto file = formats::open_tensor_file(path);
  TensorMap tensors = file->shapes();
  // Shapes are enough, but for a classifier, whose zeros may say that it is a head.
  if (file->contains("classifier.weight")) tensors["classifier.weight"] = file->tensor("classifier.weight");
  try {
    std::string layout;
    return head_classes(to_timm_layout(std::move(tensors), layout));
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
}

LoadReport load_weights(models::ImageModel& model, const std::string& path) {
  const auto file = formats::open_tensor_file(path);
  Loading shapes(model, file->shapes(), path);
  shapes.check();  // before anything large is read
  if (shapes.layout() == "huggingface") check_huggingface_config(model, path);
  return load_weights(model, file->tensors(), path);
}

LoadReport load_weights(models::ImageModel& model, TensorMap tensors, const std::string& origin) {
  return Loading(model, std::move(tensors), origin).run();
}

TensorMap plain_state(const models::ImageModel& model) {
  TensorMap state;
  for (const auto& [key, parameter] : plain_parameters(model)) state.emplace(key, parameter.detach());
  return state;
}

std::string base_sha256(const models::ImageModel& model) {
  std::string lines;
  for (const auto& item : model.named_parameters()) {
    if (is_head(item.key()) || is_adapter(item.key())) continue;
    const auto tensor = item.value().detach().cpu().contiguous();
    const std::string_view bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    lines += fmt::format("{} {} [{}] {}\n", item.key(), c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                         formats::sha256(bytes));
  }
  return formats::sha256(lines);
}

}  // namespace respeft::models
