#include <respeft/models/weights.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/formats/file.h>
#include <respeft/models/weights_file.h>
#include <respeft/nn/names.h>

#include "src/models/state_dict.h"

namespace respeft::models {

int64_t head_classes(const TensorMap& tensors) {
  const auto head = tensors.find(nn::kHeadWeight);
  if (head == tensors.end() || head->second.dim() != 2 || head->second.size(1) == 0) return 0;
  return head->second.size(0);
}

int64_t head_classes_of_file(const std::string& path, const std::string& state_dict) {
  return WeightsFile(path, state_dict).head_classes();
}

LoadReport load_weights(torch::nn::Module& module, const std::string& path, const std::string& state_dict) {
  return WeightsFile(path, state_dict).load(module);
}

LoadReport load_weights(torch::nn::Module& module, TensorMap tensors, const std::string& origin) {
  return Loading(module, tensors, origin).run();
}

TensorMap plain_state(const torch::nn::Module& module) {
  return plain_tensors(module);
}

std::string base_sha256(const torch::nn::Module& module) {
  std::string lines;
  const auto add = [&](const std::string& name, const at::Tensor& value) {
    if (nn::is_head_name(name) || nn::is_adapter_name(name)) return;
    const auto tensor = value.detach().cpu().contiguous();
    const std::string_view bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    lines += fmt::format("{} {} [{}] {}\n", name, c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                         formats::sha256(bytes));
  };
  for (const auto& item : module.named_parameters()) add(item.key(), item.value());
  for (const auto& item : module.named_buffers()) add(item.key(), item.value());
  return formats::sha256(lines);
}

}  // namespace respeft::models
