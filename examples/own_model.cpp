// A network of one's own takes part by using respeft's layers in place of torch::nn's: same options, same state-dict keys.

#include <respeft/respeft.h>
#include <torch/optim/adamw.h>

#include <cstdio>

namespace {

// docs begins: network
/// A residual network on vectors.
struct ResidualMlp : torch::nn::Module {
  explicit ResidualMlp(int64_t dim) {
    for (int i = 0; i < 4; ++i) {
      auto block = register_module("block" + std::to_string(i), std::make_shared<torch::nn::Module>());
      norms.push_back(block->register_module("norm", respeft::nn::LayerNorm(torch::nn::LayerNormOptions({dim}))));
      linears.push_back(block->register_module("fc", respeft::nn::Linear(dim, dim)));
      linears.back()->set_place({.block = i});  // for ResLoRA, whose shortcuts go from block to block
    }
    head = register_module("head", torch::nn::Linear(dim, 1));
  }

  at::Tensor forward(const at::Tensor& x) {
    respeft::nn::ForwardPass pass;  // the state of this pass
    return forward(x, pass);
  }
  at::Tensor forward(at::Tensor x, respeft::nn::ForwardPass& pass) {
    for (size_t i = 0; i < linears.size(); ++i) x = x + at::gelu(linears[i]->run(norms[i]->run(x, pass), pass));
    return head->forward(x).squeeze(-1);
  }

  std::vector<respeft::nn::LayerNorm> norms;
  std::vector<respeft::nn::Linear> linears;
  torch::nn::Linear head{nullptr};
};
// docs ends

/// Inputs, and targets sin(2 (x₁ + x₂ + x₃ + x₄) + phase).
struct Data {
  at::Tensor x, y;
  Data(const at::Tensor& inputs, double phase) : x(inputs), y((inputs.slice(1, 0, 4).sum(1) * 2.0 + phase).sin()) {}
};

/// Trains the whole network.
void pretrain(ResidualMlp& net, const Data& data, int steps) {
  torch::optim::AdamW optimizer(net.parameters(), torch::optim::AdamWOptions(1e-2));
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    at::mse_loss(net.forward(data.x), data.y).backward();
    optimizer.step();
  }
}

/// Attaches the method's adapters to `net` and trains them; returns the first loss and the last.
std::pair<double, double> fine_tune(ResidualMlp& net, const respeft::Method& method, const Data& data, int steps) {
  std::vector<double> losses;
  // docs begins: loop
  auto adapters = respeft::attach(net, method);
  torch::optim::AdamW optimizer(adapters->trainable_parameters(), torch::optim::AdamWOptions(3e-3));
  for (int step = 1; step <= steps; ++step) {
    auto loss = at::mse_loss(net.forward(data.x), data.y);
    losses.push_back(loss.item<double>());
    if (const auto extra = adapters->regularization(); extra.defined()) loss = loss + extra;
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    adapters->after_step(step, steps);
  }
  // docs ends
  std::printf("%-10s %4lld parameters, loss %.3f -> %.3f", method.name().c_str(),
              static_cast<long long>(adapters->parameter_count()), losses.front(), losses.back());
  return {losses.front(), losses.back()};
}

/// Folds the adapters into the plain weights. Shortcuts that read other layers' inputs do not fold exactly: their best fit on
/// some inputs takes their place. Returns the output that leaving the shortcuts out would give, if there are any.
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

/// Fine-tunes a pretrained network to a shifted phase, merges, and prints the results. True if it learned and merged well.
bool check(ResidualMlp& net, const respeft::Method& method, const at::Tensor& x) {
  const auto [first, last] = fine_tune(net, method, Data(x, /*phase=*/0.5), 200);
  const at::NoGradGuard no_grad;
  net.eval();
  const auto adapted = net.forward(x);
  const auto change_to = [&](const at::Tensor& y) { return (y - adapted).norm().item<double>() / adapted.norm().item<double>(); };
  const auto without = merge(net, x);
  const double change = change_to(net.forward(x));
  std::printf("; merging changed the output by %.1e of its norm\n", change);
  return last < 0.7 * first && change < (without.defined() ? 0.8 * change_to(without) : 1e-5);
}

}  // namespace

int main() {
  at::manual_seed(0);
  const auto x = at::randn({256, 16});
  ResidualMlp pretrained(16);
  pretrain(pretrained, Data(x, /*phase=*/0.0), 300);
  const auto tune = [&](const respeft::Method& method) {
    ResidualMlp net(16);
    {
      const at::NoGradGuard no_grad;
      for (const auto& item : pretrained.named_parameters()) net.named_parameters()[item.key()].copy_(item.value());
    }
    return check(net, method, x);
  };
  bool good = tune(respeft::Rlrr({.init = "identity"}));
  for (const auto shortcut : {respeft::Shortcut::Block, respeft::Shortcut::Input, respeft::Shortcut::Middle}) {
    good = tune(respeft::ResLora(shortcut, {.rank = 2})) && good;
  }
  return good ? 0 : 1;
}
