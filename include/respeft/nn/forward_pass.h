#pragma once

#include <cstdint>
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

  /// The state of type `State` that was put here for whoever looks; null when there is none.
  template <class State>
  State* find() const {
    const auto slot = states_.find({nullptr, std::type_index(typeid(State))});
    return slot == states_.end() ? nullptr : static_cast<State*>(slot->second.get());
  }
  /// Puts state here for whoever looks.
  template <class State>
  void put(std::shared_ptr<State> value) {
    states_[{nullptr, std::type_index(typeid(State))}] = std::move(value);
  }

  /// When not negative, layers are being asked for the first this many tokens (dimension -2) alone, because nothing reads the
  /// others; an adapter takes as many of what it kept of earlier layers.
  int64_t first_tokens = -1;

 private:
  std::map<std::pair<const void*, std::type_index>, std::shared_ptr<void>> states_;
};

/// While it lives, the layers of a pass are asked for the first `count` tokens alone; a negative count changes nothing.
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
