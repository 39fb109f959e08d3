#include <respeft/inspect/inspect.h>

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/plain.h>
#include <respeft/methods/rlrr.h>
#include <respeft/methods/ssf.h>

#include <cmath>

#include "tests/expect_error.h"
#include "tests/small_vit.h"

namespace respeft {
namespace {

using test::expect_error;
using test::random_images;
using test::small_config;

std::shared_ptr<models::Model> shapes(const std::string& name, models::ModelOptions options = {}) {
  options.device = at::kMeta;
  return models::create(name, options);
}

struct PublishedCount {
  const char* model;
  int64_t adapters;  ///< RLRR's, as METHODS' section 1 lists them
  int64_t base;      ///< timm's count of `create_model(model, num_classes=0)`
};

TEST(Summary, CountsRlrrAsPublished) {
  for (const auto& [name, adapters, base] : {PublishedCount{"vit_base_patch16_224", 288'768, 85'798'656},
                                             PublishedCount{"vit_large_patch16_224", 765'952, 303'301'632},
                                             PublishedCount{"vit_huge_patch14_224", 1'274'880, 630'764'800}}) {
    models::ModelOptions options;
    options.num_classes = 10;
    const auto model = shapes(name, options);
    attach(*model, Rlrr());
    const ModelSummary summary = summarize(*model);
    EXPECT_EQ(summary.trained_adapters, adapters) << name;
    EXPECT_EQ(summary.frozen, base) << name;
    EXPECT_EQ(summary.trained_head, 10 * model->parameters().at(0).size(-1) + 10) << name;
    EXPECT_EQ(summary.trained_base, 0);
    EXPECT_EQ(summary.trained(), summary.trained_adapters + summary.trained_head);
  }
}

TEST(Summary, ListsLayersInTheModelsOrder) {
  models::VisionTransformerImpl model(small_config());
  attach(model, Lora({.rank = 2, .targets = "q"}));
  const ModelSummary summary = summarize(model);
  std::vector<std::string> names;
  int64_t frozen = 0, trained = 0;
  for (const auto& layer : summary.layers) {
    names.push_back(layer.name);
    frozen += layer.frozen;
    trained += layer.trained;
  }
  EXPECT_EQ((std::vector<std::string>(names.begin(), names.begin() + 6)),
            (std::vector<std::string>{"cls_token", "pos_embed", "patch_embed.proj", "blocks.0.norm1", "blocks.0.attn.qkv",
                                      "blocks.0.attn.proj"}));
  EXPECT_EQ(names.back(), "head");
  EXPECT_EQ(frozen, summary.frozen);
  EXPECT_EQ(trained, summary.trained());
  const LayerSummary& qkv = summary.layers[4];
  EXPECT_EQ(qkv.kind, "linear");
  EXPECT_EQ(qkv.shape, (std::vector<int64_t>{96, 32}));
  EXPECT_EQ(qkv.frozen, 96 * 32 + 96);
  EXPECT_EQ(qkv.trained, 2 * 32 + 32 * 2);
  EXPECT_EQ(qkv.adapter, "q.lora_A [2, 32], q.lora_B [32, 2]");
  EXPECT_EQ(summary.layers[0].kind, "tensor");
  EXPECT_EQ(summary.layers[2].kind, "patch");
  EXPECT_EQ(summary.layers[3].kind, "norm");
  EXPECT_EQ(summary.layers.back().kind, "head");
}

TEST(Summary, CountsFullFineTuningAsTheBases) {
  models::VisionTransformerImpl model(small_config());
  attach(model, FullFineTuning());
  const ModelSummary summary = summarize(model);
  EXPECT_EQ(summary.frozen, 0);
  EXPECT_EQ(summary.trained_adapters, 0);
  EXPECT_EQ(summary.trained_head, 5 * 32 + 5);
  EXPECT_GT(summary.trained_base, 0);
}

/// Counts the bytes that the CPU's allocator hands out and takes back on this thread.
class AllocatedBytes : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override { live += size; }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t live = 0;
};

/// The bytes that stay allocated after a forward, the logits aside: what autograd holds on to.
int64_t measured_saved_bytes(models::Model& model, const at::Tensor& images) {
  model.train();
  model.forward(images);  // whatever is set up once is no part of a step
  const auto counter = std::make_shared<AllocatedBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
  const auto logits = model.forward(images);
  EXPECT_TRUE(logits.requires_grad());
  return counter->live - static_cast<int64_t>(logits.nbytes());
}

TEST(TrainingCost, PredictsTheBytesThatAForwardLeavesAllocated) {
  auto mean_pooling = small_config();
  mean_pooling.mean_pooling = true;
  mean_pooling.layer_scale = 1e-5;
  mean_pooling.depth = 3;
  auto larger = small_config();
  larger.image_size = 48;
  larger.embed_dim = 64;
  larger.mlp_dim = 256;
  larger.drop_path = 0.2;
  larger.branch_dropout = 0.1;
  for (const auto& config : {small_config(), mean_pooling, larger}) {
    for (const char* method :
         {"rlrr", "lora", "reslora-bs", "reslora-is", "reslora-ms", "loha", "lokr", "ssf", "bitfit", "linear", "full"}) {
      SCOPED_TRACE(std::string(method) + ", " + std::to_string(config.embed_dim));
      const auto prepare = [&](at::Device device) {
        auto model = std::make_shared<models::VisionTransformerImpl>(config, device);
        attach(*model, *methods::create(method));
        return model;
      };
      const auto measured = static_cast<double>(measured_saved_bytes(*prepare(at::kCPU), random_images(config, 4)));
      const auto predicted = static_cast<double>(training_cost(*prepare(at::kMeta), 4).saved_bytes);
      RecordProperty(std::string(method) + std::to_string(config.embed_dim), std::to_string(predicted / measured));
      if (std::string(method) == "linear") {
        EXPECT_LT(predicted, 0.02 * static_cast<double>(random_images(config, 4).nbytes()) + 2048) << "only the head's input";
      } else {
        EXPECT_NEAR(predicted / measured, 1.0, 0.15);
      }
    }
  }
}

TEST(TrainingCost, CountsBytesOfParametersAndOptimizer) {
  const auto model = shapes("vit_huge_patch14_224");
  attach(*model, Rlrr());
  const TrainingCost cost = training_cost(*model, 8);
  const ModelSummary summary = summarize(*model);
  EXPECT_EQ(cost.parameter_bytes, 4 * (summary.frozen + summary.trained()));
  EXPECT_EQ(cost.optimizer_bytes, 12 * summary.trained());
  EXPECT_EQ(cost.input_bytes, 8 * 3 * 224 * 224 * 4);
  EXPECT_GT(cost.saved_bytes, 0);
  EXPECT_EQ(training_cost(*model, 8).saved_bytes, cost.saved_bytes) << "counting again gives the same";
  EXPECT_FALSE(model->parameters().at(0).requires_grad());
}

/// A LoRA whose ranks are allocated notes two running means for every factor, and which of its directions are kept.
TEST(TrainingCost, CountsWhatIsRecorded) {
  const auto config = small_config();
  const auto cost_of = [&](const Options& options, const char* method = "lora") {
    models::VisionTransformerImpl model(config, at::kMeta);
    const auto attachment = attach(model, *methods::create(method, options));
    return training_cost(model, 4, attachment.get());
  };
  const Options plain = {{"rank", int64_t{4}}}, allocated = {{"rank", int64_t{4}}, {"target_rank", int64_t{2}}};
  const TrainingCost before = cost_of(plain), after = cost_of(allocated);
  EXPECT_EQ(before.recorded_bytes, 0);
  const int64_t updates = 2 * 6, dim = 32, mlp = 64;  // two blocks of q, k, v, proj, fc1 and fc2
  const int64_t factors = 2 * 4 * (4 * 2 * dim + 2 * (dim + mlp)), directions = updates * 4;
  EXPECT_EQ(after.recorded_bytes, 4 * (2 * (factors + directions) + directions + 1));
  EXPECT_EQ(after.total_bytes(),
            after.parameter_bytes + after.optimizer_bytes + after.recorded_bytes + after.saved_bytes + after.input_bytes);
  // A Aᵀ and Bᵀ B of the penalty: products of 4 × 4, forward and backward.
  EXPECT_DOUBLE_EQ(after.step_flops, before.step_flops + 2.0 * 3 * 4 * static_cast<double>(factors));
  // What the real hook holds, and what the penalty keeps for the backward.
  for (const char* method : {"lora", "reslora-bs", "reslora-is", "reslora-ms"}) {
    SCOPED_TRACE(method);
    models::VisionTransformerImpl model(config);
    const auto attachment = attach(model, *methods::create(method, allocated));
    int64_t held = 0;
    for (const auto& [name, tensor] : attachment->state()) held += static_cast<int64_t>(tensor.nbytes());
    const TrainingCost cost = cost_of(allocated, method);
    EXPECT_EQ(cost.recorded_bytes, held);
    model.train();
    const auto images = random_images(config, 4);
    const auto counter = std::make_shared<AllocatedBytes>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
    const auto loss = model.forward(images).sum() + attachment->regularization();
    EXPECT_NEAR(static_cast<double>(cost.saved_bytes) / static_cast<double>(counter->live), 1.0, 0.15);
  }
}

/// torchvision publishes 17.56 billion multiply-accumulates for its ViT-B/16 (attention included), with 1,000 classes; the
/// class-token-only last block does less, mean pooling all of it.
TEST(TrainingCost, ForwardMatchesThePublishedCount) {
  models::ModelOptions options;
  options.pool = "avg";
  const auto model = shapes("vit_base_patch16_224", options);
  attach(*model, LinearProbe());
  const TrainingCost cost = training_cost(*model, 2);
  EXPECT_NEAR(cost.forward_flops / 2 / 2, 17.56e9, 0.01 * 17.56e9);
  // Counted operator by operator; the head's weight alone takes a gradient.
  EXPECT_NEAR(cost.step_flops, cost.forward_flops + 2.0 * 2 * 768 * 1000, 1e-4 * cost.forward_flops);
}

TEST(TrainingCost, CountsTheBackwardByWhatNeedsAGradient) {
  auto config = small_config();
  config.mean_pooling = true;
  const auto counted = [&](const char* method) {
    models::VisionTransformerImpl model(config, at::kMeta);
    attach(model, *methods::create(method));
    return training_cost(model, 1).step_flops;
  };
  const double tokens = 17, dim = 32, mlp = 64, patches = 16;
  const double linears = 2 * tokens * (4 * dim * dim + 2 * dim * mlp) * 2;  // two blocks
  const double attention = 2 * 2 * tokens * tokens * dim * 2;
  const double patch = 2 * patches * 48 * dim, head = 2 * dim * 5;
  // Everything trained: three products a linear, 7 of 2 in attention; images take no gradient.
  EXPECT_DOUBLE_EQ(counted("full"), 3 * linears + 3.5 * attention + 2 * patch + 3 * head);
  // RLRR's gradients of the scales are a product as large as a weight's; the patch projection's is elementwise.
  EXPECT_DOUBLE_EQ(counted("rlrr"), 3 * linears + 3.5 * attention + patch + 3 * head);
  EXPECT_DOUBLE_EQ(counted("linear"), linears + attention + patch + 2 * head);
}

TEST(TrainingCost, RefusesAModelWithDataAndAnEmptyBatch) {
  models::VisionTransformerImpl real(small_config()), meta(small_config(), at::kMeta);
  expect_error<std::invalid_argument>([&] { training_cost(real, 1); }, {"shapes alone"});
  expect_error<std::invalid_argument>([&] { training_cost(meta, 0); }, {"at least one image"});
}

/// A rotation by `angle` in the plane of the second and third axis.
at::Tensor rotation(double angle) {
  return at::tensor({1.0, 0.0, 0.0, 0.0, std::cos(angle), -std::sin(angle), 0.0, std::sin(angle), std::cos(angle)}, at::kDouble)
      .view({3, 3});
}

TEST(CompareWeights, SeesARotationOfTheLeftDirections) {
  const auto base = at::diag(at::tensor({3.0, 2.0, 1.0}, at::kDouble));
  for (const double angle : {0.3, 1.2, 1e-10}) {
    const WeightChange change = compare_weights("w", base, rotation(angle).mm(base), 2);
    EXPECT_EQ(change.shape, (std::vector<int64_t>{3, 3}));
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(change.singular_values[i], 3 - i, 1e-12);
      EXPECT_NEAR(change.changed_values[i], 3 - i, 1e-12);
    }
    ASSERT_EQ(change.left_angles.size(), 2u);
    EXPECT_NEAR(change.left_angles[0], 0.0, 1e-12);
    EXPECT_NEAR(change.left_angles[1], angle, 1e-12);
    EXPECT_NEAR(change.right_angles[1], 0.0, 1e-12);
    // The two moved columns change by 2 sin(angle / 2) times their lengths 2 and 1.
    EXPECT_NEAR(change.relative_change, 2 * std::sin(angle / 2) * std::sqrt(5.0 / 14.0), 1e-12);
    EXPECT_NEAR(change.effective_rank, std::exp(-(2.0 / 3 * std::log(2.0 / 3) + 1.0 / 3 * std::log(1.0 / 3))), 1e-5);
  }
}

TEST(CompareWeights, OfEqualMatricesIsZero) {
  const auto base = at::randn({4, 6});
  const WeightChange change = compare_weights("w", base, base, 100);
  EXPECT_EQ(change.relative_change, 0.0);
  EXPECT_EQ(change.effective_rank, 0.0);
  EXPECT_EQ(change.left_angles.size(), 4u);
  EXPECT_EQ(change.singular_values, change.changed_values);
  expect_error<std::invalid_argument>([&] { compare_weights("w", base, at::randn({6, 4})); }, {"'w'", "one shape"});
  expect_error<std::invalid_argument>([&] { compare_weights("w", base, base, 0); }, {"at least one direction"});
}

TEST(CompareWeights, SeesTheRankOfALoraUpdate) {
  models::VisionTransformerImpl base(small_config()), adapted(small_config());
  const at::NoGradGuard no_grad;
  const auto parameters = base.named_parameters();
  for (auto& item : adapted.named_parameters()) item.value().copy_(parameters[item.key()]);
  const auto attachment = attach(adapted, Lora({.rank = 1, .targets = "q,fc1"}));
  for (auto& [name, tensor] : attachment->trainable()) tensor.normal_();
  expect_error<std::invalid_argument>([&] { weight_matrices(adapted); }, {"adapter attached"});
  merge(adapted);
  const auto before = weight_matrices(base), after = weight_matrices(adapted);
  ASSERT_EQ(before.size(), 1u + 2 * 6);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].name, after[i].name);
    const WeightChange change = compare_weights(before[i].name, before[i].weight, after[i].weight);
    const bool changed = before[i].name.ends_with(".qkv.q") || before[i].name.ends_with(".fc1");
    EXPECT_NEAR(change.effective_rank, changed ? 1.0 : 0.0, 1e-3) << change.name;
    EXPECT_EQ(change.relative_change > 0.0, changed) << change.name;
  }
  EXPECT_EQ(before[0].name, "patch_embed.proj");
  EXPECT_EQ(before[0].weight.sizes(), at::IntArrayRef({32, 48}));
  EXPECT_EQ(before[1].name, "blocks.0.attn.qkv.q");
  EXPECT_EQ(before[1].weight.sizes(), at::IntArrayRef({32, 32}));
}

}  // namespace
}  // namespace respeft
