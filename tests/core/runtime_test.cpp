#include <respeft/core/runtime.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/expect_error.h"

namespace respeft {
namespace {

using test::expect_error;

at::ScalarType product_type(const Runtime& runtime) {
  const auto autocast = runtime.autocast();
  return at::matmul(at::ones({2, 2}), at::ones({2, 2})).scalar_type();
}

TEST(Runtime, ForwardPassesComputeInItsPrecision) {
  const Runtime rounded({.precision = "bfloat16"}), exact;
  EXPECT_EQ(product_type(rounded), at::kBFloat16);
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  const auto outer = rounded.autocast();
  EXPECT_EQ(product_type(exact), at::kFloat) << "float32 must hold inside another runtime's autocast";
  EXPECT_TRUE(at::autocast::is_autocast_enabled(at::kCPU));
}

TEST(Runtime, RefusesPrecisionsThatAreNotThere) {
  expect_error<std::invalid_argument>([] { Runtime({.precision = "float8"}); }, {"float8", "bfloat16"});
  expect_error<std::invalid_argument>([] { Runtime({.device = at::kMeta, .precision = "bfloat16"}); }, {"bfloat16", "meta"});
}

TEST(Runtime, GeneratorsContinueWhereTheyWere) {
  const Runtime runtime;
  runtime.seed(5);
  const at::Tensor first = at::randn({3});
  auto states = runtime.generators();
  ASSERT_EQ(states.size(), 1U);  // "generator": the CPU's
  const at::Tensor second = at::randn({3});
  states["another"] = at::zeros({1});
  runtime.restore_generators(states);
  EXPECT_TRUE(at::equal(at::randn({3}), second));
  runtime.seed(5);
  EXPECT_TRUE(at::equal(at::randn({3}), first));
  at::manual_seed(5);
  EXPECT_TRUE(at::equal(at::randn({3}), first)) << "a seed means what it means to LibTorch";
  states["generator"] = at::zeros({3});
  expect_error<std::runtime_error>([&] { runtime.restore_generators(states); }, {"'generator' is no generator's state"});
  states.erase("generator");
  expect_error<std::runtime_error>([&] { runtime.restore_generators(states); }, {"no 'generator'"});
}

TEST(Runtime, KnowsItsMemory) {
  const Runtime runtime;
  runtime.synchronize();
  EXPECT_GT(runtime.peak_memory(), int64_t{10} << 20);  // LibTorch alone takes more
  EXPECT_EQ(Runtime({.device = at::kMeta}).peak_memory(), 0);
}

}  // namespace
}  // namespace respeft
