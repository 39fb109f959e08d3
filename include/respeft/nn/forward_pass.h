#pragma once

#include <map>
#include <memory>
#include <typeindex>
#include <utility>

namespace respeft::nn {

/// What belongs to one forward pass through a model, and to nothing else.
///
/// A pass is made on the caller's stack and handed from layer to layer, so that a model holds no trace of the passes it
/// has run: several threads can use one model, passes can be nested or abandoned, and nothing has to be reset.
/// Adapters that look at earlier layers keep what they need here.
class ForwardPass {
 public:
  ForwardPass() = default;
  ForwardPass(const ForwardPass&) = delete;
  ForwardPass& operator=(const ForwardPass&) = delete;

  /// The state of type `State` that `owner` keeps during this pass; default-constructed when first asked for.
  template <class State>
  State& state(const void* owner) {
    auto& slot = states_[{owner, std::type_index(typeid(State))}];
    if (!slot) slot = std::make_shared<State>();
    return *std::static_pointer_cast<State>(slot);
  }

 private:
  std::map<std::pair<const void*, std::type_index>, std::shared_ptr<void>> states_;
};

}  // namespace respeft::nn
