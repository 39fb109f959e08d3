#include "src/models/vit/family.h"

#include <fmt/format.h>
#include <respeft/models/vit/vit.h>
#include <respeft/models/vit/weight_map.h>

#include <map>
#include <regex>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::models {
namespace {

struct Size {
  int64_t embed_dim, depth, heads;
};

/// Dosovitskiy et al. 2021, table 1; tiny and small: Touvron et al. 2021 (DeiT), table 1.
const std::map<std::string, Size> kSizes = {{"tiny", {192, 12, 3}},
                                            {"small", {384, 12, 6}},
                                            {"base", {768, 12, 12}},
                                            {"large", {1024, 24, 16}},
                                            {"huge", {1280, 32, 16}}};

/// Splits a name into size, patch, and image size or DINOv2's variants.
bool parse(const std::string& architecture, std::smatch& match) {
  static const std::regex grammar("vit_(tiny|small|base|large|huge)_patch(8|14|16|32)_(?:([1-9][0-9]{1,3})|(reg4_)?dinov2)");
  return std::regex_match(architecture, match, grammar);
}

class VitFamily : public ModelFamily {
 public:
  std::string name() const override { return "vit"; }

  std::vector<std::string> list() const override {
    std::vector<std::string> names;
    for (const auto* shape : {"tiny_patch16", "small_patch8", "small_patch16", "small_patch32", "base_patch8", "base_patch16",
                              "base_patch32", "large_patch14", "large_patch16", "large_patch32", "huge_patch14"}) {
      names.push_back(fmt::format("vit_{}_224", shape));
    }
    for (const auto* shape :
         {"tiny_patch16", "small_patch16", "small_patch32", "base_patch16", "base_patch32", "large_patch16", "large_patch32"}) {
      names.push_back(fmt::format("vit_{}_384", shape));
    }
    for (const auto* size : {"small", "base", "large"}) {
      names.push_back(fmt::format("vit_{}_patch14_dinov2", size));
      names.push_back(fmt::format("vit_{}_patch14_reg4_dinov2", size));
    }
    return names;
  }

  bool knows(const std::string& architecture) const override {
    std::smatch match;
    return parse(architecture, match);
  }

  std::shared_ptr<Model> create(const std::string& name, const ModelOptions& options) const override {
    return std::make_shared<VisionTransformerImpl>(vit_config(name, options), options.device);
  }

  std::shared_ptr<Model> like(const Model& model) const override {
    return std::make_shared<VisionTransformerImpl>(vit::as_vit(model).config);
  }

  ModelOptions options(const Model& model) const override {
    const auto& config = vit::as_vit(model).config;
    return {.num_classes = config.num_classes,
            .image_size = config.image_size,
            .pool = config.mean_pooling ? "avg" : "",
            .drop_path = config.drop_path,
            .branch_dropout = config.branch_dropout};
  }

  const WeightMap& weights() const override { return vit_weight_map(); }
  const ExportSources& exports() const override { return vit::export_sources(); }
};

}  // namespace

const ModelFamily& vit_family() {
  static const VitFamily family;
  return family;
}

VitConfig vit_config(const std::string& name, const ModelOptions& options) {
  const std::string architecture = name.substr(0, name.find('.'));
  std::smatch match;
  if (!parse(architecture, match)) throw std::invalid_argument(text::unknown("model", name, list()));
  const Size& size = kSizes.at(match[1]);
  VitConfig config;
  config.name = architecture;
  config.patch_size = std::stoll(match[2]);
  config.embed_dim = size.embed_dim;
  config.depth = size.depth;
  config.num_heads = size.heads;
  config.mlp_dim = 4 * size.embed_dim;
  if (match[3].matched) {
    config.image_size = std::stoll(match[3]);
  } else {  // Oquab et al. 2023; registers: Darcet et al. 2023
    config.image_size = 518;
    config.layer_scale = 1e-5;
    if (match[4].matched) {
      config.register_tokens = 4;
      config.position_for_prefix = false;
    }
  }
  config.num_classes = options.num_classes;
  config.image_size = options.image_size.value_or(config.image_size);
  config.drop_path = options.drop_path;
  config.branch_dropout = options.branch_dropout;
  if (!options.pool.empty() && options.pool != "token" && options.pool != "avg") {
    throw std::invalid_argument(text::unknown("pooling", options.pool, {"token", "avg"}));
  }
  config.mean_pooling = options.pool == "avg";
  if (config.image_size < config.patch_size || config.image_size % config.patch_size != 0) {
    throw std::invalid_argument(
        fmt::format("image size {} is not a multiple of {}'s patch size {}", config.image_size, architecture, config.patch_size));
  }
  if (config.num_classes < 0)
    throw std::invalid_argument(fmt::format("expected a number of classes, got {}", config.num_classes));
  return config;
}

}  // namespace respeft::models
