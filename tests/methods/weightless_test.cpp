// Adapters that stand beside a block's branches or among its tokens, and so fold into no weight.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <respeft/adapters/adapter_file.h>
#include <respeft/export/export.h>
#include <respeft/inspect/inspect.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/adaptformer.h>
#include <respeft/methods/vpt.h>
#include <respeft/models/weights.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft {
namespace {

using test::expect_error;
using test::random_images;
using test::random_model;
using test::small_config;

void shake(const Attachment& attachment) {
  at::manual_seed(17);
  const at::NoGradGuard no_grad;
  for (auto parameter : attachment.trainable_parameters()) parameter.add_(at::randn_like(parameter), 0.2);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// The model's blocks written out on all tokens, with `enter(i, x)` before each block and `beside(i, x)` added to its MLP.
template <class Enter, class Beside>
at::Tensor written_out(models::VisionTransformerImpl& vit, const at::Tensor& images, const Enter& enter, const Beside& beside) {
  nn::ForwardPass pass;
  const int64_t batch = images.size(0);
  auto x = at::cat({vit.cls_token.expand({batch, -1, -1}), vit.patch_embed->forward(images, pass)}, 1) + vit.pos_embed;
  for (size_t i = 0; i < vit.blocks.size(); ++i) {
    auto& block = *vit.blocks[i];
    x = enter(i, x);
    x = x + block.attn->forward(block.norm1->run(x, pass), pass);
    x = x + block.mlp->forward(block.norm2->run(x, pass), pass) + beside(i, x);
  }
  return vit.classify(vit.norm->run(x, pass).select(1, 0));
}

TEST(AdaptFormer, AddsABottleneckBesideEveryMlp) {
  const auto config = small_config();
  const auto model = random_model(config);
  const auto images = random_images(config);
  const at::NoGradGuard no_grad;
  const auto plain = model->forward(images);
  const auto attachment = attach(*model, AdaptFormer({.bottleneck = 3, .scale = 0.5, .dropout = 0.0}));
  EXPECT_EQ(largest_difference(model->forward(images), plain), 0.0) << "it starts equal to the base";
  EXPECT_EQ(attachment->trainable()[0].first, "blocks.0.mlp_branch.adapter.down.weight");
  EXPECT_EQ(attachment->parameter_count(), config.depth * (2 * 3 * config.embed_dim + 3 + config.embed_dim) + 5 * 33);
  shake(*attachment);
  std::map<std::string, at::Tensor> named(attachment->trainable().begin(), attachment->trainable().end());
  const auto expected = written_out(
      *model, images, [](size_t, const at::Tensor& x) { return x; },
      [&](size_t i, const at::Tensor& x) {
        const auto of = [&](const char* name) { return named.at("blocks." + std::to_string(i) + ".mlp_branch.adapter." + name); };
        const auto middle = at::relu(at::linear(x, of("down.weight"), of("down.bias")));
        return at::linear(middle, of("up.weight"), of("up.bias")) * 0.5;
      });
  EXPECT_LE(largest_difference(model->forward(images), expected), 2e-5 * expected.abs().max().item<double>());
}

TEST(Vpt, DeepReplacesThePromptsOfEveryBlock) {
  const auto config = small_config();
  const auto model = random_model(config);
  const auto images = random_images(config);
  const at::NoGradGuard no_grad;
  const auto attachment = attach(*model, Vpt(/*deep=*/true, {.prompts = 4}));
  shake(*attachment);
  ASSERT_EQ(attachment->trainable()[0].first, "blocks.0.tokens.adapter.prompts");
  ASSERT_EQ(attachment->trainable()[0].second.sizes(), at::IntArrayRef({4, config.embed_dim}));
  // As in the paper: prompts between the class token and the patches.
  const auto enter = [&](size_t i, const at::Tensor& x) {
    const auto prompts = attachment->trainable()[i].second.expand({x.size(0), -1, -1});
    return at::cat({x.narrow(1, 0, 1), prompts, x.slice(1, i == 0 ? 1 : 5)}, 1);
  };
  const auto expected = written_out(*model, images, enter, [](size_t, const at::Tensor& x) { return at::zeros_like(x); });
  EXPECT_LE(largest_difference(model->forward(images), expected), 2e-5 * expected.abs().max().item<double>());
}

TEST(Vpt, ShallowKeepsItsPromptsThroughTheBlocks) {
  const auto config = small_config();
  const auto model = random_model(config);
  const auto images = random_images(config);
  const at::NoGradGuard no_grad;
  const auto attachment = attach(*model, Vpt(/*deep=*/false, {.prompts = 4}));
  shake(*attachment);
  ASSERT_EQ(attachment->trainable().size(), 3u) << "the prompts and the head";
  const auto enter = [&](size_t i, const at::Tensor& x) {
    if (i > 0) return x;
    return at::cat({x.narrow(1, 0, 1), attachment->trainable()[0].second.expand({x.size(0), -1, -1}), x.slice(1, 1)}, 1);
  };
  const auto expected = written_out(*model, images, enter, [](size_t, const at::Tensor& x) { return at::zeros_like(x); });
  EXPECT_LE(largest_difference(model->forward(images), expected), 2e-5 * expected.abs().max().item<double>());
}

TEST(Vpt, MeanPoolingDoesNotReadThePrompts) {
  auto config = small_config();
  config.mean_pooling = true;
  const auto model = random_model(config);
  const auto images = random_images(config);
  const at::NoGradGuard no_grad;
  const auto attachment = attach(*model, Vpt(/*deep=*/true, {.prompts = 4}));
  nn::ForwardPass pass;
  EXPECT_EQ(model->forward_features(images, pass).size(1), config.tokens());
}

/// Methods whose adapters do not fold, on a small model.
class Weightless : public testing::TestWithParam<std::string> {
 protected:
  Weightless() : model(random_model(config)), images(random_images(config)), method(methods::create(GetParam())) {
    attachment = attach(*model, *method);
    shake(*attachment);
    model->eval();
    const at::NoGradGuard no_grad;
    logits = model->forward(images);
  }

  const models::VitConfig config = small_config();
  const std::shared_ptr<models::VisionTransformerImpl> model;
  const at::Tensor images;
  const std::unique_ptr<Method> method;
  std::shared_ptr<Attachment> attachment;
  at::Tensor logits;
};

TEST_P(Weightless, DoesNotMerge) {
  EXPECT_FALSE(unmergeable_site(*model).empty());
  expect_error<std::invalid_argument>([&] { merge(*model); }, {"does not fold", "deploy the model with the adapter"});
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(model->forward(images).equal(logits)) << "nothing has changed";
  expect_error<std::invalid_argument>([&] { models::plain_state(*model); },
                                      {"does not fold", "deploy the model with the adapter"});
  EXPECT_EQ(methods::find(GetParam()).folds, "no");
}

TEST_P(Weightless, IsKeptInAnAdapterFile) {
  const test::Folder folder;
  adapters::AdapterFile file;
  file.info.method = GetParam();
  file.info.model = config.name;
  file.info.options = method->options();
  file.tensors = adapters::trained_state(*model);
  adapters::save_adapter(folder / "adapter.safetensors", file);
  const auto fresh = random_model(config);
  adapters::attach_adapter(*fresh, adapters::load_adapter(folder / "adapter.safetensors"));
  fresh->eval();
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(fresh->forward(images).equal(logits));
}

TEST_P(Weightless, DetachGivesTheBaseBack) {
  detach(*model);
  const auto base = random_model(config);
  for (const auto& item : base->named_parameters()) {
    if (item.key().starts_with("head.")) continue;  // it was shaken with the adapters
    EXPECT_TRUE(model->named_parameters()[item.key()].equal(item.value())) << item.key();
  }
}

TEST_P(Weightless, IsExportedUnmergedAsTorchScript) {
  const test::Folder folder;
  export_torchscript(*model, folder / "model.pt");
  const auto run = exporting::find("torchscript").run;
  for (const int64_t batch : {int64_t{1}, images.size(0)}) {
    const auto scripted = run(folder / "model.pt", images.narrow(0, 0, batch), *model);
    EXPECT_LE(largest_difference(scripted, logits.narrow(0, 0, batch)), 1e-5 * logits.abs().max().item<double>());
  }
}

TEST_P(Weightless, IsSummarized) {
  const auto summary = summarize(*model);
  EXPECT_EQ(summary.trained(), attachment->parameter_count());
  EXPECT_GT(summary.trained_adapters, 0);
}

INSTANTIATE_TEST_SUITE_P(Methods, Weightless, testing::Values("adaptformer", "vpt-shallow", "vpt-deep"), [](const auto& info) {
  return info.param == "adaptformer" ? info.param : "vpt_" + info.param.substr(4);
});

}  // namespace
}  // namespace respeft
