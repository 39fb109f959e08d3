#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <respeft/methods/method.h>
#include <respeft/train/checkpoint.h>
#include <respeft/runs/config.h>
#include <respeft/train/ema.h>
#include <respeft/core/interrupt.h>
#include <respeft/data/image/mixup.h>
#include <respeft/train/optimizer.h>
#include <respeft/train/record.h>
#include <respeft/train/schedule.h>
#include <respeft/data/source.h>

namespace respeft::train {

/// Told what training does, as it does it. Every function may be left as it is.
class Observer {
 public:
  virtual ~Observer() = default;
  /// Something worth knowing.
  virtual void note(const std::string& /*line*/) {}
  /// `done` of `total` images are through; `what` names the work, e.g. `epoch 3/9` or `test`; `remark` e.g. `loss 0.31`.
  virtual void progress(const std::string& /*what*/, int64_t /*done*/, int64_t /*total*/, const std::string& /*remark*/) {}
  /// An epoch of `total` has ended.
  virtual void epoch(const EpochRecord& /*record*/, int64_t /*total*/) {}
};

/// What is trained, and on what.
struct Task {
  std::function<at::Tensor(const at::Tensor&)> forward;     ///< inputs -> logits `[B, classes]`
  std::shared_ptr<torch::nn::Module> module;                ///< switched between training and evaluation
  std::vector<std::pair<std::string, at::Tensor>> trained;  ///< leaves that require gradients, by name
  /// What forward passes and the hook write while training, by name.
  std::vector<std::pair<std::string, at::Tensor>> recorded;
  std::shared_ptr<Attachment> hook;  ///< the method, where it changes parameters itself; else null
  std::shared_ptr<const Source> train;
  std::shared_ptr<const Source> test;  ///< null without `final_test`
  std::shared_ptr<const Source> val;   ///< only with the protocol `val`
};

/// Trains a task epoch by epoch. Everything that decides the next epoch is in `checkpoint()`, so that a trainer restored
/// from it goes on bit for bit as this one would (LibTorch's default CPU generator is part of it). With `ema_decay`, what is
/// evaluated, chosen and left in the model at the end is the moving average of the trained parameters.
class Trainer {
 public:
  /// Work stops with `Interrupted` soon after `stop` becomes true. Throws `std::invalid_argument` on a task and a configuration
  /// that do not fit.
  Trainer(Task task, const TrainConfig& config, Observer& observer, const std::atomic<bool>* stop = nullptr);

  /// Whether every epoch has been trained.
  bool done() const { return progress_.epochs >= config_.last_epoch(); }
  /// Trains the next epoch and evaluates, if the protocol wants it. Throws `std::runtime_error` saying at which epoch and
  /// step when the loss is not finite.
  EpochRecord run_epoch();
  /// Loss and accuracy on all of `source`, with the parameters that are in the model; `name` is for progress.
  Evaluation evaluate(const Source& source, const std::string& name);
  /// Puts the protocol's choice of parameters into the model, and returns how it does on the test split (with `final_test`).
  Outcome finish();

  Checkpoint checkpoint() const;
  /// Throws `std::runtime_error` naming what does not fit.
  void restore(const Checkpoint& checkpoint);
  const RunProgress& progress() const { return progress_; }

 private:
  struct StepResult {
    double loss = 0.0;  ///< sum over the images
    int64_t correct = 0, images = 0;
  };
  void train_epoch(EpochRecord& record);
  std::unique_ptr<Pass> begin_pass(int64_t epoch) const;
  StepResult step(Pass& pass, int64_t images, double lr);
  StepResult accumulate(Examples& batch, int64_t images);
  Mix draw_mix(const Examples& batch);
  Evaluation evaluate_epoch();
  std::vector<std::pair<std::string, at::Tensor>> evaluated_state() const;
  at::Tensor logits(const at::Tensor& inputs) const;
  int64_t steps_an_epoch() const;
  int64_t total_steps() const;
  bool evaluation_due(int64_t epoch) const;
  void choose(const EpochRecord& record);
  void check_finite(double loss, const std::string& what) const;
  void check_parameters_finite() const;
  void check_stop(const std::string& where) const;
  std::string epoch_name() const;

  Task task_;
  std::vector<std::pair<std::string, at::Tensor>> state_;  ///< what a checkpoint holds of the task: trained and recorded
  TrainConfig config_;
  Observer& observer_;
  const std::atomic<bool>* stop_;
  CosineSchedule schedule_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Mixup> mixup_;
  std::mt19937_64 mixing_;           ///< drawn from by `mixup_`; begun anew each epoch
  std::optional<ParameterEma> ema_;  ///< of what is trained
  RunProgress progress_;
  TensorMap best_;              ///< what was evaluated in the best epoch
  std::unique_ptr<Pass> upcoming_;  ///< over the next epoch's images, begun early so that its first batch is there in time
};

}  // namespace respeft::train
