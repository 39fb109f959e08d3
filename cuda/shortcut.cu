#include "cuda/shortcut.cuh"

#include "cuda/launch.cuh"

namespace respeft::cuda {

template <class Element>
cudaError_t launch_thin_product(Direction direction, const ThinProductParams<Element>& params, bool exact, cudaStream_t stream) {
  return with_precision<Element>(exact, [&]<class Precision>() {
    if (direction == Direction::Forward) {
      using Kernel = ThinProduct<Precision, Direction::Forward>;
      return launch(thin_product<Precision, Direction::Forward>, Kernel::shape(params), params, stream);
    }
    using Kernel = ThinProduct<Precision, Direction::Backward>;
    return launch(thin_product<Precision, Direction::Backward>, Kernel::shape(params), params, stream);
  });
}

template <class Element>
cudaError_t launch_updated_product(Direction direction, const UpdatedProductParams<Element>& params, bool exact,
                                   cudaStream_t stream) {
  return with_precision<Element>(exact, [&]<class Precision>() {
    if (direction == Direction::Forward) {
      using Kernel = UpdatedProduct<Precision, Direction::Forward>;
      return launch(updated_product<Precision, Direction::Forward>, Kernel::shape(params), params, stream);
    }
    using Kernel = UpdatedProduct<Precision, Direction::Backward>;
    return launch(updated_product<Precision, Direction::Backward>, Kernel::shape(params), params, stream);
  });
}

template <class Element>
cudaError_t launch_fold_update(const FoldParams<Element>& params, bool exact, cudaStream_t stream) {
  return with_precision<Element>(
      exact, [&]<class Precision>() { return launch(fold_update<Precision>, Fold<Precision>::shape(params), params, stream); });
}

#define RESPEFT_INSTANTIATE(Element)                                                                                         \
  template cudaError_t launch_thin_product<Element>(Direction, const ThinProductParams<Element>&, bool, cudaStream_t);       \
  template cudaError_t launch_updated_product<Element>(Direction, const UpdatedProductParams<Element>&, bool, cudaStream_t); \
  template cudaError_t launch_fold_update<Element>(const FoldParams<Element>&, bool, cudaStream_t);
RESPEFT_INSTANTIATE(float)
RESPEFT_INSTANTIATE(__half)
RESPEFT_INSTANTIATE(__nv_bfloat16)

}  // namespace respeft::cuda
