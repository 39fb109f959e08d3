#include <c10/util/Exception.h>
#include <c10/util/Flags.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <new>
#include <sstream>
#include <stdexcept>
#include <utility>

#include <respeft/core/interrupt.h>
#include <respeft/core/memory.h>
#include <respeft/core/version.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/parse.h"

C10_DECLARE_int(caffe2_log_level);

namespace respeft::cli {
namespace {

const std::vector<CommandEntry>& commands() {
  static const std::vector<CommandEntry> list = {
      {"train", "Fine-tune a pretrained model on labeled images",
       "respeft train --model vit_base_patch16_224 --weights vit_b16.safetensors --data imagefolder:flowers \\\n"
       "              --method rlrr --epochs 30 --lr 1e-3 --out runs/flowers\n"
       "respeft train --resume --out runs/flowers",
       make_train},
      {"eval", "Measure accuracy, loss and speed on labeled images",
       "respeft eval --run runs/flowers --data imagefolder:flowers\n"
       "respeft eval --torchscript flowers.pt --data imagefolder:flowers --per-class",
       make_eval},
      {"predict", "Print the likeliest classes of images, or write logits of pixels",
       "respeft predict --run runs/flowers rose.jpg tulip.jpg\n"
       "respeft predict --torchscript flowers.pt --top 3 rose.jpg\n"
       "respeft predict --run runs/flowers --pixels pixels.safetensors --logits logits.safetensors",
       make_predict},
      {"merge", "Merge an adapter into its base's weights, check the result, and write plain weights",
       "respeft merge --run runs/flowers --out flowers.safetensors\n"
       "respeft merge --weights vit_b16.safetensors --adapter adapter.safetensors --out merged.safetensors",
       make_merge},
      {"export", "Write a model for use without this library, and check the written file",
       "respeft export --run runs/flowers --format torchscript --out flowers.pt\n"
       "respeft export --run runs/flowers --format timm --out flowers.safetensors\n"
       "respeft export --run runs/flowers --format huggingface --out flowers-vit\n"
       "respeft export --run runs/flowers-lora --format peft --out flowers-adapter",
       make_export},
      {"inspect", "Show how an adapter changes each weight matrix: size, rank, singular values",
       "respeft inspect --run runs/flowers\n"
       "respeft inspect --weights vit_b16.safetensors --adapter adapter.safetensors --json",
       make_inspect},
      {"info", "Describe a model with a method, or a file; or list models, methods, data and formats",
       "respeft info\n"
       "respeft info --model vit_base_patch16_224 --method rlrr --batch-size 32\n"
       "respeft info adapter.safetensors",
       make_info},
      {"bench", "Time training steps or inference on random data",
       "respeft bench --model vit_base_patch16_224 --method rlrr --batch-size 8 --steps 10\n"
       "respeft bench --model vit_small_patch16_224 --inference --batch-size 32 --json",
       make_bench},
      {"doctor", "Check a dataset, and weights for a model, before training on them",
       "respeft doctor --data vtab:vtab-1k/cifar\n"
       "respeft doctor --data imagefolder:flowers --model vit_base_patch16_224 --weights vit_b16.safetensors",
       make_doctor},
      {"suite", "Fine-tune on every dataset of VTAB-1k or FGVC and print the papers' table",
       "respeft suite vtab:vtab-1k --weights vit_b16.safetensors --out runs/rlrr\n"
       "respeft suite vtab:vtab-1k --weights vit_b16.safetensors --out runs/rlrr-honest --protocol honest --seeds 1,2,3\n"
       "respeft suite fgvc:fgvc --recipes ssf/fgvc --weights vit_b16.safetensors --out runs/ssf --resume",
       make_suite},
      {"recipes", "List the papers' settings, or print one",
       "respeft recipes\n"
       "respeft recipes rlrr/vtab/cifar\n"
       "respeft train --recipe rlrr/vtab/cifar --data vtab:vtab-1k/cifar --weights vit_b16.safetensors --out runs/cifar",
       make_recipes},
  };
  return list;
}

std::string overview() {
  std::string text =
      "respeft fine-tunes Vision Transformers with a few parameters and merges them into the weights.\n\n"
      "Usage: respeft COMMAND [options]\n\nCommands:\n";
  for (const auto& command : commands()) text += fmt::format("  {:<9}{}\n", command.name, command.summary);
  text +=
      "\nrespeft COMMAND --help describes a command; respeft --version prints the version.\n\nExamples:\n"
      "  respeft train --model vit_base_patch16_224 --weights vit_b16.safetensors \\\n"
      "                --data imagefolder:flowers --method rlrr --out runs/flowers\n"
      "  respeft predict --run runs/flowers rose.jpg\n"
      "  respeft export --run runs/flowers --format torchscript --out flowers.pt\n";
  return text;
}

int run_command(const CommandEntry& entry, const std::vector<std::string>& arguments) {
  CLI::App app(entry.summary + ".", "respeft " + entry.name);
  prepare(app, entry.examples);
  const auto command = entry.create();
  command->declare(app);
  command->declare_common(app);
  auto config = parse(app, arguments);
  if (!config) {
    print(app.help());
    return kDone;
  }
  command->take_config(std::move(*config));
  command->apply_common();
  return command->run();
}

int run_program(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    note(overview());
    return kUsage;
  }
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h" || first == "help") {
    print(overview());
    return kDone;
  }
  if (first == "--version") {
    print_line(fmt::format("respeft {} (LibTorch {})", RESPEFT_VERSION_STRING, TORCH_VERSION));
    return kDone;
  }
  std::vector<std::string> names;
  for (const auto& entry : commands()) {
    if (entry.name == first) return run_command(entry, {arguments.begin() + 1, arguments.end()});
    names.push_back(entry.name);
  }
  if (first[0] == '-') throw std::invalid_argument(fmt::format("'{}' before a command; see respeft --help", first));
  throw std::invalid_argument(text::unknown("command", first, names));
}

/// One line without what only LibTorch's developers read.
std::string one_line(const std::string& message) {
  std::istringstream lines(message);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
    if (!text.empty()) text += text.back() == ':' ? " " : "; ";
    text += line;
  }
  return text;
}

/// Says what went wrong and returns `status`.
int fail(const std::string& message, int status) {
  note("respeft: error: " + one_line(message));
  return status;
}

int run_and_report(const std::vector<std::string>& arguments) {
  try {
    const int status = run_program(arguments);
    flush_output();
    return status;
  } catch (const CLI::ParseError& error) {
    return fail(error.what(), kUsage);
  } catch (const std::invalid_argument& error) {
    return fail(error.what(), kUsage);
  } catch (const Interrupted& error) {
    return fail(error.what(), kInterrupted);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kFailed);
  } catch (const c10::Error& error) {
    return fail(error.what_without_backtrace(), kFailed);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailed);
  }
}

/// LibTorch's own warnings concern its users' code, not this program's users.
class QuietWarnings : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace
}  // namespace respeft::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed stdout is noticed when it is written to
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is noticed when a file is written
  respeft::keep_freed_memory();
  static respeft::cli::QuietWarnings quiet;
  c10::WarningUtils::set_warning_handler(&quiet);
  FLAGS_caffe2_log_level = 2;  // errors
  return respeft::cli::run_and_report({argv + 1, argv + argc});
}
