#include "src/cli/saved_tensors.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <map>

namespace respeft::cli {
namespace {

/// Keeps every saved tensor, so that no storage's address is used twice while they are counted.
std::map<const void*, at::Tensor>* saved = nullptr;

struct RecordingHook : torch::autograd::SavedVariableHooks {
  void call_pack_hook(const at::Tensor& tensor) override {
    kept = tensor;
    if (tensor.has_storage()) saved->emplace(tensor.storage().unsafeGetStorageImpl(), tensor);
  }
  at::Tensor call_unpack_hook() override { return kept; }

  at::Tensor kept;
};

/// LibTorch asks its engine for the hooks of saved tensors; from C++ there is no other way to set them.
struct RecordingEngine : torch::autograd::Engine {
  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    return saved ? std::make_unique<RecordingHook>() : nullptr;
  }
};

torch::autograd::Engine& recording_engine() {
  static auto* const engine = new RecordingEngine();  // never destroyed, as LibTorch's own
  return *engine;
}

/// Records while it lives.
struct Recording {
  explicit Recording(std::map<const void*, at::Tensor>& into) {
    saved = &into;
    torch::autograd::set_default_engine_stub(recording_engine);
  }
  ~Recording() {
    torch::autograd::set_default_engine_stub(torch::autograd::Engine::get_base_engine);
    saved = nullptr;
  }
};

}  // namespace

int64_t bytes_saved_for_backward(const torch::nn::Module& model, const std::function<at::Tensor()>& forward) {
  std::map<const void*, at::Tensor> storages;
  at::Tensor result;
  {
    const Recording recording(storages);
    result = forward();
  }
  for (const auto& parameter : model.parameters()) storages.erase(parameter.storage().unsafeGetStorageImpl());
  for (const auto& buffer : model.buffers()) storages.erase(buffer.storage().unsafeGetStorageImpl());
  int64_t total = 0;
  for (const auto& entry : storages) total += static_cast<int64_t>(entry.second.storage().nbytes());
  return total;
}

}  // namespace respeft::cli
