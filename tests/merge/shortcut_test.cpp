#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/merge/shortcut.h>
#include <respeft/methods/reslora.h>
#include <respeft/models/vit/vit.h>
#include <respeft/models/weights.h>
#include <respeft/nn/linear.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "src/methods/reslora_adapter.h"
#include "tests/expect_error.h"

namespace respeft {
namespace {

using reslora::ResLoraAdapter;
using test::expect_error;

constexpr int64_t kRank = 2;
constexpr double kAlpha = 3.0;

/// A small ViT in float64, adapted with every parameter away from its start.
struct Adapted {
  explicit Adapted(Shortcut shortcut, int64_t pre_num = -1, int64_t target_rank = 0) {
    models::VitConfig config;
    config.name = "test", config.image_size = 8, config.patch_size = 4, config.num_classes = 3;
    config.embed_dim = 8, config.depth = 4, config.num_heads = 2, config.mlp_dim = 16;
    at::manual_seed(1);
    model = std::make_shared<models::VisionTransformerImpl>(config);
    model->to(at::kDouble);
    const at::NoGradGuard no_grad;
    for (auto parameter : model->parameters()) parameter.add_(at::randn_like(parameter), 0.3);
    const auto attachment = attach(
        *model,
        ResLora(shortcut, {.rank = kRank, .alpha = kAlpha, .pre_num = pre_num, .allocation = {.target_rank = target_rank}}));
    for (auto parameter : attachment->trainable_parameters()) parameter.add_(at::randn_like(parameter), 0.2);
    images = at::randn({64, 3, 8, 8}, at::kDouble);
  }

  /// Forward passes in training mode, which fill the windows.
  void record(int passes) {
    model->train();
    const at::NoGradGuard no_grad;
    for (int i = 0; i < passes; ++i) model->forward(at::randn({4, 3, 8, 8}, at::kDouble) * (1.0 + 0.01 * i));
    model->eval();
  }

  at::Tensor logits() const {
    const at::NoGradGuard no_grad;
    model->eval();
    return model->forward(images);
  }

  nn::WeightSite& site(const std::string& name) const {
    for (const auto& named : nn::find_sites(*model)) {
      if (named.info.name == name) return *named.layer();
    }
    throw std::invalid_argument(name);
  }
  ResLoraAdapter& adapter(const std::string& name) const { return dynamic_cast<ResLoraAdapter&>(*site(name).adapter()); }

  std::shared_ptr<models::VisionTransformerImpl> model;
  at::Tensor images;
};

double largest(const at::Tensor& tensor) {
  return tensor.abs().max().item<double>();
}

class Approximate : public testing::TestWithParam<Shortcut> {};
INSTANTIATE_TEST_SUITE_P(ResLora, Approximate, testing::Values(Shortcut::Input, Shortcut::Middle));

TEST_P(Approximate, ThePreviewIsTheMergedModel) {
  for (const auto merge : shortcut_merges()) {
    SCOPED_TRACE(to_string(merge));
    Adapted adapted(GetParam());
    adapted.record(3);
    const auto before = adapted.logits();
    ShortcutMerger merger(*adapted.model, adapted.images);
    const auto preview = merger.preview(merge, adapted.images);
    EXPECT_TRUE(at::equal(adapted.logits(), before)) << "a preview changed the model";
    EXPECT_GT(largest(preview - before), 1e-3 * largest(before));
    const auto report = merger.merge(merge);
    EXPECT_FALSE(report.exact());
    EXPECT_EQ(report.sites.size(), 16U);
    for (const auto& site : report.sites) EXPECT_EQ(site.exact, site.name.find("blocks.0.") == 0) << site.name;
    EXPECT_FALSE(has_adapters(*adapted.model));
    EXPECT_LE(largest(adapted.logits() - preview), 1e-10 * largest(preview));
    EXPECT_THROW(respeft::merge(*adapted.model), std::invalid_argument);
    EXPECT_THROW(ShortcutMerger(*adapted.model, adapted.images), std::invalid_argument);
    for (const auto& use :
         std::vector<std::function<void()>>{[&] { merger.merge(merge); }, [&] { merger.base(adapted.images); },
                                            [&] { merger.preview(merge, adapted.images); }, [&] { merger.errors(merge); }}) {
      expect_error<std::invalid_argument>(use, {"merged already"});
    }
  }
}

TEST_P(Approximate, APlainMergeIsRefusedAndChangesNothing) {
  Adapted adapted(GetParam());
  const auto before = adapted.logits();
  EXPECT_TRUE(needs_shortcut_merge(*adapted.model));
  expect_error<std::invalid_argument>([&] { respeft::merge(*adapted.model); }, {"blocks.1.attn.qkv", "regression"});
  EXPECT_TRUE(at::equal(adapted.logits(), before));
}

/// What a projection of a layer reads and takes on the images, row by row.
std::pair<at::Tensor, at::Tensor> recorded(const Adapted& adapted, const std::string& name, size_t projection) {
  std::vector<at::Tensor> inputs, taken;
  auto recorder = std::make_shared<reslora::Recorder>();
  recorder->see = [&](const ResLoraAdapter& layer, const std::vector<size_t>& together, const at::Tensor& x,
                      const at::Tensor& t) {
    const auto at = std::find(together.begin(), together.end(), projection);
    if (layer.site_name() != name || at == together.end()) return;
    const auto own = t.narrow(-1, (at - together.begin()) * kRank, kRank);
    inputs.push_back(x.reshape({-1, x.size(-1)})), taken.push_back(own.reshape({-1, kRank}));
  };
  const at::NoGradGuard no_grad;
  nn::ForwardPass pass;
  pass.put(recorder);
  adapted.model->eval();
  adapted.model->forward(adapted.images, pass);
  return {at::cat(inputs, 0), at::cat(taken, 0)};
}

double error_of(const std::vector<ShortcutMerger::SiteError>& errors, const std::string& name) {
  for (const auto& error : errors) {
    if (error.name == name) return error.error;
  }
  return -1.0;
}

TEST_P(Approximate, RegressionIsTheLeastSquaresSolution) {
  Adapted adapted(GetParam());
  ShortcutMerger merger(*adapted.model, adapted.images, {.ridge = 0.0, .batch_size = 24});
  const std::string name = "blocks.2.mlp.fc1";
  const auto [x, t] = recorded(adapted, name, 0);
  const auto with_one = at::constant_pad_nd(x, {0, 1}, 1.0);
  const auto solution = std::get<0>(at::linalg_lstsq(with_one, t, c10::nullopt, "gelsd"));
  const auto& pair = *adapted.adapter(name).pairs()[0];
  const auto rest = (t - with_one.mm(solution)).mm(pair.lora_B.t()), whole = (x.mm(pair.lora_A.t()) + t).mm(pair.lora_B.t());
  EXPECT_NEAR(error_of(merger.errors(ShortcutMerge::Regression), name), (rest.norm() / whole.norm()).item<double>(), 1e-6);
  const auto weight = adapted.site(name).weight.clone(), bias = adapted.site(name).bias.clone();
  merger.merge(ShortcutMerge::Regression);
  const auto predicted = with_one.mm(solution);  // the coefficients themselves are not unique after a norm
  const auto expected = at::linear(x, weight, bias) + kAlpha / kRank * (x.mm(pair.lora_A.t()) + predicted).mm(pair.lora_B.t());
  EXPECT_LE(largest(at::linear(x, adapted.site(name).weight, adapted.site(name).bias) - expected), 1e-6 * largest(expected));
}

TEST_P(Approximate, MoreFreedomIsNeverWorse) {
  Adapted adapted(GetParam());
  adapted.record(3);
  ShortcutMerger merger(*adapted.model, adapted.images, {.ridge = 0.0});
  const auto drop = merger.errors(ShortcutMerge::Drop), regression = merger.errors(ShortcutMerge::Regression);
  for (const auto other : shortcut_merges()) {
    const auto errors = merger.errors(other);
    ASSERT_EQ(errors.size(), 16U);
    for (size_t i = 0; i < errors.size(); ++i)
      EXPECT_LE(regression[i].error, errors[i].error + 1e-9) << to_string(other) << " " << errors[i].name;
  }
  for (const auto& error : drop) EXPECT_EQ(error.exact, error.name.find("blocks.0.") == 0);
}

TEST_P(Approximate, TheErrorOfASiteIsThatOfItsUpdate) {
  Adapted adapted(GetParam());
  ShortcutMerger merger(*adapted.model, adapted.images, {.batch_size = 10});
  const std::string name = "blocks.3.attn.qkv";
  double off = 0.0, whole = 0.0;
  for (size_t p = 0; p < 3; ++p) {
    const auto [x, t] = recorded(adapted, name, p);
    EXPECT_EQ(x.size(0), p == 0 ? 64 : 64 * 5) << "the class token alone asks in the last block";
    const auto& pair = *adapted.adapter(name).pairs()[p];
    off += t.mm(pair.lora_B.t()).pow(2).sum().item<double>();
    whole += (x.mm(pair.lora_A.t()) + t).mm(pair.lora_B.t()).pow(2).sum().item<double>();
  }
  EXPECT_NEAR(error_of(merger.errors(ShortcutMerge::Drop), name), std::sqrt(off / whole), 1e-9);
}

TEST_P(Approximate, WindowsHoldTheLastHundredBatches) {
  Adapted adapted(GetParam());
  adapted.record(130);
  const auto& adapter = adapted.adapter("blocks.1.mlp.fc1");
  // The same passes again: the mean over the last 100 of the root mean square length of a token.
  double expected = 0.0;
  at::manual_seed(77);
  Adapted again(GetParam());
  std::vector<double> lengths;
  auto recorder = std::make_shared<reslora::Recorder>();
  recorder->see = [&](const ResLoraAdapter& layer, const std::vector<size_t>&, const at::Tensor& x, const at::Tensor&) {
    if (layer.site_name() == "blocks.1.mlp.fc1") lengths.push_back((x.norm() / std::sqrt(x.numel() / x.size(-1))).item<double>());
  };
  for (int i = 0; i < 130; ++i) {
    const at::NoGradGuard no_grad;
    nn::ForwardPass pass;
    pass.put(recorder);
    again.model->forward(at::randn({4, 3, 8, 8}, at::kDouble) * (1.0 + 0.01 * i), pass);
  }
  for (size_t i = 30; i < 130; ++i) expected += lengths[i] / 100.0;
  EXPECT_NEAR(adapter.input_length(0), expected, 1e-5 * expected);
  EXPECT_GT(adapter.middle_length(0), 0.0);
  const double before = adapter.input_length(0);
  adapted.logits();
  EXPECT_EQ(adapter.input_length(0), before) << "evaluation was recorded";
}

TEST(ShortcutMerge, InputAndWeightAreThePapers) {
  const double s = kAlpha / kRank;
  {
    Adapted adapted(Shortcut::Input);  // Eq. 8 and 9
    adapted.record(5);
    const auto &one = adapted.adapter("blocks.1.mlp.fc2"), &two = adapted.adapter("blocks.2.mlp.fc2");
    const double alpha = one.input_length(0) / two.input_length(0);
    const auto& pair = *two.pairs()[0];
    const auto expected = adapted.site("blocks.2.mlp.fc2").weight + (1.0 + alpha) * s * pair.lora_B.mm(pair.lora_A);
    ShortcutMerger(*adapted.model, adapted.images).merge(ShortcutMerge::Input);
    EXPECT_LE(largest(adapted.site("blocks.2.mlp.fc2").weight - expected), 1e-12);
  }
  {
    Adapted adapted(Shortcut::Input);  // Eq. 10 and 11: W*_0 = W + 2 s B A, then α = 1, then the ratio of merged lengths
    std::vector<at::Tensor> merged;
    for (int n = 0; n < 4; ++n) {
      const std::string name = "blocks." + std::to_string(n) + ".mlp.fc2";
      const auto& pair = *adapted.adapter(name).pairs()[0];
      const double alpha =
          n < 2 ? 1.0 : (merged[static_cast<size_t>(n) - 2].norm() / merged[static_cast<size_t>(n) - 1].norm()).item<double>();
      merged.push_back(adapted.site(name).weight + (1.0 + alpha) * s * pair.lora_B.mm(pair.lora_A));
    }
    ShortcutMerger(*adapted.model, adapted.images).merge(ShortcutMerge::Weight);
    for (int n = 0; n < 4; ++n) {
      const auto& weight = adapted.site("blocks." + std::to_string(n) + ".mlp.fc2").weight;
      EXPECT_LE(largest(weight - merged[static_cast<size_t>(n)]), 1e-12) << n;
    }
  }
  for (const auto merge : {ShortcutMerge::Input, ShortcutMerge::Weight}) {
    Adapted adapted(Shortcut::Middle, 2);  // Eq. 12 and 13
    adapted.record(5);
    const std::string name = "blocks.3.attn.proj";
    const auto layer = [&](int n) -> const ResLoraAdapter& {
      return adapted.adapter("blocks." + std::to_string(n) + ".attn.proj");
    };
    const auto& pair = *layer(3).pairs()[0];
    at::Tensor down = pair.lora_A.clone();
    for (const int n : {1, 2}) {
      if (merge == ShortcutMerge::Input) down = down + pair.lora_A * (layer(n).middle_length(0) / layer(3).middle_length(0));
      if (merge == ShortcutMerge::Weight)
        down = down + layer(n).pairs()[0]->lora_A * (layer(n).input_length(0) / layer(3).input_length(0));
    }
    const auto expected = adapted.site(name).weight + s * pair.lora_B.mm(down);
    ShortcutMerger(*adapted.model, adapted.images).merge(merge);
    EXPECT_LE(largest(adapted.site(name).weight - expected), 1e-12) << to_string(merge);
  }
}

TEST(ShortcutMerge, WithoutTrainingThereAreNoLengths) {
  Adapted adapted(Shortcut::Input);
  ShortcutMerger merger(*adapted.model, adapted.images);
  expect_error<std::invalid_argument>([&] { merger.preview(ShortcutMerge::Input, adapted.images); },
                                      {"lengths that training records", "blocks."});
  EXPECT_NO_THROW(merger.preview(ShortcutMerge::Weight, adapted.images));
  using Merges = std::vector<ShortcutMerge>;
  EXPECT_EQ(merger.merges(),
            Merges({ShortcutMerge::Drop, ShortcutMerge::Weight, ShortcutMerge::Scalar, ShortcutMerge::Regression}));
  const ShortcutMerger middle(*Adapted(Shortcut::Middle).model, adapted.images);
  EXPECT_EQ(middle.merges(), Merges({ShortcutMerge::Drop, ShortcutMerge::Scalar, ShortcutMerge::Regression}));
}

TEST_P(Approximate, LittleMemoryTakesMorePassesToTheSameEnd) {
  Adapted adapted(GetParam());
  adapted.record(3);
  int64_t passes = 0;
  const auto forward = [&](const at::Tensor& images, nn::ForwardPass& pass) {
    ++passes;
    return adapted.model->forward(images, pass);
  };
  const ShortcutMerger whole(*adapted.model, forward, adapted.images, {.batch_size = 64});
  EXPECT_EQ(passes, 1);
  // A fc2 reads 16 numbers and takes 17² · 8 = 2,312 bytes, the other layers 9² · 8 = 648 each: blocks 1 to 3 take one pass each.
  const ShortcutMerger parts(*adapted.model, forward, adapted.images, {.batch_size = 64, .memory = 3 * 648 + 2312});
  EXPECT_EQ(passes, 1 + 3);
  const ShortcutMerger single(*adapted.model, forward, adapted.images, {.batch_size = 64, .memory = 1});
  EXPECT_EQ(passes, 1 + 3 + 12);
  for (const auto merge : shortcut_merges()) {
    for (const auto* other : {&parts, &single}) {
      const auto expected = whole.errors(merge), errors = other->errors(merge);
      ASSERT_EQ(errors.size(), expected.size());
      for (size_t i = 0; i < errors.size(); ++i) {
        EXPECT_EQ(errors[i].name, expected[i].name);
        EXPECT_EQ(errors[i].error, expected[i].error) << to_string(merge) << " " << errors[i].name;
      }
      EXPECT_TRUE(at::equal(other->preview(merge, adapted.images), whole.preview(merge, adapted.images)));
    }
  }
}

/// A user's own network, as in examples/own_model.cpp: no image model, no fused weights.
struct OwnNet : torch::nn::Module {
  OwnNet() {
    for (int i = 0; i < 3; ++i) {
      auto block = register_module("block" + std::to_string(i), std::make_shared<torch::nn::Module>());
      layers.push_back(block->register_module("fc", nn::Linear(6, 6)));
      layers.back()->set_place({.block = i});
    }
    to(at::kDouble);
  }
  at::Tensor forward(at::Tensor x, nn::ForwardPass& pass) {
    for (auto& layer : layers) x = x + layer->run(x, pass).tanh();
    return x;
  }
  std::vector<nn::Linear> layers;
};

TEST_P(Approximate, EveryModuleIsLeftInItsMode) {
  Adapted adapted(GetParam());
  adapted.model->train();
  adapted.model->norm->eval();
  ShortcutMerger(*adapted.model, adapted.images);
  EXPECT_TRUE(adapted.model->is_training());
  EXPECT_TRUE(adapted.model->blocks[1]->is_training());
  EXPECT_FALSE(adapted.model->norm->is_training());
}

TEST_P(Approximate, ARegressionThatFailsLeavesTheOthers) {
  Adapted adapted(GetParam());
  auto images = adapted.images.clone();
  images[0][0][0][0] = std::numeric_limits<double>::quiet_NaN();
  ShortcutMerger merger(*adapted.model, images);
  const auto merges = merger.merges();
  EXPECT_EQ(std::count(merges.begin(), merges.end(), ShortcutMerge::Regression), 0);
  EXPECT_EQ(std::count(merges.begin(), merges.end(), ShortcutMerge::Drop), 1);
  expect_error<std::invalid_argument>([&] { merger.merge(ShortcutMerge::Regression); }, {"regression at blocks.1"});
  EXPECT_TRUE(has_adapters(*adapted.model));
}

TEST_P(Approximate, AUsersOwnNetworkIsMergedToo) {
  at::manual_seed(4);
  OwnNet net;
  const auto attachment = attach(net, ResLora(GetParam(), {.rank = kRank}), AttachOptions{{}});
  const at::NoGradGuard no_grad;
  for (auto parameter : attachment->trainable_parameters()) parameter.add_(at::randn_like(parameter), 0.2);
  const auto x = at::randn({40, 6}, at::kDouble);
  const auto forward = [&](const at::Tensor& inputs, nn::ForwardPass& pass) { return net.forward(inputs, pass); };
  nn::ForwardPass adapted_pass, merged_pass;
  const auto adapted = net.forward(x, adapted_pass);
  ShortcutMerger merger(net, forward, x);
  const auto preview = merger.preview(ShortcutMerge::Regression, x), drop = merger.preview(ShortcutMerge::Drop, x);
  EXPECT_LT((preview - adapted).norm().item<double>(), 0.5 * (drop - adapted).norm().item<double>());
  merger.merge(ShortcutMerge::Regression);
  EXPECT_LE(largest(net.forward(x, merged_pass) - preview), 1e-12 * largest(preview));
}

TEST_P(Approximate, AllocatedRanksAreMergedToo) {
  Adapted adapted(GetParam(), -1, /*target_rank=*/1);
  adapted.record(3);
  ShortcutMerger merger(*adapted.model, adapted.images);
  for (const auto merge : shortcut_merges()) {
    Adapted again(GetParam(), -1, 1);
    again.record(3);
    ShortcutMerger other(*again.model, again.images);
    other.merge(merge);
    const auto preview = merger.preview(merge, adapted.images);
    EXPECT_LE(largest(again.logits() - preview), 1e-10 * largest(preview)) << to_string(merge);
  }
  const auto base = merger.base(adapted.images);
  detach(*adapted.model);
  EXPECT_LE(largest(adapted.logits() - base), 1e-12 * largest(base));
}

/// A projection that lost all its directions has a length of zero, which is not the same as none.
TEST_P(Approximate, AProjectionPrunedAwayIsMergedToo) {
  Adapted adapted(GetParam(), -1, 1);
  {
    const at::NoGradGuard no_grad;
    adapted.adapter("blocks.1.mlp.fc2").pairs()[0]->lora_E.zero_();
  }
  adapted.record(3);
  EXPECT_EQ(adapted.adapter("blocks.1.mlp.fc2").middle_length(0), 0.0);
  ShortcutMerger merger(*adapted.model, adapted.images);
  EXPECT_EQ(merger.merges(), shortcut_merges());
  for (const auto merge : shortcut_merges()) EXPECT_TRUE(at::isfinite(merger.preview(merge, adapted.images)).all().item<bool>());
}

TEST(ShortcutMerge, TheBlockShortcutNeedsNone) {
  Adapted adapted(Shortcut::Block);
  EXPECT_FALSE(needs_shortcut_merge(*adapted.model));
  EXPECT_THROW(ShortcutMerger(*adapted.model, adapted.images), std::invalid_argument);
}

TEST(ShortcutMerge, TheBaseIsTheModelWithoutUpdates) {
  Adapted adapted(Shortcut::Middle);
  ShortcutMerger merger(*adapted.model, adapted.images);
  const auto base = merger.base(adapted.images);
  detach(*adapted.model);
  EXPECT_LE(largest(adapted.logits() - base), 1e-12 * largest(base));
}

TEST(ShortcutMerge, NamesAreKnown) {
  for (const auto merge : shortcut_merges()) EXPECT_EQ(shortcut_merge_from_name(to_string(merge)), merge);
  expect_error<std::invalid_argument>([] { shortcut_merge_from_name("regresion"); }, {"did you mean 'regression'"});
}

}  // namespace
}  // namespace respeft
