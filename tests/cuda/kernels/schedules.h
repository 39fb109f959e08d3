#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/launch.h"
#include "tests/emulator/emulator.h"

namespace respeft::cuda::test {

/// The interleavings that kernels are tested with: two, or with RESPEFT_ALL_SCHEDULES set in the environment every order, with
/// early and late copies, with and without switches at memory accesses, and several seeds.
inline std::vector<emulator::Schedule> schedules() {
  using emulator::Order;
  if (!std::getenv("RESPEFT_ALL_SCHEDULES")) return {{Order::Random, 1, true, 0}, {Order::Priority, 2, false, 0}};
  std::vector<emulator::Schedule> all;
  for (const auto order : {Order::Forward, Order::Reverse, Order::Random, Order::Priority}) {
    const bool seeded = order == Order::Random || order == Order::Priority;
    for (uint64_t seed = 1; seed <= (seeded ? 2u : 1u); ++seed) {
      all.push_back({order, seed, true, 0});
      all.push_back({order, seed, false, seeded ? 64u : 0u});
    }
  }
  return all;
}

inline std::string describe(const emulator::Schedule& s) {
  static const char* const names[] = {"forward", "reverse", "random", "priority"};
  return std::string(names[static_cast<int>(s.order)]) + " order, seed " + std::to_string(s.seed) +
         (s.late_copies ? ", late copies" : ", early copies");
}

/// Fails for every fault that the checker found.
inline void expect_no_reports() {
  for (const auto& report : emulator::take_reports()) ADD_FAILURE() << report;
}

/// What the backends on the emulated GPU share; a backend adds `run`.
struct EmulatedBackend {
  template <class T>
  using Buffer = emulator::Buffer<T>;
  emulator::Schedule schedule;

  void verify() { expect_no_reports(); }
  std::string describe() const { return test::describe(schedule); }
  emulator::Launch emulated(const LaunchShape& shape) const { return {shape.grid, shape.block, shape.shared_bytes}; }
};

/// Calls check(backend) for every schedule.
template <class Backend, class Check>
void for_each_schedule(const Check& check) {
  for (const auto& schedule : schedules()) {
    Backend backend{{schedule}};
    check(backend);
  }
}

}  // namespace respeft::cuda::test
