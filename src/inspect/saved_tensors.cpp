#include <respeft/inspect/saved_tensors.h>

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <map>
#include <memory>

namespace respeft {
namespace {

using Storages = std::map<const c10::StorageImpl*, at::Tensor>;

/// Where this thread's saved tensors are noted. Holding them keeps an address from standing for two storages.
thread_local Storages* saved = nullptr;

struct RecordingHook : torch::autograd::SavedVariableHooks {
  explicit RecordingHook(Storages& storages) : into(&storages) {}

  void call_pack_hook(const at::Tensor& tensor) override {
    // Detached: an operator that keeps its own output would otherwise be kept by it, too, and never be freed.
    kept = tensor.detach();
    if (tensor.has_storage()) into->emplace(tensor.storage().unsafeGetStorageImpl(), tensor);
  }
  at::Tensor call_unpack_hook() override { return kept; }

  Storages* into;
  at::Tensor kept;
};

/// LibTorch asks its engine for the hooks of saved tensors; from C++ there is no other way to set them.
struct RecordingEngine : torch::autograd::Engine {
  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    return saved ? std::make_unique<RecordingHook>(*saved) : nullptr;
  }
};

torch::autograd::Engine& recording_engine() {
  static auto* const engine = new RecordingEngine();  // never destroyed, as LibTorch's own
  return *engine;
}

/// Records while it lives.
struct Recording {
  explicit Recording(Storages& into) {
    saved = &into;
    torch::autograd::set_default_engine_stub(recording_engine);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {
    torch::autograd::set_default_engine_stub(torch::autograd::Engine::get_base_engine);
    saved = nullptr;
  }
};

}  // namespace

int64_t bytes_saved_for_backward(const std::function<at::Tensor()>& forward, const std::vector<at::Tensor>& excluded) {
  Storages storages;
  at::Tensor result;
  {
    const Recording recording(storages);
    result = forward();
  }
  for (const auto& tensor : excluded) storages.erase(tensor.storage().unsafeGetStorageImpl());
  int64_t total = 0;
  for (const auto& [storage, tensor] : storages) total += static_cast<int64_t>(storage->nbytes());
  return total;
}

}  // namespace respeft
