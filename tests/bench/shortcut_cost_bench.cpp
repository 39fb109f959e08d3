// The cost model of linears with low-rank updates beside the clock: for each shape, the three orders are timed forward and
// backward, interleaved, and the fastest is compared with the one that `choose_order` picks. A pick within 3 % of the fastest
// counts as agreement: the clock does not repeat better. With arguments (as the tests call it) it makes one quick round.

#include <ATen/ATen.h>
#include <respeft/ops/shortcut.h>
#include <respeft/ops/shortcut_cost.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace {

using namespace respeft::ops;

constexpr std::array kOrders = {UpdateOrder::Thin, UpdateOrder::Folded, UpdateOrder::FoldedDense};
constexpr double kTie = 1.03;

struct Layer {
  explicit Layer(const UpdateShape& s)
      : x(at::randn({s.tokens, s.in}).requires_grad_(true)),
        weight(at::randn({s.out, s.in}) * 0.02),
        bias(at::randn({s.out})),
        down(at::randn({s.groups * s.rank, s.in}).requires_grad_(true)),
        up(at::randn({s.out, s.rank}).requires_grad_(true)),
        grad(at::randn({s.tokens, s.out})) {
    for (int64_t g = 0; g < s.groups; ++g) rows.push_back(g * s.out / s.groups);
  }

  double seconds(UpdateOrder order) const {
    const auto start = std::chrono::steady_clock::now();
    const auto y = order == UpdateOrder::Thin
                       ? std::get<0>(shortcut_linear(x, weight, bias, down, up, std::nullopt, 1.0, rows))
                       : folded_linear(x, weight, bias, down, up, 1.0, rows, order == UpdateOrder::FoldedDense);
    torch::autograd::grad({y}, {x, down, up}, {grad});
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  at::Tensor x, weight, bias, down, up, grad;
  std::vector<int64_t> rows;
};

}  // namespace

int main(int argc, char**) {
  const int rounds = argc > 1 ? 1 : 12;
  // ViT-B/16 with a batch of 8 and DINOv2-S at 56 pixels with a batch of 32: the layers of chains of several lengths.
  const std::vector<UpdateShape> shapes = {{1576, 768, 768, 16, 1, 0},  {1576, 768, 2304, 48, 3, 0}, {1576, 768, 2304, 96, 3, 0},
                                           {1576, 768, 3072, 96, 1, 0}, {1576, 3072, 768, 96, 1, 0}, {1576, 768, 768, 384, 1, 0},
                                           {1576, 768, 768, 700, 1, 0}, {544, 384, 384, 96, 1, 0},   {544, 384, 1536, 32, 1, 0},
                                           {64, 1536, 384, 96, 1, 0}};
  std::printf("%-28s %10s %10s %13s   %-13s %s\n", "tokens x in x out, rank", "thin ms", "folded ms", "folded-dense", "predicted",
              "");
  int agreed = 0;
  for (const auto& shape : shapes) {
    const Layer layer(shape);
    std::array<double, 3> best{1e9, 1e9, 1e9};
    for (int round = 0; round <= rounds; ++round) {
      for (size_t i = 0; i < kOrders.size(); ++i) {
        const double seconds = layer.seconds(kOrders[i]);
        if (round > 0) best[i] = std::min(best[i], seconds);
      }
    }
    const auto predicted = choose_order(shape, /*training=*/true);
    const double fastest = *std::min_element(best.begin(), best.end());
    const bool agrees = best[static_cast<size_t>(predicted)] <= kTie * fastest;
    agreed += agrees ? 1 : 0;
    char name[64];
    std::snprintf(name, sizeof name, "%ld x %ld x %ld, %ld", static_cast<long>(shape.tokens), static_cast<long>(shape.in),
                  static_cast<long>(shape.out), static_cast<long>(shape.rank));
    std::printf("%-28s %10.2f %10.2f %13.2f   %-13s %s\n", name, best[0] * 1e3, best[1] * 1e3, best[2] * 1e3,
                to_string(predicted), agrees ? "yes" : "NO");
  }
  std::printf("predicted and measured order agree on %d of %zu shapes\n", agreed, shapes.size());
}
