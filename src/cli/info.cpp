#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>

#include <respeft/inspect/inspect.h>
#include <respeft/methods/method.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/flags.h"
#include "src/cli/listing.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

/// Layers that are alike but for their block: `blocks.0-11.attn.qkv`.
struct LayerGroup {
  std::string before, after;  ///< the name around the block's number
  std::vector<int64_t> blocks;
  LayerSummary layer;  ///< one of them, with the sums of all

  std::string name() const {
    if (blocks.empty()) return layer.name;
    std::string ranges;
    for (size_t i = 0, end; i < blocks.size(); i = end) {
      for (end = i + 1; end < blocks.size() && blocks[end] == blocks[end - 1] + 1;) ++end;
      ranges += (i ? "," : "") + std::to_string(blocks[i]) + (end > i + 1 ? "-" + std::to_string(blocks[end - 1]) : "");
    }
    return before + ranges + after;
  }
};

std::vector<LayerGroup> group_blocks(const std::vector<LayerSummary>& layers) {
  static const std::regex numbered("^(.*?\\.)([0-9]+)(\\..*)$");
  std::vector<LayerGroup> groups;
  for (const auto& layer : layers) {
    std::smatch parts;
    if (!std::regex_match(layer.name, parts, numbered)) {
      groups.push_back({"", "", {}, layer});
      continue;
    }
    const auto alike = [&](const LayerGroup& group) {
      const auto members = static_cast<int64_t>(group.blocks.size());
      return group.before == parts[1] && group.after == parts[3] && group.layer.shape == layer.shape &&
             group.layer.adapter == layer.adapter && group.layer.trained == members * layer.trained &&
             group.layer.frozen == members * layer.frozen;
    };
    const auto found = std::find_if(groups.begin(), groups.end(), alike);
    if (found == groups.end()) {
      groups.push_back({parts[1], parts[3], {std::stoll(parts[2])}, layer});
    } else {
      found->blocks.push_back(std::stoll(parts[2]));
      found->layer.trained += layer.trained;
      found->layer.frozen += layer.frozen;
    }
  }
  return groups;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  return text::join(sizes, "×");
}

/// "17.6 G" for 1.76e10.
std::string flops(double number) {
  const char* const units[] = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  while (number >= 1000 && unit + 1 < std::size(units)) number /= 1000, ++unit;
  return fmt::format("{:.1f} {}FLOP", number, units[unit]);
}

class Info : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("FILE", file_, "an adapter or weights file of any format, or a folder of PEFT, to describe")->group("Subject");
    const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
      return app.add_option(flag, value, help)->type_name(type)->group("Subject");
    };
    add("--state-dict", state_dict_, "KEY", kStateDictHelp);
    add("--model", model_, "NAME", "timm's name of the architecture; without this and FILE, lists everything");
    add("--image-size", image_size_, "N", "pixels per side of the input; default: from the model's name");
    add("--pool", pool_, "NAME", "input of the head: token or avg");
    add("--num-classes", num_classes_, "N", "classes of the head")->default_str("100");
    add("--batch-size", batch_size_, "B", "images per training step")->default_str("32");
    app.add_flag("--all-layers", all_layers_, "list every layer; otherwise equal blocks share a line")->group("Subject");
    method_.declare(app);
  }

  int run() override {
    if (!state_dict_.empty() && file_.empty()) throw std::invalid_argument("--state-dict goes with FILE");
    if (!file_.empty() && !model_.empty()) throw std::invalid_argument("give FILE or --model, not both");
    if (!file_.empty()) {
      json() ? print_json(describe_file_json(file_, state_dict_)) : print(describe_file(file_, state_dict_));
    } else if (model_.empty()) {
      if (!method_.name.empty()) throw std::invalid_argument("--method goes with --model NAME");
      json() ? print_json(list_everything_json()) : print(list_everything());
    } else {
      describe_model();
    }
    return kDone;
  }

 private:
  void describe_model() const {
    if (batch_size_ < 1) throw std::invalid_argument("--batch-size: must be at least 1");
    if (num_classes_ < 1) throw std::invalid_argument("--num-classes: must be at least 1");
    const auto method = method_.name.empty() ? nullptr : methods::create(method_.name, method_.options());
    const auto model =
        models::create(model_, {.num_classes = num_classes_, .image_size = image_size_, .pool = pool_, .device = at::kMeta});
    std::shared_ptr<Attachment> attachment;
    if (method) {
      attachment = attach(*model, *method);
    } else {
      for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
    }
    const ModelSummary summary = summarize(*model);
    const double forward = 2.0 * static_cast<double>(model->macs());
    std::optional<TrainingCost> cost;
    if (method) cost = training_cost(*model, batch_size_, attachment.get());
    json() ? print_json(document(*model, summary, forward, cost)) : print(text(*model, summary, forward, cost));
  }

  nlohmann::json document(const models::Model& model, const ModelSummary& summary, double forward,
                          const std::optional<TrainingCost>& cost) const {
    nlohmann::json layers = nlohmann::json::array();
    for (const auto& layer : summary.layers) {
      layers.push_back({{"name", layer.name},
                        {"kind", layer.kind},
                        {"shape", layer.shape},
                        {"frozen", layer.frozen},
                        {"trained", layer.trained},
                        {"adapter", layer.adapter}});
    }
    nlohmann::json result = {{"model", model.name()},
                             {"image_size", model.input().side()},
                             {"num_classes", model.num_classes()},
                             {"layers", layers},
                             {"trained", summary.trained()},
                             {"trained_adapters", summary.trained_adapters},
                             {"trained_head", summary.trained_head},
                             {"trained_base", summary.trained_base},
                             {"frozen", summary.frozen},
                             {"forward_flops_per_image", forward}};
    if (!cost) return result;
    result["method"] = method_.name;
    result["training"] = {{"batch_size", cost->batch},
                          {"forward_flops", cost->forward_flops},
                          {"step_flops", cost->step_flops},
                          {"parameter_bytes", cost->parameter_bytes},
                          {"optimizer_bytes", cost->optimizer_bytes},
                          {"recorded_bytes", cost->recorded_bytes},
                          {"saved_bytes", cost->saved_bytes},
                          {"input_bytes", cost->input_bytes},
                          {"total_bytes", cost->total_bytes()}};
    return result;
  }

  std::string layer_table(const ModelSummary& summary) const {
    Table table({"layer", "weight", "frozen", "trained", "adapter"});
    const auto add = [&](const std::string& name, const LayerSummary& layer) {
      table.add({name, shape_text(layer.shape), count(layer.frozen), count(layer.trained), layer.adapter});
    };
    if (all_layers_) {
      for (const auto& layer : summary.layers) add(layer.name, layer);
    } else {
      for (const auto& group : group_blocks(summary.layers)) add(group.name(), group.layer);
    }
    return table.text();
  }

  std::string text(const models::Model& model, const ModelSummary& summary, double forward,
                   const std::optional<TrainingCost>& cost) const {
    const int64_t all = summary.trained() + summary.frozen;
    std::vector<std::pair<std::string, std::string>> entries = {
        {"model", fmt::format("{} at {} pixels, {} classes", model.name(), model.input().side(), model.num_classes())}};
    if (cost) {
      entries.emplace_back("method", method_.name);
      entries.emplace_back("trained", fmt::format("{} ({} of all)", count(summary.trained()),
                                                  percent(static_cast<double>(summary.trained()) / static_cast<double>(all))));
      entries.emplace_back("  adapters", count(summary.trained_adapters));
      entries.emplace_back("  head", count(summary.trained_head));
      if (summary.trained_base > 0) entries.emplace_back("  base", count(summary.trained_base));
      entries.emplace_back("frozen", count(summary.frozen));
    } else {
      entries.emplace_back("parameters", count(all));
    }
    entries.emplace_back("forward", flops(forward) + " per image (two per multiply-accumulate)");
    std::string result = layer_table(summary) + "\n" + key_values(entries);
    if (!cost) return result + "\nAdd --method NAME for trainable parameters and training cost.\n";
    std::vector<std::pair<std::string, std::string>> training = {
        {"  computation", flops(cost->step_flops) + " per step, forward and backward"},
        {"  memory", bytes(cost->total_bytes())},
        {"    parameters", bytes(cost->parameter_bytes)},
        {"    gradients, AdamW", bytes(cost->optimizer_bytes)}};
    if (cost->recorded_bytes > 0) training.emplace_back("    recorded of steps", bytes(cost->recorded_bytes));
    training.emplace_back("    kept for backward", bytes(cost->saved_bytes));
    training.emplace_back("    images", bytes(cost->input_bytes));
    return result + "\n" + fmt::format("Training at batch size {}:\n", cost->batch) + key_values(training);
  }

  std::string file_, model_, pool_, state_dict_;
  std::optional<int64_t> image_size_;
  int64_t num_classes_ = 100, batch_size_ = 32;
  bool all_layers_ = false;
  MethodFlags method_;
};

}  // namespace

std::unique_ptr<Command> make_info() {
  return std::make_unique<Info>();
}

}  // namespace respeft::cli
