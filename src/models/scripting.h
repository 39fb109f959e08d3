#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <optional>
#include <string>

#include <respeft/nn/layer_norm.h>

// TorchScript modules made from source text, for families' export sources.
namespace respeft::models::scripting {

using torch::jit::Module;

/// A scripted module of class `name` with the tensors, modules and methods that are added to it.
class Builder {
 public:
  explicit Builder(const std::string& name);
  /// An undefined tensor becomes a None of that name.
  Builder& tensor(const std::string& name, const at::Tensor& value);
  Builder& child(const std::string& name, const Module& value);
  Module define(const std::string& source);
  const Module& module() const { return module_; }

 private:
  Module module_;
};

Module linear(const at::Tensor& weight, const at::Tensor& bias);
Module layer_norm(const nn::LayerNorm& layer);
/// The adapter at `site`, for one that does not fold; nothing where there is none. Throws `std::invalid_argument` on an adapter
/// that has no script: it must be merged first.
std::optional<Module> adapter(const nn::Site& site);

}  // namespace respeft::models::scripting
