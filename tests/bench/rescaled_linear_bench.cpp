// `rescaled_linear` beside the same layer in plain ATen operators, at the shapes of ViT-B/16 with a batch of 8.
// Both run in one program, in turns; `kept` is what autograd keeps for the backward, the frozen weight excluded.

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <respeft/ops/rescaled_linear.h>
#include <torch/csrc/autograd/autograd.h>

#include <respeft/inspect/saved_tensors.h>

namespace {

struct Layer {
  Layer(int64_t in, int64_t out, int64_t groups)
      : x(at::randn({8, 197, in}).requires_grad_(true)),
        weight(at::randn({out, in}) * 0.02),
        bias(at::randn({out}).requires_grad_(true)),
        scale_in((groups == 1 ? at::randn({in}) : at::randn({groups, in})).requires_grad_(true)),
        scale_out(at::randn({out}).requires_grad_(true)),
        grad(at::randn({8, 197, out})) {}

  at::Tensor fused() const { return respeft::ops::rescaled_linear(x, weight, bias, scale_in, scale_out); }
  at::Tensor plain() const {
    const auto rows =
        scale_in.dim() == 2 ? scale_in.repeat_interleave(weight.size(0) / scale_in.size(0), 0) : scale_in.unsqueeze(0);
    return at::linear(x, weight * (1.0 + scale_out.unsqueeze(1) * rows), bias);
  }

  at::Tensor x, weight, bias, scale_in, scale_out, grad;
};

Layer make_layer(const benchmark::State& state) {
  return Layer(state.range(0), state.range(1), state.range(2));
}

template <at::Tensor (Layer::*forward)() const>
void step(benchmark::State& state) {
  const auto layer = make_layer(state);
  const std::vector<at::Tensor> leaves = {layer.x, layer.bias, layer.scale_in, layer.scale_out};
  for (auto _ : state) {
    benchmark::DoNotOptimize(torch::autograd::grad({(layer.*forward)()}, leaves, {layer.grad}));
  }
  const auto kept = respeft::bytes_saved_for_backward([&] { return (layer.*forward)(); }, {layer.weight});
  state.counters["kept_MB"] = static_cast<double>(kept) / 1e6;
  state.counters["kept_weights"] =
      (static_cast<double>(kept) / 4.0 - static_cast<double>(layer.x.numel())) / static_cast<double>(layer.weight.numel());
}

template <at::Tensor (Layer::*forward)() const>
void inference(benchmark::State& state) {
  const auto layer = make_layer(state);
  const at::NoGradGuard no_grad;
  for (auto _ : state) benchmark::DoNotOptimize((layer.*forward)());
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"in", "out", "groups"})->Args({768, 2304, 3})->Args({768, 768, 1})->Args({768, 3072, 1})->Args({3072, 768, 1});
  bench->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK(step<&Layer::fused>)->Name("forward_backward/fused")->Apply(shapes);
BENCHMARK(step<&Layer::plain>)->Name("forward_backward/plain")->Apply(shapes);
BENCHMARK(inference<&Layer::fused>)->Name("forward/fused")->Apply(shapes);
BENCHMARK(inference<&Layer::plain>)->Name("forward/plain")->Apply(shapes);

}  // namespace
