#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <typeindex>
#include <utility>

namespace respeft::nn {

/// The state of one forward pass through a model.
///
/// The caller creates it on the stack and passes it from layer to layer, so the model itself stores no state of a pass: several
/// threads can use one model, passes can be nested or abandoned, and nothing has to be reset. Adapters that read earlier layers
/// keep their state here.
class ForwardPass {
 public:
  ForwardPass() = default;
  ForwardPass(const ForwardPass&) = delete;
  ForwardPass& operator=(const ForwardPass&) = delete;

  /// The state of type `State` that `owner` keeps during this pass; default-constructed on first use.
  template <class State>
  State& state(const void* owner) {
    auto& slot = states_[{owner, std::type_index(typeid(State))}];
    if (!slot) slot = std::make_shared<State>();
    return *std::static_pointer_cast<State>(slot);
  }

  /// The state of type `State` that `put` stored; null if there is none.
  template <class State>
  State* find() const {
    const auto slot = states_.find({nullptr, std::type_index(typeid(State))});
    return slot == states_.end() ? nullptr : static_cast<State*>(slot->second.get());
  }
  /// Stores state for any layer to find.
  template <class State>
  void put(std::shared_ptr<State> value) {
    states_[{nullptr, std::type_index(typeid(State))}] = std::move(value);
  }

  /// If not negative, layers compute only the first `first_tokens` tokens (dimension -2), because the others are not needed.
  /// Adapters then use only these tokens of the state that they keep from earlier layers.
  int64_t first_tokens = -1;

 private:
  std::map<std::pair<const void*, std::type_index>, std::shared_ptr<void>> states_;
};

/// Scope guard: the layers of a pass compute only the first `count` tokens; a negative count changes nothing.
class FirstTokens {
 public:
  FirstTokens(ForwardPass& pass, int64_t count) : pass_(pass), before_(pass.first_tokens) {
    if (count >= 0) pass.first_tokens = count;
  }
  FirstTokens(const FirstTokens&) = delete;
  FirstTokens& operator=(const FirstTokens&) = delete;
  ~FirstTokens() { pass_.first_tokens = before_; }

 private:
  ForwardPass& pass_;
  int64_t before_;
};

}  // namespace respeft::nn
