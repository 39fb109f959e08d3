#include <respeft/tasks/features.h>

#include <string>

namespace respeft::tasks {

void precompute_features(Assignment& assignment, models::Model& model, const Runtime& runtime, int64_t batch_size,
                         const std::function<void(const std::string&, int64_t, int64_t)>& progress) {
  model.eval();
  const auto compute = [&](const Batch& batch) {
    const auto autocast = runtime.autocast();
    nn::ForwardPass pass;
    return model.features(batch.to(runtime.device()), pass);
  };
  const auto replace = [&](std::shared_ptr<const data::Source>& source, const std::string& split) {
    if (!source) return;
    const int64_t total = source->size();
    source =
        data::precompute(*source, kPixels, kFeatures, compute, batch_size, [&](int64_t done) { progress(split, done, total); });
  };
  replace(assignment.train, "train");
  replace(assignment.val, "val");
  replace(assignment.test, "test");
}

}  // namespace respeft::tasks
