// The ranks that an adapter with allocated ranks keeps, step by step, for the Python tests to compare:
//   respeft_allocation MODEL WEIGHTS ADAPTER STEPS OUT
// STEPS holds, for every step T from 1 on, `T/value/NAME` and `T/grad/NAME` of all that is trained; OUT receives `penalty`, of
// the adapter as it is in its file, and `T/NAME` of every lora_E after the step.
#include <ATen/ATen.h>

#include <exception>
#include <iostream>
#include <string>

#include <respeft/adapters/adapter_file.h>
#include <respeft/formats/safetensors.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>

namespace {

void allocate(const std::string& name, const std::string& weights, const std::string& adapter_path, const std::string& steps_path,
              const std::string& out) {
  const auto model = respeft::models::create(name, {.num_classes = respeft::models::head_classes_of_file(weights)});
  const auto attachment = respeft::adapters::attach_adapter(*model, respeft::adapters::load_adapter(adapter_path));
  const auto given = respeft::formats::SafetensorsFile(steps_path).tensors();
  int64_t steps = 0;
  for (const auto& [key, tensor] : given) steps = std::max<int64_t>(steps, std::stoll(key));
  const at::NoGradGuard no_grad;
  respeft::TensorMap result{{"penalty", attachment->regularization().reshape({1})}};
  for (int64_t step = 1; step <= steps; ++step) {
    const std::string prefix = std::to_string(step) + "/";
    for (auto [parameter, tensor] : attachment->trainable()) {
      if (parameter.find(".adapter.") == std::string::npos) continue;
      tensor.copy_(given.at(prefix + "value/" + parameter));
      tensor.mutable_grad() = given.at(prefix + "grad/" + parameter);
    }
    attachment->after_step(step, steps);
    for (const auto& [parameter, tensor] : attachment->trainable()) {
      if (parameter.ends_with("lora_E")) result[prefix + parameter] = tensor.clone();
    }
  }
  respeft::formats::save_safetensors(out, result);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: respeft_allocation MODEL WEIGHTS ADAPTER STEPS OUT\n";
    return 2;
  }
  try {
    allocate(argv[1], argv[2], argv[3], argv[4], argv[5]);
  } catch (const std::exception& error) {
    std::cerr << "respeft_allocation: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
