#pragma once

#include <string>

#include <respeft/models/family.h>
#include <respeft/models/weight_map.h>
#include <respeft/models/weights.h>

// A state dict on its way from a file into a module.
namespace respeft::models {

/// Tensors under the names of `family`'s models; null: of the first family that has their layout. Throws `std::runtime_error`
/// where none has.
OwnTensors to_own(const TensorMap& tensors, const ModelFamily* family = nullptr);

/// The plain module's parameters and buffers by name. Throws `std::invalid_argument` if an adapter is attached.
TensorMap plain_tensors(const torch::nn::Module& module);

/// One state dict on its way into one module. A `Model` takes it through its family's weight map, another module by its own
/// names.
class Loading {
 public:
  /// `tensors` are the file's, under its names; they may be without data. `origin` names the file in errors.
  Loading(const torch::nn::Module& module, const TensorMap& tensors, std::string origin);

  const std::string& layout() const { return report_.layout; }
  /// Under the module's names; after `check` in its shapes, without those that have no place.
  const TensorMap& tensors() const { return own_.tensors; }

  /// Throws `std::runtime_error` where the tensors do not fit the module.
  void check();
  /// Every check comes before the first write: a module that cannot be loaded stays what it was.
  LoadReport run();

 private:
  [[noreturn]] void fail(const std::string& fault) const;
  template <class Call>
  auto checked(const Call& call) const -> decltype(call());

  bool is_head(const std::string& key) const;
  void leave_out_other_head();
  void match_keys();
  std::string mismatch(const std::vector<std::string>& missing, const std::vector<std::string>& unknown) const;
  void check(const std::string& key, const at::Tensor& tensor) const;

  const Model* model_;  ///< null: a module without a family
  TensorMap state_;     ///< the module's
  std::string origin_, name_;
  OwnTensors own_;
  LoadReport report_;
};

}  // namespace respeft::models
