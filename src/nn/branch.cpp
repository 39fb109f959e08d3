#include <respeft/nn/branch.h>

#include <respeft/nn/adapter.h>

namespace respeft::nn {

at::Tensor BranchImpl::forward(const at::Tensor& input, const at::Tensor& output, ForwardPass& pass) {
  return adapter() ? static_cast<BranchAdapter*>(adapter())->forward(input, output, pass) : output;
}

bool BranchImpl::accepts(const Adapter& adapter) const {
  return dynamic_cast<const BranchAdapter*>(&adapter) != nullptr;
}

}  // namespace respeft::nn
