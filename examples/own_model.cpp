// A network of one's own takes part by using respeft's layers where it used torch::nn's: same options, same state-dict keys.

#include <respeft/respeft.h>
#include <torch/optim/adamw.h>

#include <cstdio>

namespace {

/// A residual network on vectors.
struct ResidualMlp : torch::nn::Module {
  explicit ResidualMlp(int64_t dim) {
    for (int i = 0; i < 4; ++i) {
      auto block = register_module("block" + std::to_string(i), std::make_shared<torch::nn::Module>());
      norms.push_back(block->register_module("norm", respeft::nn::LayerNorm(torch::nn::LayerNormOptions({dim}))));
      linears.push_back(block->register_module("fc", respeft::nn::Linear(dim, dim)));
    }
    head = register_module("head", torch::nn::Linear(dim, 1));
  }

  at::Tensor forward(const at::Tensor& x) {
    respeft::nn::ForwardPass pass;  // what belongs to this pass alone
    return forward(x, pass);
  }
  at::Tensor forward(at::Tensor x, respeft::nn::ForwardPass& pass) {
    for (size_t i = 0; i < linears.size(); ++i) x = x + at::gelu(linears[i]->forward(norms[i]->forward(x, pass), pass));
    return head->forward(x).squeeze(-1);
  }

  std::vector<respeft::nn::LayerNorm> norms;
  std::vector<respeft::nn::Linear> linears;
  torch::nn::Linear head{nullptr};
};

/// Trains what `method` adapts, merges it into the plain weights and says how it went.
bool fine_tune(respeft::Method&& method) {
  at::manual_seed(0);
  ResidualMlp net(16);
  auto adapters = respeft::attach(net, method);
  torch::optim::AdamW optimizer(adapters.parameters(), torch::optim::AdamWOptions(1e-2));
  const auto x = at::randn({256, 16});
  const auto y = (x.slice(1, 0, 4).sum(1) * 2.0).sin();
  double first = 0.0, last = 0.0;
  for (int step = 0; step < 200; ++step) {
    const auto loss = at::mse_loss(net.forward(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }

  const at::NoGradGuard no_grad;
  net.eval();
  const auto adapted = net.forward(x);
  const bool exact = !respeft::needs_shortcut_merge(net);
  if (exact) {
    respeft::merge(net);
  } else {  // the shortcut reads inputs of other layers: the best fit on some inputs takes its place
    const auto forward = [&](const at::Tensor& inputs, respeft::nn::ForwardPass& pass) { return net.forward(inputs, pass); };
    respeft::ShortcutMerger(net, forward, x).merge(respeft::ShortcutMerge::Regression);
  }
  const double difference = (net.forward(x) - adapted).norm().item<double>() / adapted.norm().item<double>();
  std::printf("%-10s %5lld parameters, loss %.3f -> %.3f; merging changed the output by %.1e of its length\n",
              method.name().c_str(), static_cast<long long>(adapters.parameter_count()), first, last, difference);
  return last < 0.7 * first && difference < (exact ? 1e-6 : 0.2);
}

}  // namespace

int main() {
  bool good = fine_tune(respeft::Rlrr({.init = "identity"}));
  for (const auto shortcut : {respeft::Shortcut::Block, respeft::Shortcut::Input, respeft::Shortcut::Middle}) {
    good = fine_tune(respeft::ResLora(shortcut, {.rank = 2})) && good;
  }
  return good ? 0 : 1;
}
