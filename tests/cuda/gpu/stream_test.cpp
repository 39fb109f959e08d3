// The registered operators and CUDA's runtime: streams, graphs, devices.

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/cuda/Sleep.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/cuda/gpu/device.h"
#include "tests/cuda/ops/checking.h"
#include "tests/expect_error.h"

namespace respeft::ops::test {

const at::DeviceType kDevice = at::kCUDA;
std::string why_no_device() {
  return ::respeft::cuda::test::why_no_device();
}
void expect_no_faults() {}

namespace {

class Streams : public InPrecision {};

TEST_P(Streams, RunsOnTheCurrentStream) {
  constexpr int64_t cycles = 100'000'000;  // some 50 ms
  both_ways([&](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    const auto expected = run(op, arguments, seeds);
    auto late = arguments;
    late[kInput] = at::empty_like(arguments[kInput]);
    Results results;
    {
      const auto stream = c10::cuda::getStreamFromPool();
      c10::cuda::device_synchronize();
      const c10::cuda::CUDAStreamGuard guard(stream);
      for (const bool asleep : {false, true}) {  // first whatever is prepared once, which may wait for the device
        late[kInput].zero_();
        stream.synchronize();
        if (asleep) at::cuda::sleep(cycles);
        late[kInput].copy_(arguments[kInput]);
        results = run(op, late, seeds);
      }
      EXPECT_FALSE(stream.query()) << "the stream did not sleep long enough for this test to mean anything";
      stream.synchronize();
    }
    expect_within(results, expected, roundings(precision()));
  });
}

/// Captures `compute`, changes its arguments in place, replays it, and expects what it gives outside the graph.
void expect_captured(const Tensors& arguments, const std::function<Results()>& compute) {
  const auto stream = c10::cuda::getStreamFromPool();
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(stream);
  for (int i = 0; i < 3; ++i) compute();
  stream.synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto captured = compute();
  graph.capture_end();
  for (const double factor : {-0.5, 2.0}) {  // exact in every dtype
    for (const auto& argument : arguments)
      if (argument.defined()) argument.mul_(factor);
    graph.replay();
    stream.synchronize();
    const auto eager = compute();
    stream.synchronize();
    expect_equal(captured, eager);
  }
}

TEST_P(Streams, CanBeCapturedInAGraph) {
  both_ways([](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    expect_captured(arguments, [&] { return run(op, arguments, seeds); });
  });
}

TEST_P(Streams, CanBeCapturedInAGraphWithAutograd) {
  both_ways([](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    expect_captured(arguments, [&] { return differentiate(op.call, arguments, seeds); });
  });
}

TEST_P(Streams, RunsOnTheDeviceOfItsArguments) {
  if (c10::cuda::device_count() < 2) GTEST_SKIP() << "no second CUDA device";
  const ScopedTf32 tf32(precision() == Precision::TF32);
  const auto op = test_case().make(dtype(), dtype());
  const auto seeds = draw_seeds(op, dtype());
  const at::Device second(kDevice, 1);
  ASSERT_EQ(c10::cuda::current_device(), 0);
  const auto arguments = placed(op.arguments, second, dtype()), placed_seeds = placed(seeds, second, dtype());
  const auto truth = differentiate(op.plain, op.arguments, seeds), plain = differentiate(op.plain, arguments, placed_seeds);
  for (const auto way : {Way::Fused, Way::Vendor}) {
    SCOPED_TRACE(to_string(way));
    const ScopedWay scoped(way);
    const auto results = run(op, arguments, placed_seeds);
    expect_dtypes(results, arguments);
    expect_close(results, plain, truth, precision());
    EXPECT_EQ(c10::cuda::current_device(), 0);
  }
  expect_close(differentiate(op.call, arguments, placed_seeds), plain, truth, precision());
}

INSTANTIATE_TEST_SUITE_P(Ops, Streams, testing::Combine(testing::ValuesIn(typical_cases()), testing::ValuesIn(kPrecisions)),
                         case_and_precision_name);

class Errors : public OnDevice {};

TEST_P(Errors, NameAnArgumentOnAnotherDevice) {
  const auto op = GetParam().make(at::kFloat, at::kFloat);
  auto arguments = placed(op.arguments, kDevice, at::kFloat);
  arguments[kWeight] = arguments[kWeight].cpu();
  respeft::test::expect_error<c10::Error>([&] { op.call(arguments); }, {"expected weight on cuda:0 as input is, got cpu"});
}

INSTANTIATE_TEST_SUITE_P(Ops, Errors, testing::ValuesIn(small_cases()), case_name);

}  // namespace
}  // namespace respeft::ops::test
