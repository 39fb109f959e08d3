#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <respeft/train/optimizer.h>

namespace respeft::train {
namespace {

TEST(Decays, OnlyTheNameCounts) {
  const at::Tensor any = at::zeros({3});
  for (const char* name :
       {"head.weight", "blocks.3.attn.qkv.adapter.scale_in", "blocks.3.attn.qkv.adapter.scale_out",
        "blocks.3.mlp.fc1.adapter.shift", "patch_embed.proj.adapter.scale", "blocks.0.attn.proj.adapter.lora_A"}) {
    EXPECT_TRUE(decays(Decay::names, name, any)) << name;
  }
  for (const char* name : {"head.bias", "blocks.3.attn.qkv.bias", "blocks.3.norm1.adapter.scale", "norm.adapter.shift",
                           "fc_norm.weight", "blocks.11.norm2.weight"}) {
    EXPECT_FALSE(decays(Decay::names, name, any)) << name;
    EXPECT_TRUE(decays(Decay::all, name, any)) << name;
  }
}

TEST(Decays, OnlyTheDimensionsCountForMatrices) {
  const Decay decay = decay_from_name("matrices");
  EXPECT_TRUE(decays(decay, "head.weight", at::zeros({5, 7})));
  EXPECT_TRUE(decays(decay, "norm.of.a.matrix", at::zeros({5, 7})));
  EXPECT_FALSE(decays(decay, "blocks.3.mlp.fc1.adapter.scale", at::zeros({33})));
  EXPECT_FALSE(decays(decay, "blocks.3.mlp.fc1.adapter.shift", at::zeros({33})));
  EXPECT_FALSE(decays(decay, "temperature", at::zeros({})));
  EXPECT_EQ(decay_from_name("names"), Decay::names);
  EXPECT_EQ(decay_from_name("all"), Decay::all);
  EXPECT_THROW(decay_from_name("matrix"), std::invalid_argument);
}

std::vector<std::pair<std::string, at::Tensor>> make_parameters() {
  at::manual_seed(7);
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  parameters.emplace_back("head.weight", at::randn({5, 7}).requires_grad_());
  parameters.emplace_back("head.bias", at::randn({5}).requires_grad_());
  parameters.emplace_back("blocks.0.attn.qkv.adapter.scale_in", at::randn({3, 33}).requires_grad_());
  parameters.emplace_back("blocks.0.norm1.adapter.scale", at::randn({17}).requires_grad_());
  return parameters;
}

void set_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters, int64_t step) {
  at::manual_seed(100 + static_cast<uint64_t>(step));
  for (auto& [name, parameter] : parameters) parameter.mutable_grad() = at::randn_like(parameter.detach()) * 0.1;
}

/// LibTorch's own AdamW with the same groups.
TEST(AdamW, AgreesWithTorch) {
  const auto ours = make_parameters(), theirs = make_parameters();
  AdamW optimizer(ours, {.weight_decay = 0.05});
  const auto group = [](std::vector<at::Tensor> tensors, double decay) {
    return torch::optim::OptimizerParamGroup(
        std::move(tensors), std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(1e-2).weight_decay(decay)));
  };
  torch::optim::AdamW reference(std::vector<torch::optim::OptimizerParamGroup>{group({theirs[0].second, theirs[2].second}, 0.05),
                                                                               group({theirs[1].second, theirs[3].second}, 0.0)},
                                torch::optim::AdamWOptions(1e-2));
  for (int64_t step = 0; step < 20; ++step) {
    const double lr = 1e-2 / static_cast<double>(step + 1);
    set_gradients(ours, step);
    set_gradients(theirs, step);
    for (auto& g : reference.param_groups()) g.options().set_lr(lr);
    optimizer.step(lr);
    reference.step();
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_TRUE(at::allclose(ours[i].second, theirs[i].second, 1e-5, 1e-6)) << ours[i].first;
    EXPECT_FALSE(at::allclose(ours[i].second, make_parameters()[i].second, 1e-3, 1e-3)) << ours[i].first;
  }
}

/// Without gradients to speak of, a step only decays.
TEST(AdamW, DecaysMatricesAlone) {
  const auto parameters = make_parameters(), before = make_parameters();
  for (auto& [name, parameter] : parameters) parameter.mutable_grad() = at::zeros_like(parameter.detach());
  AdamW(parameters, {.weight_decay = 0.5, .decay = Decay::matrices}).step(0.1);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double factor = parameters[i].second.dim() > 1 ? 0.95 : 1.0;
    EXPECT_TRUE(at::allclose(parameters[i].second, before[i].second * factor, 1e-6, 1e-7)) << parameters[i].first;
  }
}

TEST(AdamW, StateGoesOnBitForBit) {
  const auto straight = make_parameters(), stopped = make_parameters();
  AdamW a(straight, {}), b(stopped, {});
  for (int64_t step = 0; step < 3; ++step) {
    set_gradients(straight, step);
    set_gradients(stopped, step);
    a.step(1e-2);
    b.step(1e-2);
  }
  TensorMap state;
  for (const auto& [key, tensor] : b.state()) state[key] = tensor.clone();
  AdamW c(stopped, {});
  c.load_state(state);
  set_gradients(straight, 3);
  set_gradients(stopped, 3);
  a.step(1e-2);
  c.step(1e-2);
  for (size_t i = 0; i < straight.size(); ++i) EXPECT_TRUE(at::equal(straight[i].second, stopped[i].second)) << straight[i].first;

  state.erase("exp_avg_sq/head.bias");
  EXPECT_THROW(c.load_state(state), std::runtime_error);
  state["exp_avg_sq/head.bias"] = at::zeros({6});
  EXPECT_THROW(c.load_state(state), std::runtime_error);
}

TEST(AdamW, LeavesAloneWhatHasNoGradient) {
  const auto parameters = make_parameters();
  AdamW optimizer(parameters, {.weight_decay = 0.5});
  parameters[1].second.mutable_grad() = at::ones({5});
  optimizer.step(0.1);
  EXPECT_TRUE(at::equal(parameters[0].second, make_parameters()[0].second));
  EXPECT_FALSE(at::equal(parameters[1].second, make_parameters()[1].second));
}

/// LibTorch's own SGD: with weight decay for some parameters and for all of them.
TEST(Sgd, AgreesWithTorch) {
  for (const Decay decay : {Decay::names, Decay::all}) {
    const auto ours = make_parameters(), theirs = make_parameters();
    Sgd optimizer(ours, {.momentum = 0.9, .weight_decay = 0.05, .decay = decay});
    const auto group = [](std::vector<at::Tensor> tensors, double weight_decay) {
      auto options = torch::optim::SGDOptions(1e-1).momentum(0.9).weight_decay(weight_decay);
      return torch::optim::OptimizerParamGroup(std::move(tensors), std::make_unique<torch::optim::SGDOptions>(options));
    };
    torch::optim::SGD reference(std::vector<torch::optim::OptimizerParamGroup>{group({theirs[0].second, theirs[2].second}, 0.05),
                                                                               group({theirs[1].second, theirs[3].second},
                                                                                     decay == Decay::all ? 0.05 : 0.0)},
                                torch::optim::SGDOptions(1e-1));
    for (int64_t step = 0; step < 20; ++step) {
      const double lr = 1e-1 / static_cast<double>(step + 1);
      set_gradients(ours, step);
      set_gradients(theirs, step);
      for (auto& g : reference.param_groups()) g.options().set_lr(lr);
      optimizer.step(lr);
      reference.step();
    }
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_TRUE(at::allclose(ours[i].second, theirs[i].second, 1e-5, 1e-6)) << ours[i].first;
      EXPECT_FALSE(at::allclose(ours[i].second, make_parameters()[i].second, 1e-3, 1e-3)) << ours[i].first;
    }
  }
}

TEST(Sgd, StateGoesOnBitForBit) {
  const auto straight = make_parameters(), stopped = make_parameters();
  Sgd a(straight, {}), b(stopped, {});
  const auto step = [](Sgd& optimizer, const auto& parameters, int64_t number) {
    set_gradients(parameters, number);
    optimizer.step(1e-2);
  };
  step(a, straight, 0), step(b, stopped, 0);
  TensorMap state;
  for (const auto& [key, tensor] : b.state()) state[key] = tensor.clone();
  Sgd c(stopped, {});
  c.load_state(state);
  step(a, straight, 1), step(c, stopped, 1);
  for (size_t i = 0; i < straight.size(); ++i) EXPECT_TRUE(at::equal(straight[i].second, stopped[i].second)) << straight[i].first;
}

TEST(ClipGradients, AgreesWithTorch) {
  for (const double limit : {0.3, 1000.0}) {
    const auto ours = make_parameters(), theirs = make_parameters();
    set_gradients(ours, 0);
    set_gradients(theirs, 0);
    std::vector<at::Tensor> a, b;
    for (size_t i = 0; i < ours.size(); ++i) {
      a.push_back(ours[i].second);
      b.push_back(theirs[i].second);
    }
    EXPECT_NEAR(clip_gradients(a, limit).item<double>(), torch::nn::utils::clip_grad_norm_(b, limit), 1e-5);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::allclose(a[i].grad(), b[i].grad(), 1e-6, 1e-8)) << ours[i].first;
  }
}

}  // namespace
}  // namespace respeft::train
