#include <torch/library.h>

#include "src/ops/shortcut_formulas.h"

namespace respeft::ops {
namespace {

// The formulas give the shapes and dtypes.
TORCH_LIBRARY_IMPL(respeft, Meta, m) {
  m.impl("shortcut_linear", shortcut::forward);
  m.impl("shortcut_linear_backward", shortcut::backward);
  m.impl("folded_linear", shortcut::folded_forward);
  m.impl("folded_linear_backward", shortcut::folded_backward);
}

}  // namespace
}  // namespace respeft::ops
