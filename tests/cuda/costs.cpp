// Prints what `cuda/cost.h` predicts at the shapes of ViT-B/16 on H100 and A100, and what an H100 took: the tables of
// docs/gpu.md.

#include <cstdio>
#include <string>
#include <vector>

#include "cuda/cost.h"
#include "tests/cuda/kernels/measured.h"

namespace {

using namespace respeft::cuda;

struct Ways {
  Cost ours, theirs;
};

struct Row {
  std::string kernel, shape;
  const Measured* measured;  // on H100
  Ways gpus[2];              // H100, A100
};

const Architecture& named(const std::string& name) {
  for (const auto& each : architectures())
    if (name == each.name) return each;
  std::abort();
}

const Measured* measurement(Arithmetic arithmetic, const std::string& kernel, const ProductSize& s) {
  for (const auto& each : kMeasuredOnH100) {
    const auto& size = each.size;
    if (each.arithmetic == arithmetic && each.kernel == kernel && size.rows == s.rows && size.columns == s.columns &&
        size.depth == s.depth)
      return &each;
  }
  std::abort();
}

std::vector<Row> rows(Arithmetic arithmetic) {
  constexpr int64_t rank = 8;
  std::vector<Row> all;
  const auto add = [&](const char* kernel, const ProductSize& s, const auto& ways) {
    const auto shape = std::to_string(s.rows) + " × " + std::to_string(s.columns) + " × " + std::to_string(s.depth);
    all.push_back({kernel, shape, measurement(arithmetic, kernel, s), {ways(named("H100"), s), ways(named("A100"), s)}});
  };
  const auto rescaled = [&](const Architecture& gpu, const ProductSize& s) {
    return Ways{fused_rescaled_product(gpu, arithmetic, s), two_step_rescaled_product(gpu, arithmetic, s)};
  };
  const auto gradients = [&](const Architecture& gpu, const ProductSize& s) {
    return Ways{fused_scale_gradients(gpu, arithmetic, s), composed_scale_gradients(gpu, arithmetic, s)};
  };
  const auto thin = [&](const Architecture& gpu, const ProductSize& s) {
    return Ways{fused_thin_product(gpu, arithmetic, s), composed_thin_product(gpu, arithmetic, s, true)};
  };
  const auto updated = [&](const Architecture& gpu, const ProductSize& s) {
    return Ways{fused_updated_product(gpu, arithmetic, s, rank), composed_updated_product(gpu, arithmetic, s, rank, 1)};
  };
  const auto fold = [&](const Architecture& gpu, const ProductSize& s) {
    return Ways{fused_fold(gpu, arithmetic, s), composed_fold(gpu, arithmetic, s)};
  };
  for (const int64_t tokens : {197, 1576, 12608}) {
    add("rescaled product", {tokens, 768, 768}, rescaled);
    add("rescaled product", {tokens, 3072, 768}, rescaled);
    add("scale gradients", {768, 768, tokens}, gradients);
    add("scale gradients", {3072, 768, tokens}, gradients);
    add("thin product", {tokens, 2 * rank, 768}, thin);
    add("updated product", {tokens, 768, 768}, updated);
  }
  add("fold", {768, 768, rank}, fold);
  add("fold", {3072, 768, 12 * rank}, fold);
  return all;
}

const KernelCost& longest(const Cost& cost) {
  const KernelCost* found = &cost.kernels[0];
  for (int i = 1; i < cost.count; ++i)
    if (cost.kernels[static_cast<size_t>(i)].time() > found->time()) found = &cost.kernels[static_cast<size_t>(i)];
  return *found;
}

void print(Arithmetic arithmetic) {
  std::puts(
      "| kernel | rows × columns × depth | MB | GFLOP | H100: ours | took | ATen | took | bound by | A100: ours | ATen | bound "
      "by |");
  std::puts("|---|---|---:|---:|---:|---:|---:|---:|---|---:|---:|---|");
  for (const auto& r : rows(arithmetic)) {
    double bytes = 0, flops = 0;
    const Cost& ours = r.gpus[0].ours;
    for (int i = 0; i < ours.count; ++i)
      bytes += ours.kernels[static_cast<size_t>(i)].bytes, flops += ours.kernels[static_cast<size_t>(i)].flops;
    std::printf("| %s | %s | %.1f | %.2f |", r.kernel.c_str(), r.shape.c_str(), bytes / 1e6, flops / 1e9);
    const auto& [h100, a100] = r.gpus;
    std::printf(" %.1f | **%.1f** | %.1f | **%.1f** | %s |", h100.ours.time(), r.measured->ours, h100.theirs.time(),
                r.measured->vendors, longest(h100.ours).limit());
    std::printf(" %.1f | %.1f | %s |\n", a100.ours.time(), a100.theirs.time(), longest(a100.ours).limit());
  }
}

}  // namespace

int main() {
  std::puts("bfloat16\n");
  print(Arithmetic::Half);
  std::puts("\nfloat32 through TF32\n");
  print(Arithmetic::Tf32);
}
