#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

#include <respeft/core/fields.h>

/// Settings that several methods have.
namespace respeft::methods {

inline FieldInfo rank_field(const std::string& help = "rank r of every update") {
  return {.name = "rank", .help = help, .group = "Method", .minimum = 1};
}

inline FieldInfo alpha_field() {
  return {.name = "alpha", .help = "the update is multiplied by alpha / rank", .group = "Method"};
}

inline FieldInfo dropout_field() {
  return {.name = "dropout",
          .help = "probability of dropping an element inside the adapter while training",
          .group = "Method",
          .minimum = 0,
          .maximum = 1,
          .below_maximum = true};
}

inline FieldInfo targets_field(const std::string& help) {
  return {.name = "targets", .help = help, .group = "Method"};
}

/// Of methods that update linears alone.
inline FieldInfo linears_field() {
  return targets_field("linears to adapt: q, k, v, o, fc1, fc2 or linears; qkv adapts the fused weight as one");
}

inline FieldInfo blocks_field() {
  return {.name = "blocks", .help = "blocks to adapt, such as 0-5,11; empty: everywhere", .group = "Method"};
}

/// Throws `std::invalid_argument` "METHOD: NAME: …" on the first value out of range.
inline void check_fields(const std::string& method, const Fields& fields) {
  try {
    fields.check();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("{}: {}", method, error.what()));
  }
}

}  // namespace respeft::methods
