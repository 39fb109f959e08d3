#pragma once

#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <utility>

#include <respeft/data/source.h>
#include <respeft/methods/method.h>
#include <respeft/tasks/image_classification.h>
#include <respeft/train/trainer.h>

namespace respeft::train::test {

/// How a problem is trained.
struct TrainingOptions : TrainerOptions {
  data::ImageOptions image;
};

inline TrainingOptions make_options() {
  TrainingOptions options;
  options.epochs = 2;
  options.warmup_epochs = 0;
  options.batch_size = 6;
  options.lr = 0.1;
  return options;
}

inline std::shared_ptr<const data::Source> source(const at::Tensor& inputs, const at::Tensor& labels) {
  return data::tensor_source({{kFeatures, inputs}, {kLabels, labels}});
}

/// A network that is a head alone.
struct HeadOnly : torch::nn::Module {
  explicit HeadOnly(std::shared_ptr<torch::nn::LinearImpl> layer) { register_module("head", std::move(layer)); }
};

/// Places nothing: what is trained is the head. `given` is what it attaches.
class AttachesGiven : public Method {
 public:
  explicit AttachesGiven(std::shared_ptr<Attachment> given) : given_(std::move(given)) {}
  std::string name() const override { return "given"; }
  Options options() const override { return {}; }
  std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>&) const override { return given_; }

 private:
  std::shared_ptr<Attachment> given_;
};

/// A linear classifier of 4 classes on random features: what training does, without a model's weight.
struct Problem {
  std::shared_ptr<torch::nn::LinearImpl> layer;
  TrainingJob job;
  at::Tensor inputs, labels;
  std::shared_ptr<Runtime> runtime;

  /// Lets the method's part be `attachment`'s.
  void attach_method(std::shared_ptr<Attachment> attachment) {
    job.attachment = attach(*job.module, AttachesGiven(std::move(attachment)));
  }

  Trainer trainer(const TrainingOptions& options, Observer& observer, Ranks& ranks = Ranks::single(),
                  const std::atomic<bool>* stop = nullptr) {
    runtime = std::make_shared<Runtime>(RuntimeOptions{.precision = options.precision});
    job.task = std::make_shared<tasks::ImageClassification>(options.image, 4);
    return Trainer(job, options, *runtime, ranks, observer, stop);
  }
};

inline Problem make_problem(int64_t examples = 10) {
  at::manual_seed(3);
  Problem problem;
  problem.layer = std::make_shared<torch::nn::LinearImpl>(6, 4);
  problem.inputs = at::randn({examples, 6});
  problem.labels = at::randint(4, {examples}, at::kLong);
  problem.job.module = std::make_shared<HeadOnly>(problem.layer);
  problem.attach_method(std::make_shared<Attachment>());
  problem.job.forward = [layer = problem.layer](const Batch& batch) { return layer->forward(batch.at(kFeatures)); };
  problem.job.train = problem.job.test = source(problem.inputs, problem.labels);
  at::manual_seed(11);
  return problem;
}

}  // namespace respeft::train::test
