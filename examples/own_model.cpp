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

/// Trains `parameters` to give sin(2 (x₁ + x₂ + x₃ + x₄) + phase); returns the first loss and the last.
std::pair<double, double> train(ResidualMlp& net, const at::Tensor& x, double phase, std::vector<at::Tensor> parameters,
                                double lr, int steps) {
  const auto y = (x.slice(1, 0, 4).sum(1) * 2.0 + phase).sin();
  torch::optim::AdamW optimizer(std::move(parameters), torch::optim::AdamWOptions(lr));
  double first = 0.0, last = 0.0;
  for (int step = 0; step < steps; ++step) {
    const auto loss = at::mse_loss(net.forward(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  return {first, last};
}

/// Folds the adapters into the plain weights. Shortcuts that read other layers' inputs do not fold exactly: their best fit on
/// some inputs takes their place. Returns what the output would have been had they been left out instead.
at::Tensor merge(ResidualMlp& net, const at::Tensor& x) {
  if (!respeft::needs_shortcut_merge(net)) {
    respeft::merge(net);
    return {};
  }
  const auto forward = [&](const at::Tensor& inputs, respeft::nn::ForwardPass& pass) { return net.forward(inputs, pass); };
  respeft::ShortcutMerger merger(net, forward, x);
  auto without = merger.preview(respeft::ShortcutMerge::Drop, x);
  merger.merge(respeft::ShortcutMerge::Regression);
  return without;
}

/// Fine-tunes a pretrained network to a shifted phase, merges, and says how it went.
bool fine_tune(ResidualMlp& net, respeft::Method&& method, const at::Tensor& x) {
  auto adapters = respeft::attach(net, method);
  const auto [first, last] = train(net, x, /*phase=*/0.5, adapters.parameters(), 3e-3, 200);
  const at::NoGradGuard no_grad;
  net.eval();
  const auto adapted = net.forward(x);
  const auto change_to = [&](const at::Tensor& y) { return (y - adapted).norm().item<double>() / adapted.norm().item<double>(); };
  const auto without = merge(net, x);
  const double change = change_to(net.forward(x));
  std::printf("%-10s %4lld parameters, loss %.3f -> %.3f; merging changed the output by %.1e of its length\n",
              method.name().c_str(), static_cast<long long>(adapters.parameter_count()), first, last, change);
  return last < 0.7 * first && change < (without.defined() ? 0.8 * change_to(without) : 1e-5);
}

}  // namespace

int main() {
  at::manual_seed(0);
  const auto x = at::randn({256, 16});
  ResidualMlp pretrained(16);
  train(pretrained, x, /*phase=*/0.0, pretrained.parameters(), 1e-2, 300);
  const auto copy = [&] {
    ResidualMlp net(16);
    const at::NoGradGuard no_grad;
    for (const auto& item : pretrained.named_parameters()) net.named_parameters()[item.key()].copy_(item.value());
    return net;
  };
  const auto tune = [&](respeft::Method&& method) {
    auto net = copy();
    return fine_tune(net, std::move(method), x);
  };
  bool good = tune(respeft::Rlrr({.init = "identity"}));
  for (const auto shortcut : {respeft::Shortcut::Block, respeft::Shortcut::Input, respeft::Shortcut::Middle}) {
    good = tune(respeft::ResLora(shortcut, {.rank = 2})) && good;
  }
  return good ? 0 : 1;
}
