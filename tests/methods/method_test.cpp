#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/bitfit.h>
#include <respeft/methods/loha.h>
#include <respeft/methods/lokr.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/plain.h>
#include <respeft/methods/rlrr.h>
#include <respeft/methods/ssf.h>
#include <respeft/models/model.h>
#include <respeft/nn/layer_norm.h>
#include <respeft/nn/linear.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/gradients.h"

namespace respeft {
namespace {

models::ModelOptions shapes_only(int64_t classes = 10) {
  models::ModelOptions options;
  options.num_classes = classes;
  options.device = at::kMeta;
  return options;
}

/// Trained parameters on a model, its head excluded.
int64_t adapter_parameters(torch::nn::Module& model, Method&& method) {
  return attach(model, method, AttachOptions{{}})->parameter_count();
}

// RLRR's paper, tables 2 to 4, and METHODS: adapters only.
TEST(ParameterCounts, OfRlrrAreThePapers) {
  EXPECT_EQ(adapter_parameters(*models::create("vit_base_patch16_224", shapes_only()), Rlrr()), 288768);
  EXPECT_EQ(adapter_parameters(*models::create("vit_large_patch16_224", shapes_only()), Rlrr()), 765952);
  EXPECT_EQ(adapter_parameters(*models::create("vit_huge_patch14_224", shapes_only()), Rlrr()), 1274880);
}

/// The layers of Swin-B that the paper's count covers: a fused qkv with one scale_in, the reductions between the stages
/// (which have no bias, and get a shift all the same), both norms of every block, and the final norm.
struct SwinBase : torch::nn::Module {
  SwinBase() {
    const at::TensorOptions meta(at::kMeta);
    const auto linear = [&](const std::string& name, int64_t in, int64_t out, bool bias = true) {
      register_module(name, nn::Linear(torch::nn::LinearOptions(in, out).bias(bias), std::vector<std::string>{}, meta));
    };
    const auto norm = [&](const std::string& name, int64_t dim) {
      register_module(name, nn::LayerNorm(torch::nn::LayerNormOptions({dim}), meta));
    };
    const int64_t depths[] = {2, 2, 18, 2};
    for (int64_t stage = 0, dim = 128; stage < 4; ++stage, dim *= 2) {
      for (int64_t block = 0; block < depths[stage]; ++block) {
        const auto name = [&](const char* layer) { return std::to_string(stage) + "_" + std::to_string(block) + "_" + layer; };
        norm(name("norm1"), dim);
        linear(name("qkv"), dim, 3 * dim);
        linear(name("proj"), dim, dim);
        norm(name("norm2"), dim);
        linear(name("fc1"), dim, 4 * dim);
        linear(name("fc2"), 4 * dim, dim);
      }
      if (stage < 3) linear(std::to_string(stage) + "_reduction", 4 * dim, 2 * dim, false);
    }
    norm("norm", 1024);
  }
};

TEST(ParameterCounts, OfRlrrOnSwinBaseAreThePapers) {
  SwinBase swin;
  EXPECT_EQ(adapter_parameters(swin, Rlrr()), 358144);
}

// METHODS' reference run: DINOv2-S, LoRA r = 8 on qkv (as one), proj, fc1, fc2, with a head of 10 classes: 593,674.
TEST(ParameterCounts, OfTheBaselines) {
  const auto count = [](const std::string& method, const Options& options = {}) {
    auto model = models::create("vit_small_patch14_dinov2", shapes_only());
    return attach(*model, *methods::create(method, options))->parameter_count();
  };
  EXPECT_EQ(count("lora", {{"targets", std::string("qkv,proj,fc1,fc2")}}), 593674);
  EXPECT_EQ(count("lora"), 12 * 8 * (3 * 768 + 768 + 1920 + 1920) + 3850);
  EXPECT_EQ(count("linear"), 3850);
  // ssf: 2 · (3 + 1 + 4 + 1 + 2) · 384 a block, the patch projection and the final norm.
  EXPECT_EQ(count("ssf"), 12 * 22 * 384 + 4 * 384 + 3850);
  EXPECT_EQ(count("bitfit"), 12 * 11 * 384 + 2 * 384 + 3850);
  // timm 1.0.31: create_model('vit_small_patch14_dinov2', num_classes=10) at its 518 px.
  EXPECT_EQ(count("full"), 22060042);
}

/// A small network with every kind of layer a method meets, in float64.
struct Net : torch::nn::Module {
  Net() {
    norm = register_module("norm1", nn::LayerNorm(torch::nn::LayerNormOptions({6})));
    qkv = register_module("qkv", nn::Linear(torch::nn::LinearOptions(6, 12), std::vector<std::string>{"q", "k", "v"}));
    fc1 = register_module("fc1", nn::Linear(torch::nn::LinearOptions(12, 5).bias(false)));
    head = register_module("head", nn::Linear(5, 3));
    to(at::kDouble);
    const at::NoGradGuard no_grad;
    norm->weight.normal_(1.0, 0.3);
    norm->bias.normal_(0.0, 0.3);
  }
  at::Tensor forward(const at::Tensor& x) {
    nn::ForwardPass pass;
    return head->run(fc1->run(qkv->run(norm->run(x, pass), pass).tanh(), pass).tanh(), pass);
  }
  nn::LayerNorm norm{nullptr};
  nn::Linear qkv{nullptr}, fc1{nullptr}, head{nullptr};
};

void shake(const std::vector<at::Tensor>& parameters) {
  const at::NoGradGuard no_grad;
  for (auto parameter : parameters) parameter.add_(at::randn_like(parameter) * 0.2);
}

struct Variant {
  std::string method;
  Options options;
};

std::vector<Variant> variants() {
  const auto text = [](const char* value) { return OptionValue(std::string(value)); };
  std::vector<Variant> all = {{"ssf", {}},
                              {"bitfit", {}},
                              {"lora", {{"rank", int64_t{2}}}},
                              {"lora", {{"rank", int64_t{3}}, {"targets", text("qkv,fc1")}}},
                              {"lora", {{"rank", int64_t{4}}, {"targets", text("q,v")}, {"alpha", 3.0}}},
                              {"lora", {{"rank", int64_t{3}}, {"target_rank", int64_t{1}}}}};
  for (const char* method : {"loha", "lokr"}) {
    all.push_back({method, {{"rank", int64_t{1}}, {"alpha", 2.0}}});
    all.push_back({method, {{"rank", int64_t{2}}, {"targets", text("qkv,fc1")}}});
    all.push_back({method, {{"rank", int64_t{4}}, {"targets", text("k")}}});
  }
  all.push_back({"lokr", {{"rank", int64_t{1}}, {"factor", int64_t{3}}, {"decompose_both", true}}});
  for (const bool residual : {true, false}) {
    for (const auto* scales : {"in", "out", "both"}) {
      for (const auto* init : {"kaiming", "identity"}) {
        all.push_back({"rlrr", {{"residual", residual}, {"scales", text(scales)}, {"init", text(init)}}});
      }
    }
    all.push_back({"rlrr", {{"residual", residual}, {"targets", text("q,v,norms")}}});
    all.push_back({"rlrr", {{"residual", residual}, {"targets", text("k,fc1")}, {"scales", text("out")}}});
  }
  return all;
}

class EveryMethod : public testing::TestWithParam<Variant> {};

TEST_P(EveryMethod, HasTheGradientsOfCentralDifferences) {
  at::manual_seed(5);
  Net net;
  const auto attachment = attach(net, *methods::create(GetParam().method, GetParam().options), AttachOptions{{}});
  shake(attachment->trainable_parameters());
  const auto x = at::randn({2, 3, 6}, at::kDouble).requires_grad_(true);
  auto inputs = attachment->trainable_parameters();
  inputs.push_back(x);
  test::expect_gradients([&] { return net.forward(x); }, inputs);
}

TEST_P(EveryMethod, FoldsExactlyAndLeavesTheBaseAlone) {
  at::manual_seed(6);
  Net net;
  const auto shared = net.qkv->weight;
  const auto before = shared.clone();
  const auto x = at::randn({4, 6}, at::kDouble);
  const auto plain = net.forward(x);
  const auto attachment = attach(net, *methods::create(GetParam().method, GetParam().options));
  shake(attachment->trainable_parameters());
  const at::NoGradGuard no_grad;
  const auto adapted = net.forward(x);
  EXPECT_GT((adapted - plain).abs().max().item<double>(), 1e-3);
  const auto report = merge(net);
  EXPECT_TRUE(report.exact());
  EXPECT_FALSE(has_adapters(net));
  EXPECT_LE((net.forward(x) - adapted).abs().max().item<double>(), 1e-13 * adapted.abs().max().item<double>() + 1e-13);
  EXPECT_TRUE(at::equal(shared, before));
  EXPECT_THROW(merge(net), std::invalid_argument);
}

TEST_P(EveryMethod, IsMadeAgainFromItsOptions) {
  const auto method = methods::create(GetParam().method, GetParam().options);
  const auto again = methods::create(method->name(), method->options());
  EXPECT_EQ(again->options(), method->options());
  for (const auto& [name, value] : GetParam().options) EXPECT_EQ(method->options().at(name), value) << name;
}

TEST_P(EveryMethod, AgreesOnPartsOfAFusedWeight) {
  Net net;
  shake(attach(net, *methods::create(GetParam().method, GetParam().options))->trainable_parameters());
  const auto x = at::randn({4, 6}, at::kDouble);
  nn::ForwardPass pass;
  const auto whole = net.qkv->run(x, pass);
  EXPECT_TRUE(at::allclose(net.qkv->run(x, pass, {0, 1}), whole.slice(1, 0, 4)));
  EXPECT_TRUE(at::allclose(net.qkv->run(x, pass, {1, 3}), whole.slice(1, 4)));
}

INSTANTIATE_TEST_SUITE_P(Variants, EveryMethod, testing::ValuesIn(variants()));

TEST(Rlrr, StartsAsPublishedOrAsTheBase) {
  at::manual_seed(8);
  const auto x = at::randn({3, 6}, at::kDouble);
  Net net;
  const auto plain = net.forward(x);
  attach(net, Rlrr({.init = "identity"}));
  EXPECT_TRUE(at::allclose(net.forward(x), plain));
  detach(net);
  EXPECT_TRUE(at::equal(net.forward(x), plain));
  attach(net, Rlrr());
  EXPECT_FALSE(at::allclose(net.forward(x), plain));
  const auto parameters = net.named_parameters();
  EXPECT_LE(parameters["qkv.adapter.scale_in"].abs().max().item<double>(), 1.0);  // √(6/6)
  EXPECT_GT(parameters["qkv.adapter.scale_in"].abs().max().item<double>(), 0.8);
  EXPECT_LE(parameters["qkv.adapter.scale_out"].abs().max().item<double>(), std::sqrt(6.0));
  EXPECT_EQ(parameters["qkv.adapter.shift"].abs().max().item<double>(), 0.0);
  EXPECT_EQ(parameters["qkv.adapter.scale_in"].sizes(), at::IntArrayRef({3, 6}));
  EXPECT_EQ(parameters["fc1.adapter.scale_in"].sizes(), at::IntArrayRef({12}));
}

TEST(Rlrr, AddsABiasWhereThereIsNone) {
  Net net;
  shake(attach(net, Rlrr())->trainable_parameters());
  const auto report = merge(net);
  for (const auto& site : report.sites) EXPECT_EQ(site.adds_bias, site.name == "fc1");
  EXPECT_TRUE(net.fc1->bias.defined());
}

// PEFT 0.21: factorization() in peft/tuners/lokr/layer.py.
TEST(Lokr, FactorsSizesAsPeftDoes) {
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(Lokr::factorize(256, -1), Pair(16, 16));
  EXPECT_EQ(Lokr::factorize(128, -1), Pair(8, 16));
  EXPECT_EQ(Lokr::factorize(127, -1), Pair(1, 127));
  EXPECT_EQ(Lokr::factorize(128, 4), Pair(4, 32));
  EXPECT_EQ(Lokr::factorize(12, 5), Pair(3, 4));
  EXPECT_EQ(Lokr::factorize(768, -1), Pair(24, 32));
}

TEST(Lokr, ShapesFollowTheRank) {
  Net net;
  attach(net, Lokr({.rank = 1, .targets = "qkv,fc1"}));  // 12 = 3 · 4, 6 = 2 · 3, 5 = 1 · 5
  const auto parameters = net.named_parameters();
  EXPECT_EQ(parameters["qkv.adapter.lokr_w1"].sizes(), at::IntArrayRef({3, 2}));
  EXPECT_EQ(parameters["qkv.adapter.lokr_w2_a"].sizes(), at::IntArrayRef({4, 1}));
  EXPECT_EQ(parameters["qkv.adapter.lokr_w2_b"].sizes(), at::IntArrayRef({1, 3}));
  EXPECT_EQ(parameters["fc1.adapter.lokr_w1"].sizes(), at::IntArrayRef({1, 3}));
  Net whole;
  attach(whole, Lokr({.rank = 2, .targets = "qkv"}));  // 2 is not below max(4, 3) / 2
  EXPECT_EQ(whole.named_parameters()["qkv.adapter.lokr_w2"].sizes(), at::IntArrayRef({4, 3}));
}

TEST(FactoredMethods, StartAsTheBaseAndCanBeDifferentiatedTwice) {
  for (const char* method : {"loha", "lokr"}) {
    SCOPED_TRACE(method);
    Net net;
    const auto x = at::randn({3, 6}, at::kDouble);
    const auto plain = net.forward(x);
    const auto attachment = attach(net, *methods::create(method, {{"rank", int64_t{1}}}), AttachOptions{{}});
    EXPECT_TRUE(at::equal(net.forward(x), plain));
    shake(attachment->trainable_parameters());
    // The gradient of a gradient's square length, beside central differences.
    auto parameters = attachment->trainable_parameters();
    const auto penalty = [&] {
      const at::AutoGradMode with_grad(true);  // also where differences are taken
      at::Tensor sum = at::zeros({}, at::kDouble);
      for (const auto& grad : torch::autograd::grad({net.forward(x).pow(2).sum()}, parameters, {}, true, true))
        sum = sum + grad.pow(2).sum();
      return sum;
    };
    test::expect_gradients(penalty, {parameters[0], parameters[1]});
  }
}

/// An update of a quarter of the weights' rounding: lost if the weights were rounded before it is added.
TEST(FactoredMethods, SmallUpdatesSurviveAutocast) {
  for (const char* method : {"loha", "lokr"}) {
    SCOPED_TRACE(method);
    at::manual_seed(2);
    nn::Linear layer(torch::nn::LinearOptions(64, 64).bias(false));
    const at::NoGradGuard no_grad;
    layer->weight.normal_();
    const auto base = layer->weight.clone(), x = at::randn({2048, 64});
    const auto under_autocast = [&] {
      at::autocast::set_autocast_enabled(at::kCPU, true);
      const auto y = layer->forward(x).to(at::kFloat);
      at::autocast::set_autocast_enabled(at::kCPU, false);
      at::autocast::clear_cache();
      return y;
    };
    const auto before = under_autocast();
    const auto attachment = attach(*layer, *methods::create(method, {{"rank", int64_t{1}}}), AttachOptions{{}});
    for (auto parameter : attachment->trainable_parameters()) parameter.normal_();
    const auto size = layer->adapter()->fold(base, {})->weight.sub(base).std().item<double>();
    auto factor = attachment->trainable_parameters().back();
    factor.mul_(1e-3 / size);  // every update is linear in its last factor; bfloat16 has 2⁻⁸ near 1
    const auto update = at::linear(x, layer->adapter()->fold(base, {})->weight - base), difference = under_autocast() - before;
    const double gain = (difference * update).sum().item<double>() / update.pow(2).sum().item<double>();
    EXPECT_NEAR(gain, 1.0, 0.1);
  }
}

TEST(FactoredMethods, GiveGradientsToWhatAsksForThem) {
  Net net;
  const auto parameters = attach(net, Loha({.rank = 1}), AttachOptions{{}})->trainable_parameters();
  shake(parameters);
  auto x = at::randn({3, 6}, at::kDouble).requires_grad_(true);
  const auto all = torch::autograd::grad({net.forward(x).sum()}, {x});
  for (size_t i = 1; i < parameters.size(); ++i) parameters[i].requires_grad_(false);
  const auto few = torch::autograd::grad({net.forward(x).sum()}, {x, parameters[0]}, {}, true, /*create_graph=*/true);
  EXPECT_TRUE(at::allclose(few[0], all[0]));
  EXPECT_GT(few[1].abs().max().item<double>(), 0.0);
  parameters[0].requires_grad_(false);
  EXPECT_TRUE(at::allclose(torch::autograd::grad({net.forward(x).sum()}, {x})[0], all[0]));
}

TEST(Lora, DropsOnlyWhileTraining) {
  at::manual_seed(9);
  Net net;
  shake(attach(net, Lora({.rank = 4, .dropout = 0.5}))->trainable_parameters());
  const auto x = at::randn({8, 6}, at::kDouble);
  EXPECT_FALSE(at::equal(net.forward(x), net.forward(x)));
  net.eval();
  EXPECT_TRUE(at::equal(net.forward(x), net.forward(x)));
}

TEST(Attach, FreezesAllButTheAdaptersAndTheHead) {
  Net net;
  const auto attachment = attach(net, Lora({.rank = 4}));
  for (const auto& item : net.named_parameters()) {
    const bool trained = item.key().find("adapter") != std::string::npos || item.key().rfind("head.", 0) == 0;
    EXPECT_EQ(item.value().requires_grad(), trained) << item.key();
    EXPECT_EQ(item.key().find("head.adapter"), std::string::npos) << item.key();
  }
  EXPECT_THROW(attach(net, Lora({.rank = 4})), std::invalid_argument);
}

TEST(Attach, GoesOnFromAMergedModelWhereTrainingIsAnError) {
  Net net;
  attach(net, Lora({.rank = 3}), AttachOptions{{}});  // the head too, which the next one trains as it is
  merge(net);
  const auto x = at::randn({3, 6}, at::kDouble);
  try {
    net.forward(x);
    ADD_FAILURE() << "a merged model was trained";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("has been merged"), std::string::npos) << error.what();
  }
  net.eval();
  const auto merged = net.forward(x);
  net.train();
  attach(net, Lora({.rank = 4}));
  EXPECT_TRUE(at::equal(net.forward(x), merged));
}

TEST(Attach, TakesSomeBlocks) {
  auto model = models::create("vit_tiny_patch16_224", shapes_only());
  const auto attachment = attach(*model, Rlrr({.targets = "q,v", .blocks = "0-1,11"}), AttachOptions{{}});
  ASSERT_EQ(attachment->trainable().size(), 9u);
  EXPECT_EQ(attachment->trainable()[0].first, "blocks.0.attn.qkv.adapter.scale_in");
  EXPECT_EQ(attachment->trainable()[0].second.sizes(), at::IntArrayRef({2, 192}));
  EXPECT_EQ(attachment->trainable()[8].first, "blocks.11.attn.qkv.adapter.shift");
}

void expect_invalid(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "expected an error that says: " << part;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(MethodErrors, SayWhatWasMeant) {
  Net net;
  expect_invalid([] { methods::create("rlr"); }, "unknown method 'rlr'; did you mean 'rlrr'?");
  expect_invalid([] { methods::create("lora", {{"rnak", int64_t{8}}}); }, "did you mean 'rank'?");
  expect_invalid([] { methods::create("linear", {{"rank", int64_t{8}}}); }, "method 'linear' has no options");
  expect_invalid(
      [] {
        methods::create("lora", {{"rank", std::string("many")}});
      },
      "lora: rank: must be a whole number, not 'many'");
  expect_invalid([] { methods::create("lora", {{"rank", int64_t{0}}}); }, "lora: rank: must be at least 1, not 0");
  expect_invalid([] { methods::create("rlrr", {{"init", std::string("identty")}}); }, "did you mean 'identity'?");
  expect_invalid([&] { attach(net, Lora({.targets = "fc3"})); }, "unknown target 'fc3'; did you mean 'fc1'?");
  expect_invalid([&] { attach(net, Lora({.blocks = "3-1"})); }, "runs backwards");
  expect_invalid([&] { attach(net, Ssf({.targets = "q"})); }, "name the target 'qkv'");
  expect_invalid([] { methods::create("lora", {{"dropout", 1.0}}); }, "lora: dropout: must be below 1, not 1");
  expect_invalid([] { methods::create("lokr", {{"factor", int64_t{0}}}); }, "lokr: factor: must be at least 1, or -1");
  expect_invalid([] { methods::create("rlrr", {{"residual", std::string("maybe")}}); }, "rlrr: residual: must be true or false");
  EXPECT_FALSE(has_adapters(net));
}

TEST(MethodErrors, ARankAboveALayersSizeNamesTheLayer) {
  Net net;  // qkv: 6 inputs, 4 outputs a projection; fc1: 12 inputs, 5 outputs
  expect_invalid([&] { attach(net, Lora({.rank = 5})); },
                 "lora: rank: must be at most 4, not 5: 'qkv' has projections with 6 inputs and 4 outputs");
  expect_invalid([&] { attach(net, Lora({.rank = 7, .targets = "qkv"})); },
                 "lora: rank: must be at most 6, not 7: 'qkv' has a weight with 6 inputs and 12 outputs");
  expect_invalid([&] { attach(net, Loha({.rank = 6, .targets = "fc1"})); }, "loha: rank: must be at most 5, not 6: 'fc1'");
  expect_invalid([&] { attach(net, *methods::create("reslora-bs")); }, "reslora-bs: rank: must be at most 4, not 8: 'qkv'");
  EXPECT_FALSE(has_adapters(net));
  attach(net, Lora({.rank = 5, .targets = "fc1"}));
  detach(net);
  attach(net, Lokr({.rank = 50}));  // where the rank is no saving, the factor is trained whole
}

/// Every option of every method can be written as text and read back, and is described.
TEST(MethodOptions, AreListedWithTheirDefaults) {
  for (const auto& entry : methods::registry()) {
    SCOPED_TRACE(entry.name);
    EXPECT_EQ(methods::create(entry.name)->name(), entry.name);
    EXPECT_EQ(methods::create(entry.name)->options(), entry.options.values());
    Options texts;
    for (const auto& [name, text] : entry.options.describe()) texts[name] = text;
    EXPECT_EQ(methods::create(entry.name, texts)->options(), entry.options.values());
    for (const auto& field : entry.options) EXPECT_GT(field.info.help.size(), 10U) << field.info.name;
  }
  for (const char* yes : {"true", "on", "yes", "1"}) {
    const auto options = methods::create("lokr", {{"decompose_both", std::string(yes)}})->options();
    EXPECT_EQ(options.at("decompose_both"), OptionValue(true)) << yes;
  }
}

}  // namespace
}  // namespace respeft
