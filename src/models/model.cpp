#include <respeft/models/model.h>

namespace respeft::models {

at::Tensor ImageModel::forward(const at::Tensor& images) {
  nn::ForwardPass pass;
  return forward(images, pass);
}

}  // namespace respeft::models
