#pragma once

#include "tests/cuda/kernels/cases.h"

/// The tests, for a `Backend` that the including file has defined: for_each_backend(check) calls check(backend) for every way of
/// running a kernel that is wanted.
namespace respeft::cuda::test {

template <class Precision>
class Kernels : public testing::Test {};
struct PrecisionNames {
  template <class Precision>
  static std::string GetName(int) {
    return precision_name<Precision>();
  }
};
#ifndef RESPEFT_TEST_PRECISIONS
#define RESPEFT_TEST_PRECISIONS BFloat16, Float16, TensorFloat32, Float32
#endif
using Precisions = testing::Types<RESPEFT_TEST_PRECISIONS>;
TYPED_TEST_SUITE(Kernels, Precisions, PrecisionNames);

template <class SizeType>
std::string describe(const SizeType& s) {
  return std::to_string(s.tokens) + " tokens, " + std::to_string(s.in) + " -> " + std::to_string(s.out) + ", offset " +
         std::to_string(s.offset);
}

/// Checks every size on every backend.
template <class SizeType, class Check>
void check_all(const std::vector<SizeType>& sizes, const Check& check) {
  for_each_backend([&](Backend& backend) {
    for (const auto& size : sizes) {
      SCOPED_TRACE(describe(size) + ", " + backend.describe());
      check(backend, size);
      backend.verify();
      if (testing::Test::HasFailure()) return;
    }
  });
}

TYPED_TEST(Kernels, RescaledProduct) {
  check_all(kSizes, [](Backend& backend, const Size& s) {
    check_rescaled_product<Backend, TypeParam, Direction::Forward>(backend, s, true);
  });
}
TYPED_TEST(Kernels, RescaledProductWithoutResidual) {
  check_all(std::vector<Size>{kSizes[4]}, [](Backend& backend, const Size& s) {
    check_rescaled_product<Backend, TypeParam, Direction::Forward>(backend, s, false);
  });
}
TYPED_TEST(Kernels, RescaledProductBackward) {
  check_all(kSizes, [](Backend& backend, const Size& s) {
    check_rescaled_product<Backend, TypeParam, Direction::Backward>(backend, s, true);
  });
}
TYPED_TEST(Kernels, Rescale) {
  if (std::is_same_v<TypeParam, TensorFloat32>) GTEST_SKIP() << "float32 has one kernel for both precisions";
  using Stored = std::conditional_t<std::is_same_v<TypeParam, TensorFloat32>, Float32, TypeParam>;
  check_all(kSizes, [](Backend& backend, const Size& s) { check_rescale<Backend, Stored>(backend, s, s.in % 2 == 0); });
}
TYPED_TEST(Kernels, RescaledProductRoundsTheWeightOnce) {
  if (std::is_same_v<TypeParam, TensorFloat32>) GTEST_SKIP() << "TF32 rounds the weight further";
  check_all(std::vector<Size>{kSizes[4], kSizes[3]},
            [](Backend& backend, const Size& s) { check_products_weight<Backend, TypeParam>(backend, s); });
}
TYPED_TEST(Kernels, ScaleGradients) {
  check_all(kSizes, [](Backend& backend, const Size& s) { check_scale_gradients<Backend, TypeParam>(backend, s, 1, {}); });
}
TYPED_TEST(Kernels, ScaleGradientsThatAreWanted) {
  for (int mask = 1; mask < 7; ++mask) {
    const Gradients wanted{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0, mask % 2 == 0, mask % 3 == 0};
    check_all(std::vector<Size>{{20, 24, 30, 3}},
              [&](Backend& backend, const Size& s) { check_scale_gradients<Backend, TypeParam>(backend, s, 1, wanted); });
  }
}
TYPED_TEST(Kernels, ScaleGradientsInSplits) {
  check_all(std::vector<Size>{{600, 24, 140, 1}, {530, 136, 6, 2}}, [](Backend& backend, const Size& s) {
    check_scale_gradients<Backend, TypeParam>(backend, s, 8, {true, true, true, false, false});
  });
}
TYPED_TEST(Kernels, ThinProduct) {
  check_all(kUpdateSizes, [](Backend& backend, const UpdateSize& s) {
    check_thin_product<Backend, TypeParam, Direction::Forward>(backend, s, s.rank != 3);
  });
}
TYPED_TEST(Kernels, ThinProductBackward) {
  check_all(kUpdateSizes, [](Backend& backend, const UpdateSize& s) {
    check_thin_product<Backend, TypeParam, Direction::Backward>(backend, s, s.rank != 3);
  });
}
TYPED_TEST(Kernels, UpdatedProduct) {
  check_all(kUpdateSizes, [](Backend& backend, const UpdateSize& s) {
    check_updated_product<Backend, TypeParam, Direction::Forward>(backend, s);
  });
}
TYPED_TEST(Kernels, UpdatedProductBackward) {
  check_all(kUpdateSizes, [](Backend& backend, const UpdateSize& s) {
    check_updated_product<Backend, TypeParam, Direction::Backward>(backend, s);
  });
}
TYPED_TEST(Kernels, Fold) {
  check_all(kUpdateSizes, [](Backend& backend, const UpdateSize& s) { check_fold<Backend, TypeParam>(backend, s); });
}

}  // namespace respeft::cuda::test
