#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "src/models/vit/configurations.h"

namespace respeft::models::vit {
namespace {

using Channels = std::array<double, 3>;

constexpr Channels kHalf = {0.5, 0.5, 0.5};
constexpr Channels kImagenetMean = {0.485, 0.456, 0.406}, kImagenetStd = {0.229, 0.224, 0.225};
constexpr Channels kClipMean = {0.48145466, 0.4578275, 0.40821073}, kClipStd = {0.26862954, 0.26130258, 0.27577711};

/// A word in the name of a model or of its file, in lower case, that tells whose weights they are. The first that is found
/// counts.
struct Publication {
  const char* word;
  const char* title;
  Channels mean, std;
};
constexpr Publication kPublications[] = {
    {"augreg", "AugReg's weights (Steiner et al. 2021)", kHalf, kHalf},
    {"orig_in21k", "the original ViT's weights (Dosovitskiy et al. 2021)", kHalf, kHalf},
    {"dinov2", "DINOv2's weights", kImagenetMean, kImagenetStd},
    {".dino", "DINO's weights", kImagenetMean, kImagenetStd},
    {"dino_", "DINO's weights", kImagenetMean, kImagenetStd},
    {"deit", "DeiT's weights", kImagenetMean, kImagenetStd},
    {"mae", "weights of masked autoencoders (MAE)", kImagenetMean, kImagenetStd},
    {"openai", "OpenAI's CLIP's weights", kClipMean, kClipStd},
    {".npz", "Google's weights", kHalf, kHalf},
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                     const std::string& layout) {
  const std::string path = lower(file), name = lower(model);
  for (const auto& publication : kPublications) {
    for (const auto& [text, what] : {std::pair(name, "model"), std::pair(path, "file")}) {
      if (text.find(publication.word) == std::string::npos) continue;
      return Normalization{publication.mean, publication.std, fmt::format("{}, by the {}'s name", publication.title, what)};
    }
  }
  if (layout == "torchvision") return Normalization{kImagenetMean, kImagenetStd, "torchvision's weights, by their names"};
  return std::nullopt;
}

}  // namespace respeft::models::vit
