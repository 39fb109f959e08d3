#include "src/models/scripting.h"

#include <fmt/format.h>

#include <stdexcept>

#include <respeft/nn/adapter.h>

namespace respeft::models::scripting {

Builder::Builder(const std::string& name) : module_(c10::QualifiedName("__torch__." + name)) {
  module_.register_attribute("training", c10::BoolType::get(), false);
}

Builder& Builder::tensor(const std::string& name, const at::Tensor& value) {
  if (value.defined()) {
    module_.register_parameter(name, value.detach(), /*is_buffer=*/false);
  } else {
    module_.register_attribute(name, c10::NoneType::get(), c10::IValue());
  }
  return *this;
}

Builder& Builder::child(const std::string& name, const Module& value) {
  module_.register_module(name, value);
  return *this;
}

Module Builder::define(const std::string& source) {
  module_.define(source);
  return module_;
}

Module linear(const at::Tensor& weight, const at::Tensor& bias) {
  return Builder("Linear").tensor("weight", weight).tensor("bias", bias).define(R"(
def forward(self, x):
    return torch.linear(x, self.weight, self.bias)
)");
}

Module layer_norm(const nn::LayerNorm& layer) {
  return Builder("LayerNorm")
      .tensor("weight", layer->weight)
      .tensor("bias", layer->bias)
      .define(fmt::format(R"(
def forward(self, x):
    return torch.layer_norm(x, [{}], self.weight, self.bias, {})
)",
                          layer->in_features(), layer->options.eps()));
}

std::optional<Module> adapter(const nn::Site& site) {
  if (!site.adapter()) return std::nullopt;
  const auto script = site.adapter()->script();
  if (!script) throw std::invalid_argument("TorchScript: an adapter has no script; merge it first");
  Builder builder("Adapter");
  for (const auto& [name, tensor] : script->tensors) builder.tensor(name, tensor);
  return builder.define(script->source);
}

}  // namespace respeft::models::scripting
