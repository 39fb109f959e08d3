#include "cuda/rescaled_linear.cuh"

#include "cuda/launch.cuh"

namespace respeft::cuda {

template <class Element>
cudaError_t launch_rescaled_product(Direction direction, const RescaledProductParams<Element>& params, bool exact,
                                    cudaStream_t stream) {
  return with_precision<Element>(exact, [&]<class Precision>() {
    if (direction == Direction::Forward) {
      using Kernel = RescaledProduct<Precision, Direction::Forward>;
      return launch(rescaled_product<Precision, Direction::Forward>, Kernel::shape(params), params, stream);
    }
    using Kernel = RescaledProduct<Precision, Direction::Backward>;
    return launch(rescaled_product<Precision, Direction::Backward>, Kernel::shape(params), params, stream);
  });
}

template <class Element>
cudaError_t launch_rescale_weight(const RescaleParams<Element>& params, cudaStream_t stream) {
  using Precision = typename PrecisionOf<Element, true>::type;
  return launch(rescale_weight<Precision>, RescaleWeight::shape<Precision>(params), params, stream);
}

template <class Element>
cudaError_t launch_scale_gradients(const ScaleGradientsParams<Element>& params, bool exact, cudaStream_t stream) {
  return with_precision<Element>(exact, [&]<class Precision>() {
    return launch(scale_gradients<Precision>, ScaleGradients<Precision>::shape(params), params, stream);
  });
}

template <class Element>
cudaError_t launch_sum_parts(const SumPartsParams<Element>& params, cudaStream_t stream) {
  using Precision = typename PrecisionOf<Element, true>::type;
  return launch(sum_parts<Precision>, SumParts::shape(params), params, stream);
}

#define RESPEFT_INSTANTIATE(Element)                                                                                           \
  template cudaError_t launch_rescaled_product<Element>(Direction, const RescaledProductParams<Element>&, bool, cudaStream_t); \
  template cudaError_t launch_rescale_weight<Element>(const RescaleParams<Element>&, cudaStream_t);                            \
  template cudaError_t launch_scale_gradients<Element>(const ScaleGradientsParams<Element>&, bool, cudaStream_t);              \
  template cudaError_t launch_sum_parts<Element>(const SumPartsParams<Element>&, cudaStream_t);
RESPEFT_INSTANTIATE(float)
RESPEFT_INSTANTIATE(__half)
RESPEFT_INSTANTIATE(__nv_bfloat16)

}  // namespace respeft::cuda
