#include <respeft/models/family.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/models/exports.h>
#include <respeft/models/vit/vit.h>
#include <respeft/models/weight_map.h>

#include <set>

#include "tests/expect_error.h"
#include "tests/small_vit.h"

namespace respeft::models {
namespace {

TEST(Families, KnowWhatTheyList) {
  std::set<std::string> names;
  for (const auto* family : families()) {
    EXPECT_TRUE(names.insert(family->name()).second);
    for (const auto& name : family->list()) {
      EXPECT_EQ(family_of(name), family) << name;
      EXPECT_EQ(family_of(name + ".tag"), family) << name;
    }
  }
  EXPECT_EQ(family_of("resnet50"), nullptr);
  test::expect_error<std::invalid_argument>([] { create("vit_tinny_patch16_224"); }, {"did you mean 'vit_tiny_patch16_224'?"});
}

TEST(Families, MakeAModelLikeAnother) {
  auto config = test::small_config();
  config.mean_pooling = true;
  const auto model = test::random_model(config);
  const auto& family = model->family();
  EXPECT_EQ(family.options(*model).pool, "avg");
  EXPECT_EQ(family.options(*model).image_size, 16);
  const auto other = family.like(*model);
  EXPECT_EQ(other->name(), model->name());
  ASSERT_EQ(other->named_parameters().keys(), model->named_parameters().keys());
  for (const auto& item : model->named_parameters())
    EXPECT_EQ(other->named_parameters()[item.key()].sizes(), item.value().sizes()) << item.key();
}

TEST(InputSpec, GivesTheSameExamplesAtEveryCall) {
  const InputSpec images{.shape = {3, 8, 8}};
  EXPECT_EQ(images.side(), 8);
  const Batch first = images.example(2);
  EXPECT_EQ(first.at(kPixels).sizes(), at::IntArrayRef({2, 3, 8, 8}));
  at::randn({5});  // no draw of the default generator changes them
  EXPECT_TRUE(at::equal(first.at(kPixels), images.example(2).at(kPixels)));
  EXPECT_TRUE(images.example(4, at::kMeta).at(kPixels).is_meta());
  const auto ids = InputSpec{.name = "token_ids", .shape = {16}, .dtype = at::kLong, .values = 7}.example(3).at("token_ids");
  EXPECT_EQ(ids.sizes(), at::IntArrayRef({3, 16}));
  EXPECT_TRUE(ids.ge(0).logical_and(ids.lt(7)).all().item<bool>());
}

TEST(Model, TakesABatchOrItsMainInput) {
  const auto model = test::random_model(test::small_config());
  const auto images = test::random_images(test::small_config());
  const at::NoGradGuard no_grad;
  nn::ForwardPass pass;
  const Batch batch{{kPixels, images}};
  const auto expected = model->forward(images);
  EXPECT_TRUE(at::equal(model->forward(batch), expected));
  EXPECT_TRUE(at::equal(model->forward(batch, pass), expected));
  EXPECT_TRUE(at::equal(model->classify(model->features(batch, pass)), expected));
  test::expect_error<std::invalid_argument>(
      [&] {
        model->forward(Batch{{"token_ids", images}});
      },
      {"no 'pixels'", "'token_ids'"});
}

/// PEFT's names of layers, in each base.
TEST(WeightMap, FindsLayersByTheirNamesElsewhere) {
  const auto& map = vit_family().weights();
  std::string base;
  EXPECT_EQ(map.place("blocks.3.attn.qkv", base), (LayerPlace{"blocks.3.attn.qkv"}));
  EXPECT_EQ(base, "");
  EXPECT_EQ(map.place("vit.layers.3.attention.k_proj", base), (LayerPlace{"blocks.3.attn.qkv", 1}));
  EXPECT_EQ(base, "vit");
  EXPECT_FALSE(map.place("blocks.3.norm1", base));
  EXPECT_FALSE(map.place("blocks..attn.qkv", base));
  for (const auto& name : map.bases()) {
    for (const LayerPlace& place : {LayerPlace{"blocks.3.attn.qkv", 1}, LayerPlace{"blocks.3.mlp.fc2"}}) {
      const std::string module = map.module_name(place, name);
      EXPECT_EQ(module.empty(), name == "timm" && place.part >= 0);
      if (module.empty()) continue;
      EXPECT_EQ(map.place(module, base), place) << module;
    }
  }
  EXPECT_EQ(map.parts("blocks.3.attn.qkv"), (std::vector<std::string>{"q", "k", "v"}));
  EXPECT_NE(map.no_adapter("classifier"), "");
  EXPECT_NE(map.no_adapter("vit.embeddings.patch_embeddings.projection"), "");
  EXPECT_EQ(map.no_adapter("blocks.3.attn.qkv"), "");
}

}  // namespace
}  // namespace respeft::models
