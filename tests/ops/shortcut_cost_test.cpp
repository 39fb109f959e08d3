#include <gtest/gtest.h>
#include <respeft/ops/shortcut_cost.h>

namespace respeft::ops {
namespace {

TEST(UpdateCost, FewTokensStayThin) {
  for (const bool training : {true, false}) {
    EXPECT_EQ(choose_order({.tokens = 64, .in = 768, .out = 768, .rank = 8}, training), UpdateOrder::Thin);
    EXPECT_EQ(choose_order({.tokens = 8, .in = 3072, .out = 768, .rank = 8}, training), UpdateOrder::Thin);
  }
}

TEST(UpdateCost, HighRanksAreFolded) {
  EXPECT_EQ(choose_order({.tokens = 1576, .in = 768, .out = 3072, .rank = 192}, false), UpdateOrder::Folded);
  EXPECT_NE(choose_order({.tokens = 1576, .in = 768, .out = 3072, .rank = 192}, true), UpdateOrder::Thin);
  EXPECT_EQ(choose_order({.tokens = 1576, .in = 768, .out = 768, .rank = 700}, true), UpdateOrder::FoldedDense);
}

TEST(UpdateCost, GrowsWithEverySize) {
  const UpdateShape shape{.tokens = 512, .in = 384, .out = 384, .rank = 16};
  for (const auto order : {UpdateOrder::Thin, UpdateOrder::Folded, UpdateOrder::FoldedDense}) {
    for (const bool training : {true, false}) {
      const double cost = update_cost(order, shape, training);
      EXPECT_GT(cost, 0.0);
      for (auto larger : {UpdateShape{1024, 384, 384, 16}, UpdateShape{512, 768, 384, 16}, UpdateShape{512, 384, 768, 16},
                          UpdateShape{512, 384, 384, 32}}) {
        EXPECT_GE(update_cost(order, larger, training), cost) << to_string(order);
      }
    }
    EXPECT_GT(update_cost(order, shape, true), update_cost(order, shape, false));
  }
}

TEST(UpdateCost, GroupsWithoutAHeightShareTheOutput) {
  const UpdateShape given{.tokens = 100, .in = 64, .out = 192, .rank = 8, .groups = 3, .height = 64};
  UpdateShape derived = given;
  derived.height = 0;
  EXPECT_EQ(update_cost(UpdateOrder::Thin, given, true), update_cost(UpdateOrder::Thin, derived, true));
}

}  // namespace
}  // namespace respeft::ops
