#include "src/models/scripting.h"

#include <fmt/format.h>

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

}  // namespace respeft::models::scripting
