#pragma once

#include <ostream>

#include "cuda/cost.h"

namespace respeft::cuda {

/// What a kernel of ours and the same of the vendor's library and ATen took, in microseconds; sizes as in docs/gpu.md.
struct Measured {
  Arithmetic arithmetic;
  const char* kernel;
  ProductSize size;
  double ours, vendors;
};

inline std::ostream& operator<<(std::ostream& out, const Measured& row) {
  return out << row.kernel << ' ' << row.size.rows << " × " << row.size.columns << " × " << row.size.depth;
}

/// Medians of 15 rounds of `respeft_gpu_bench` on an H100 SXM (80 GB HBM3, driver 580.159, CUDA 13.0, PyTorch 2.11).
inline constexpr Measured kMeasuredOnH100[] = {
    {Arithmetic::Half, "rescaled product", {197, 768, 768}, 10.8, 8.1},
    {Arithmetic::Half, "rescaled product", {197, 3072, 768}, 15.8, 11.5},
    {Arithmetic::Half, "scale gradients", {768, 768, 197}, 12.7, 33.4},
    {Arithmetic::Half, "scale gradients", {3072, 768, 197}, 17.6, 58.6},
    {Arithmetic::Half, "thin product", {197, 16, 768}, 9.3, 6.5},
    {Arithmetic::Half, "updated product", {197, 768, 768}, 10.1, 8.8},
    {Arithmetic::Half, "rescaled product", {1576, 768, 768}, 20.3, 10.4},
    {Arithmetic::Half, "rescaled product", {1576, 3072, 768}, 59.1, 20.3},
    {Arithmetic::Half, "scale gradients", {768, 768, 1576}, 20.5, 39.4},
    {Arithmetic::Half, "scale gradients", {3072, 768, 1576}, 45.5, 72.6},
    {Arithmetic::Half, "thin product", {1576, 16, 768}, 10.1, 8.1},
    {Arithmetic::Half, "updated product", {1576, 768, 768}, 19.3, 12.3},
    {Arithmetic::Half, "rescaled product", {12608, 768, 768}, 103.3, 28.4},
    {Arithmetic::Half, "rescaled product", {12608, 3072, 768}, 363.5, 92.3},
    {Arithmetic::Half, "scale gradients", {768, 768, 12608}, 81.0, 85.2},
    {Arithmetic::Half, "scale gradients", {3072, 768, 12608}, 238.9, 174.3},
    {Arithmetic::Half, "thin product", {12608, 16, 768}, 16.9, 12.8},
    {Arithmetic::Half, "updated product", {12608, 768, 768}, 101.3, 37.5},
    {Arithmetic::Half, "fold", {768, 768, 8}, 5.7, 6.2},
    {Arithmetic::Half, "fold", {3072, 768, 96}, 10.8, 10.6},
    {Arithmetic::Tf32, "rescaled product", {197, 768, 768}, 32.4, 11.8},
    {Arithmetic::Tf32, "rescaled product", {197, 3072, 768}, 35.8, 18.1},
    {Arithmetic::Tf32, "scale gradients", {768, 768, 197}, 18.0, 26.8},
    {Arithmetic::Tf32, "scale gradients", {3072, 768, 197}, 27.0, 45.2},
    {Arithmetic::Tf32, "thin product", {197, 16, 768}, 12.7, 8.8},
    {Arithmetic::Tf32, "updated product", {197, 768, 768}, 25.0, 13.2},
    {Arithmetic::Tf32, "rescaled product", {1576, 768, 768}, 42.7, 19.4},
    {Arithmetic::Tf32, "rescaled product", {1576, 3072, 768}, 139.5, 39.3},
    {Arithmetic::Tf32, "scale gradients", {768, 768, 1576}, 34.0, 52.1},
    {Arithmetic::Tf32, "scale gradients", {3072, 768, 1576}, 90.4, 99.0},
    {Arithmetic::Tf32, "thin product", {1576, 16, 768}, 13.5, 11.9},
    {Arithmetic::Tf32, "updated product", {1576, 768, 768}, 36.5, 24.0},
    {Arithmetic::Tf32, "rescaled product", {12608, 768, 768}, 232.2, 53.2},
    {Arithmetic::Tf32, "rescaled product", {12608, 3072, 768}, 901.9, 171.0},
    {Arithmetic::Tf32, "scale gradients", {768, 768, 12608}, 149.3, 146.7},
    {Arithmetic::Tf32, "scale gradients", {3072, 768, 12608}, 532.2, 379.8},
    {Arithmetic::Tf32, "thin product", {12608, 16, 768}, 27.7, 21.7},
    {Arithmetic::Tf32, "updated product", {12608, 768, 768}, 206.8, 82.6},
    {Arithmetic::Tf32, "fold", {768, 768, 8}, 7.9, 9.2},
    {Arithmetic::Tf32, "fold", {3072, 768, 96}, 18.0, 17.9},
};

}  // namespace respeft::cuda
