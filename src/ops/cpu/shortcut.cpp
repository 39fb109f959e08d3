#include <torch/library.h>

#include "src/ops/shortcut_formulas.h"

namespace respeft::ops {
namespace {

// ATen's GEMMs; this library chooses their order and shares their intermediate results.
TORCH_LIBRARY_IMPL(respeft, CPU, m) {
  m.impl("shortcut_linear", shortcut::forward);
  m.impl("shortcut_linear_backward", shortcut::backward);
  m.impl("folded_linear", shortcut::folded_forward);
  m.impl("folded_linear_backward", shortcut::folded_backward);
}

}  // namespace
}  // namespace respeft::ops
