#include <respeft/nn/tokens.h>

#include <respeft/nn/adapter.h>

namespace respeft::nn {

at::Tensor TokensImpl::forward(const at::Tensor& tokens, int64_t own, ForwardPass& pass) {
  return adapter() ? static_cast<TokensAdapter*>(adapter())->forward(tokens, own, pass) : tokens;
}

bool TokensImpl::accepts(const Adapter& adapter) const {
  return dynamic_cast<const TokensAdapter*>(&adapter) != nullptr;
}

}  // namespace respeft::nn
