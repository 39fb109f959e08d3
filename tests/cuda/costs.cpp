// Prints what `cuda/cost.h` predicts at the shapes of ViT-B/16 on H100 and A100, as the tables of docs/gpu.md.

#include <cstdio>
#include <string>
#include <vector>

#include "cuda/cost.h"

namespace {

using namespace respeft::cuda;

struct Row {
  std::string kernel, shape;
  Cost ours[2], theirs[2];  // H100, A100
};

const Architecture& named(const std::string& name) {
  for (const auto& each : architectures())
    if (name == each.name) return each;
  std::abort();
}

template <class Ours, class Theirs>
Row row(const char* kernel, const ProductSize& size, const Ours& ours, const Theirs& theirs) {
  Row made{kernel, std::to_string(size.rows) + " × " + std::to_string(size.columns) + " × " + std::to_string(size.depth), {}, {}};
  int at = 0;
  for (const char* name : {"H100", "A100"}) {
    made.ours[at] = ours(named(name), size);
    made.theirs[at++] = theirs(named(name), size);
  }
  return made;
}

std::vector<Row> rows(Arithmetic arithmetic) {
  constexpr int64_t rank = 8;
  std::vector<Row> all;
  const auto add = [&](const char* kernel, const ProductSize& size, auto ours, auto theirs) {
    all.push_back(row(
        kernel, size, [&](const Architecture& gpu, const ProductSize& s) { return ours(gpu, arithmetic, s); },
        [&](const Architecture& gpu, const ProductSize& s) { return theirs(gpu, arithmetic, s); }));
  };
  const auto updated = [](const Architecture& gpu, Arithmetic a, const ProductSize& s) {
    return fused_updated_product(gpu, a, s, rank);
  };
  const auto added = [](const Architecture& gpu, Arithmetic a, const ProductSize& s) {
    return composed_updated_product(gpu, a, s, rank, 1);
  };
  const auto thin_composed = [](const Architecture& gpu, Arithmetic a, const ProductSize& s) {
    return composed_thin_product(gpu, a, s, true);
  };
  for (const int64_t tokens : {197, 1576, 12608}) {
    add("rescaled product", {tokens, 768, 768}, fused_rescaled_product, two_step_rescaled_product);
    add("rescaled product", {tokens, 3072, 768}, fused_rescaled_product, two_step_rescaled_product);
    add("scale gradients", {768, 768, tokens}, fused_scale_gradients, composed_scale_gradients);
    add("scale gradients", {3072, 768, tokens}, fused_scale_gradients, composed_scale_gradients);
    add("thin product", {tokens, 2 * rank, 768}, fused_thin_product, thin_composed);
    add("updated product", {tokens, 768, 768}, updated, added);
  }
  add("fold", {768, 768, rank}, fused_fold, composed_fold);
  add("fold", {3072, 768, 12 * rank}, fused_fold, composed_fold);
  return all;
}

const KernelCost& longest(const Cost& cost) {
  const KernelCost* found = &cost.kernels[0];
  for (int i = 1; i < cost.count; ++i)
    if (cost.kernels[static_cast<size_t>(i)].time() > found->time()) found = &cost.kernels[static_cast<size_t>(i)];
  return *found;
}

void print(Arithmetic arithmetic) {
  std::puts("| kernel | rows × columns × depth | MB | GFLOP | H100: ours | ATen | bound by | A100: ours | ATen | bound by |");
  std::puts("|---|---|---:|---:|---:|---:|---|---:|---:|---|");
  for (const auto& r : rows(arithmetic)) {
    double bytes = 0, flops = 0;
    for (int i = 0; i < r.ours[0].count; ++i)
      bytes += r.ours[0].kernels[static_cast<size_t>(i)].bytes, flops += r.ours[0].kernels[static_cast<size_t>(i)].flops;
    std::printf("| %s | %s | %.1f | %.2f |", r.kernel.c_str(), r.shape.c_str(), bytes / 1e6, flops / 1e9);
    for (int gpu = 0; gpu < 2; ++gpu)
      std::printf(" %.1f | %.1f | %s |", r.ours[gpu].time(), r.theirs[gpu].time(), longest(r.ours[gpu]).limit());
    std::puts("");
  }
}

}  // namespace

int main() {
  std::puts("bfloat16\n");
  print(Arithmetic::Half);
  std::puts("\nfloat32 through TF32\n");
  print(Arithmetic::Tf32);
}
