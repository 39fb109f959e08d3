// Every gradient of one training step, for the Python tests to compare:
//   respeft_gradients MODEL WEIGHTS ADAPTER EXAMPLES OUT
// EXAMPLES holds `pixels [N, 3, H, W]` and `labels [N]`; OUT receives `loss`, `logits` and `grad/NAME` of all that is trained.
#include <torch/nn/functional/loss.h>

#include <exception>
#include <iostream>
#include <string>

#include <respeft/adapters/adapter_file.h>
#include <respeft/formats/safetensors.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>

namespace {

void write_gradients(const std::string& name, const std::string& weights, const std::string& adapter_path,
                     const std::string& examples_path, const std::string& out) {
  const respeft::formats::SafetensorsFile examples(examples_path);
  const auto pixels = examples.tensor("pixels");
  auto model = respeft::models::create(
      name, {.num_classes = respeft::models::head_classes_of_file(weights), .image_size = pixels.size(-1)});
  respeft::models::load_weights(*model, weights);
  const auto attachment = respeft::adapters::attach_adapter(*model, respeft::adapters::load_adapter(adapter_path));
  model->train();

  const auto logits = model->forward(pixels);
  const auto loss = torch::nn::functional::cross_entropy(logits, examples.tensor("labels"));
  loss.backward();

  respeft::TensorMap result{{"loss", loss.detach()}, {"logits", logits.detach()}};
  for (const auto& [parameter, tensor] : attachment->trainable()) result["grad/" + parameter] = tensor.grad();
  respeft::formats::save_safetensors(out, result);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: respeft_gradients MODEL WEIGHTS ADAPTER EXAMPLES OUT\n";
    return 2;
  }
  try {
    write_gradients(argv[1], argv[2], argv[3], argv[4], argv[5]);
  } catch (const std::exception& error) {
    std::cerr << "respeft_gradients: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
