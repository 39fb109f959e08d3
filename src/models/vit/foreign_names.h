#pragma once

#include <string>
#include <string_view>

// The names that the layers of a Vision Transformer have in other libraries.
namespace respeft::models::vit {

/// Libraries, and the places in them that spell names differently. Transformers 5 spells the modules of a live model differently
/// from the files that `save_pretrained` writes.
enum Layout : unsigned {
  kVitFile = 1,
  kDinov2File = 2,
  kVitModule = 4,
  kDinov2Module = 8,
  kGoogle = 16,     ///< Google's ViT and AugReg: Flax numbers all of a block's modules together
  kBigVision = 32,  ///< Google's Big Vision: each kind of module is numbered by itself
  kMeta = 64,       ///< DINOv2's own, which is timm's but for these
  kTorchvision = 128,
};
constexpr unsigned kVit = kVitFile | kVitModule, kDinov2 = kDinov2File | kDinov2Module, kFiles = kVitFile | kDinov2File,
                   kModules = kVitModule | kDinov2Module, kHuggingFace = kFiles | kModules, kJax = kGoogle | kBigVision;

/// timm's name of the tensor or module that is called `name` in one of `layouts`, with `.weight` or `.bias` behind a module kept.
/// False if the table has no such name. An empty `timm` says that the tensor has no part in classifying images.
bool to_timm_name(std::string_view name, unsigned layouts, std::string& timm);

/// The other direction, for one layout; empty if the table has no such name.
std::string from_timm_name(std::string_view timm, Layout layout);

}  // namespace respeft::models::vit
