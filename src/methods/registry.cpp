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

#include <fmt/format.h>

#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::methods {
namespace {

/// The given options of `method` over the defaults.
template <class O>
O read_options(const std::string& method, const Options& given) {
  O options;
  try {
    options.fields().assign(given, "option");
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("{}: {}", method, error.what()));
  }
  return options;
}

/// An entry of method M with the options O, which its constructor takes after `arguments`.
template <class M, class O, class... Arguments>
Entry entry(const std::string& summary, const std::string& folds, Arguments... arguments) {
  static O defaults;  // one an instantiation; methods that share it share their options
  const std::string name = M(arguments..., O()).name();
  return {name, summary, folds, defaults.fields(), [name, arguments...](const Options& options) -> std::unique_ptr<Method> {
            return std::make_unique<M>(arguments..., read_options<O>(name, options));
          }};
}

/// An entry of a method without options.
template <class M>
Entry entry(const std::string& summary, const std::string& folds) {
  const std::string name = M().name();
  return {name, summary, folds, {}, [name](const Options& options) -> std::unique_ptr<Method> {
            if (!options.empty())
              throw std::invalid_argument(fmt::format("method '{}' has no options, got '{}'", name, options.begin()->first));
            return std::make_unique<M>();
          }};
}

}  // namespace

const std::vector<Entry>& registry() {
  static const std::vector<Entry> entries = {
      entry<Rlrr, RlrrOptions>("residual low-rank rescaling of every weight", "exactly"),
      entry<Lora, LoraOptions>("low-rank updates of linear weights", "exactly"),
      entry<ResLora, ResLoraOptions>("LoRA that applies the updates of earlier blocks too", "exactly", Shortcut::Block),
      entry<ResLora, ResLoraOptions>("LoRA that reads the input of the block before too", "approximately", Shortcut::Input),
      entry<ResLora, ResLoraOptions>("LoRA that adds the low-rank activations of earlier blocks", "approximately",
                                     Shortcut::Middle),
      entry<Loha, LohaOptions>("updates that are the Hadamard product of two low-rank matrices", "exactly"),
      entry<Lokr, LokrOptions>("updates that are the Kronecker product of two small matrices", "exactly"),
      entry<Ssf, SsfOptions>("a scale and a shift after every layer", "exactly"),
      entry<BitFit>("the biases alone", "exactly"),
      entry<AdaptFormer, AdaptFormerOptions>("a bottleneck beside every MLP", "no"),
      entry<Vpt, VptOptions>("learned tokens that enter with the first block", "no", /*deep=*/false),
      entry<Vpt, VptOptions>("learned tokens of its own for every block", "no", /*deep=*/true),
      entry<LinearProbe>("the head alone, on frozen features", "already plain"),
      entry<FullFineTuning>("every parameter", "already plain"),
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

std::unique_ptr<Method> create(const std::string& name, const Options& options) {
  return find(name).create(options);
}

}  // namespace respeft::methods
