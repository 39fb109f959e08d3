#include <respeft/methods/adaptformer.h>
#include <respeft/methods/bitfit.h>
#include <respeft/methods/loha.h>
#include <respeft/methods/lokr.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/method.h>
#include <respeft/methods/plain.h>
#include <respeft/methods/reslora.h>
#include <respeft/methods/rlrr.h>
#include <respeft/methods/ssf.h>
#include <respeft/methods/vpt.h>

#include "src/methods/fields.h"

namespace respeft::methods {
namespace {

struct NoOptions {
  template <class Visitor>
  static void fields(NoOptions&, Visitor&&) {}
};

template <class M, class O>
Entry entry(const std::string& summary, const std::string& folds) {
  const std::string name = M().name();
  return {name, summary, folds, describe<O>(), [name](const Options& options) -> std::unique_ptr<Method> {
            auto typed = from_options<O>(name, options);
            if constexpr (std::is_same_v<O, NoOptions>) {
              return std::make_unique<M>();
            } else {
              return std::make_unique<M>(std::move(typed));
            }
          }};
}

Entry vpt_entry(bool deep, const std::string& summary) {
  const std::string name = Vpt(deep).name();
  return {name, summary, "no", describe<VptOptions>(), [name, deep](const Options& options) -> std::unique_ptr<Method> {
            return std::make_unique<Vpt>(deep, from_options<VptOptions>(name, options));
          }};
}

Entry reslora_entry(Shortcut shortcut, const std::string& summary, const std::string& folds) {
  const std::string name = ResLora(shortcut).name();
  return {name, summary, folds, describe<ResLoraOptions>(), [name, shortcut](const Options& options) -> std::unique_ptr<Method> {
            return std::make_unique<ResLora>(shortcut, from_options<ResLoraOptions>(name, options));
          }};
}

}  // namespace

const std::vector<Entry>& registry() {
  static const std::vector<Entry> entries = {
      entry<Rlrr, RlrrOptions>("residual low-rank rescaling of every weight", "exactly"),
      entry<Lora, LoraOptions>("low-rank updates of linear weights", "exactly"),
      reslora_entry(Shortcut::Block, "LoRA that applies the updates of earlier blocks too", "exactly"),
      reslora_entry(Shortcut::Input, "LoRA that reads the input of the block before too", "approximately"),
      reslora_entry(Shortcut::Middle, "LoRA that adds what earlier blocks' A made of their inputs", "approximately"),
      entry<Loha, LohaOptions>("updates that are the Hadamard product of two low-rank ones", "exactly"),
      entry<Lokr, LokrOptions>("updates that are the Kronecker product of two small matrices", "exactly"),
      entry<Ssf, SsfOptions>("a scale and a shift after every layer", "exactly"),
      entry<BitFit, NoOptions>("the biases alone", "exactly"),
      entry<AdaptFormer, AdaptFormerOptions>("a bottleneck beside every MLP", "no"),
      vpt_entry(/*deep=*/false, "learned tokens that enter with the first block"),
      vpt_entry(/*deep=*/true, "learned tokens of its own for every block"),
      entry<LinearProbe, NoOptions>("the head alone, on frozen features", "already plain"),
      entry<FullFineTuning, NoOptions>("every parameter", "already plain"),
  };
  return entries;
}

const Entry& find(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : registry()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw std::invalid_argument(text::unknown("method", name, names));
}

std::unique_ptr<Method> create(const std::string& name, const Options& options) { return find(name).create(options); }

}  // namespace respeft::methods
