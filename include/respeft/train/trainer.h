#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <respeft/core/batch.h>
#include <respeft/core/interrupt.h>
#include <respeft/core/ranks.h>
#include <respeft/core/runtime.h>
#include <respeft/data/source.h>
#include <respeft/methods/attachment.h>
#include <respeft/tasks/task.h>
#include <respeft/train/checkpoint.h>
#include <respeft/train/ema.h>
#include <respeft/train/observer.h>
#include <respeft/train/optimizer.h>
#include <respeft/train/options.h>
#include <respeft/train/record.h>
#include <respeft/train/schedule.h>

namespace respeft::train {

/// Everything that a `Trainer` works on: model, attachment, task and data.
struct TrainingJob {
  std::shared_ptr<const tasks::Task> task;
  std::function<at::Tensor(const Batch&)> forward;  ///< the model's output for a batch on the runtime's device
  std::shared_ptr<torch::nn::Module> module;        ///< switched between training and evaluation
  std::shared_ptr<Attachment> attachment;           ///< the trainable parameters and the method's state
  std::shared_ptr<const data::Source> train;
  std::shared_ptr<const data::Source> test;  ///< null without `final_test`
  std::shared_ptr<const data::Source> val;   ///< only with the protocol `val`
};

/// Trains a model for a task, epoch by epoch. `checkpoint()` contains everything that determines the next step: a trainer
/// restored from it continues bit-identically (with several ranks, except for random numbers: only the generators of rank 0 are
/// saved). With `ema_decay`, the moving average of the trainable parameters is evaluated, chosen and left in the model at the
/// end.
///
/// Several ranks train one model together: the examples of a step are divided among them, gradients and metrics are summed, and
/// the result equals that of a single rank up to rounding. All ranks must call the same functions; `batch_size` must be a
/// multiple of their number.
///
/// The loop synchronizes with the device only once per epoch, for an evaluation or a checkpoint, and about twice a second for the
/// progress line.
class Trainer {
 public:
  /// Training stops with `Interrupted` soon after `stop` becomes true. Throws `std::invalid_argument` if the job and the options
  /// do not fit together. `runtime`, `ranks` and `observer` must outlive the trainer.
  Trainer(TrainingJob job, const TrainerOptions& options, const Runtime& runtime, Ranks& ranks, Observer& observer,
          const std::atomic<bool>* stop = nullptr);

  /// True if every epoch has been trained and evaluated.
  bool done() const { return progress_.epochs >= options_.last_epoch() && !progress_.pending; }
  /// Trains the next epoch, or the rest of an interrupted one, and evaluates if that is due. Throws `std::runtime_error` with
  /// epoch, step and value if a loss is not finite; the parameters are then those before the step with that loss.
  EpochRecord run_epoch();
  /// The metrics on all of `source`, with the current parameters of the model; `name` is the name of the split.
  Evaluation evaluate(const data::Source& source, const std::string& name);

  /// Loads the parameters that the protocol chooses into the model.
  Outcome choose();
  /// With `final_test`: evaluates on the test split and adds the result to `outcome`.
  void test(Outcome& outcome);
  /// `choose`, then `test`.
  Outcome finish();

  Checkpoint checkpoint() const;
  /// Continues from a checkpoint. Throws `std::runtime_error` that names the mismatch if it does not fit this trainer.
  void restore(const Checkpoint& checkpoint);
  const RunProgress& progress() const { return progress_; }

 private:
  void check_options() const;
  const NamedTensors& trainable() const { return job_.attachment->trainable(); }
  int64_t steps_an_epoch() const;
  int64_t total_steps() const { return options_.total_epochs() * steps_an_epoch(); }
  int64_t step_examples() const { return options_.batch_size * options_.accumulate; }
  double rate() const;

  std::unique_ptr<data::BatchIterator> begin_pass(int64_t epoch, int64_t first) const;
  void begin_epoch();
  void train_epoch();
  void train_step(int64_t examples);
  void accumulate(Batch batch, int64_t examples);
  void agree_on_gradients();
  void add_up_gradients();
  void work_between_steps();
  void end_epoch();
  void show_progress(int64_t done);
  void stop_clock();
  EpochRecord record_so_far(int64_t step) const;
  tasks::NamedValues totals(tasks::Metrics& metrics) const;

  at::Tensor output(const Batch& batch) const;
  bool evaluates() const { return options_.protocol == "val" || options_.final_test; }
  bool evaluation_due(const EpochRecord& record) const;
  EpochRecord finish_pending();
  NamedTensors evaluated_state() const;
  bool best_is_current() const;
  void keep_if_best(const EpochRecord& record);

  void note_if_not_finite(const at::Tensor& loss);
  void check_losses_finite() const;
  void check_finite() const;  ///< losses and parameters
  void check_stop(const std::string& where) const;
  std::string place() const;

  // The method's training hooks.
  void add_regularization() const;
  void tell_method() const;
  bool method_finished(int64_t step) const;
  bool method_prunes() const;

  TrainingJob job_;
  NamedTensors state_;  ///< the tensors of a checkpoint: the attachment's trainable parameters and state
  TrainerOptions options_;
  const Runtime& runtime_;
  Ranks& ranks_;
  Observer& observer_;
  const std::atomic<bool>* stop_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<ParameterEma> ema_;  ///< of the trainable parameters
  RunProgress progress_;
  TensorMap best_;  ///< the parameters evaluated at the best record

  // State of the current epoch.
  std::unique_ptr<data::BatchIterator> pass_;      ///< null between epochs
  std::unique_ptr<data::BatchIterator> upcoming_;  ///< the next epoch's, started early so that the first batch is ready in time
  std::unique_ptr<tasks::Metrics> metrics_;
  std::mt19937_64 mixing_;          ///< used by the task's `prepare`; reseeded each epoch
  at::Tensor not_finite_;           ///< float64 `[2]`: the step of the first loss that is not finite (0: none), and that loss
  std::vector<bool> had_gradient_;  ///< for each trainable parameter, on any rank
  bool gradients_agreed_ = false;
  std::chrono::steady_clock::time_point clock_, last_read_;
  double wait_before_ = 0.0;  ///< seconds spent waiting for data in this epoch before it was resumed
  double lr_ = 0.0;           ///< of the last step
  std::string remark_;        ///< of the progress line
};

}  // namespace respeft::train
