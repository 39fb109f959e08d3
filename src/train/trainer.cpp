#include <respeft/train/trainer.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <string>

#include <respeft/data/sampler.h>

#include "src/train/parameters.h"

namespace respeft::train {
namespace {

using Clock = std::chrono::steady_clock;

/// Separates the draws of mixing from those of the images, which have the same seed.
constexpr uint64_t kMixing = 0x6d6978;

/// Between two looks at the metrics for the progress line, which wait for the device.
constexpr std::chrono::milliseconds kBetweenReads{500};

/// Steps between two votes of several ranks on whether to stop.
constexpr int64_t kStepsBetweenVotes = 10;

std::unique_ptr<Optimizer> make_optimizer(const NamedTensors& parameters, const TrainerOptions& options) {
  const Decay decay = decay_from_name(options.decay);
  if (options.optimizer == "sgd") {
    return std::make_unique<Sgd>(parameters,
                                 SgdOptions{.momentum = options.momentum, .weight_decay = options.weight_decay, .decay = decay});
  }
  return std::make_unique<AdamW>(parameters, AdamWOptions{.weight_decay = options.weight_decay, .decay = decay});
}

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

TrainingJob checked(TrainingJob job) {
  require(job.task && job.forward && job.module && job.attachment && job.train,
          "TrainingJob: task, forward, module, attachment and train must be given");
  return job;
}

constexpr const char* kAdvice = "; a smaller lr, a longer warm-up or clip_grad may help";

}  // namespace

Trainer::Trainer(TrainingJob job, const TrainerOptions& options, const Runtime& runtime, Ranks& ranks, Observer& observer,
                 const std::atomic<bool>* stop)
    : job_(checked(std::move(job))),
      state_(trainable()),
      options_(options),
      runtime_(runtime),
      ranks_(ranks),
      observer_(observer),
      stop_(stop),
      optimizer_(make_optimizer(trainable(), options)),
      had_gradient_(trainable().size(), false) {
  const auto& buffers = job_.attachment->state();
  state_.insert(state_.end(), buffers.begin(), buffers.end());
  check_options();
  if (options.ema_decay > 0.0) ema_.emplace(trainable(), options.ema_decay);
  ranks_.broadcast(tensors_of(state_));
}

void Trainer::check_options() const {
  require(!trainable().empty(), "nothing to train: the method adapts nothing and the model has no head");
  require(options_.protocol != "honest", "protocol 'honest' is several trainings (respeft/runs/experiment.h), not one");
  const std::set<std::string> protocols = {"last", "val", "paper"};
  require(protocols.contains(options_.protocol),
          fmt::format("protocol: must be last, val or paper, not '{}'", options_.protocol));
  require(options_.protocol != "paper" || options_.final_test, "protocol 'paper' chooses on test: final_test must be on");
  require(options_.protocol != "val" || job_.val, "protocol 'val' needs a validation split");
  require(!options_.final_test || job_.test, "final_test needs a test split");
  require(options_.protocol == "last" || method_finished(options_.last_epoch() * steps_an_epoch()),
          fmt::format(
              "stop_epoch: with {} of {} epochs the ranks never reach target_rank, and protocol = {} chooses among the epochs "
              "after that; a later stop_epoch, a lower prune_end or protocol = last may be meant",
              options_.last_epoch(), options_.total_epochs(), options_.protocol));
  require(options_.ema_decay == 0.0 || !method_prunes(),
          "ema_decay: not with ranks that are pruned while training: an average keeps what was pruned");
  require(options_.schedule_by == "epoch" || options_.schedule_by == "step",
          fmt::format("schedule_by: must be epoch or step, not '{}'", options_.schedule_by));
  require(options_.warmup_steps < 0 || options_.schedule_by == "step",
          "warmup_steps: only with schedule_by = step; otherwise warmup_epochs says how long the warm-up is");
  require(options_.warmup_steps <= options_.epochs * steps_an_epoch(),
          fmt::format("warmup_steps: must not be above the {} steps of {} epochs, not {}", options_.epochs * steps_an_epoch(),
                      options_.epochs, options_.warmup_steps));
  require(options_.batch_size % ranks_.size() == 0,
          fmt::format("batch_size: must be a multiple of the {} ranks, not {}", ranks_.size(), options_.batch_size));
  require(job_.train->size() >= ranks_.size(),
          fmt::format("{} training {} for {} ranks", job_.train->size(), job_.task->unit(), ranks_.size()));
}

// ------------------------------------------------------------------------------------------------------------- the method

void Trainer::add_regularization() const {
  if (const at::Tensor extra = job_.attachment->regularization(); extra.defined()) extra.backward();
}

void Trainer::tell_method() const {
  job_.attachment->after_step(progress_.steps, total_steps());
}

bool Trainer::method_finished(int64_t step) const {
  return job_.attachment->finished(step, total_steps());
}

bool Trainer::method_prunes() const {
  return job_.attachment->changes_parameters();
}

// ---------------------------------------------------------------------------------------------------------------- a step

at::Tensor Trainer::output(const Batch& batch) const {
  const auto autocast = runtime_.autocast();
  return job_.forward(batch).to(at::kFloat);
}

void Trainer::note_if_not_finite(const at::Tensor& loss) {
  const at::NoGradGuard no_grad;
  const at::Tensor value = loss.detach().to(at::kDouble);
  const at::Tensor first = at::logical_and(not_finite_[0].eq(0), at::isfinite(value).logical_not());
  const at::Tensor step = at::full_like(value, static_cast<double>(progress_.steps + 1));
  not_finite_ = at::where(first, at::stack({step, value}), not_finite_);
}

void Trainer::accumulate(Batch batch, int64_t examples) {
  batch = batch.to(runtime_.device(), /*non_blocking=*/true);
  job_.task->prepare(batch, progress_.epochs, mixing_);
  const at::Tensor result = output(batch);
  const tasks::Loss loss = job_.task->loss(result, batch, /*training=*/true);
  note_if_not_finite(loss.sum);
  metrics_->add(result, batch, loss);
  (loss.sum / static_cast<double>(examples)).backward();
}

/// Once, since it waits for the device: which parameters have a gradient on any rank. In its first step, as after a resume, a
/// rank may have no example and so no gradient of its own.
void Trainer::agree_on_gradients() {
  at::Tensor found =
      at::zeros({static_cast<int64_t>(had_gradient_.size())}, at::TensorOptions(at::kFloat).device(runtime_.device()));
  for (size_t i = 0; i < had_gradient_.size(); ++i) {
    if (had_gradient_[i]) found[static_cast<int64_t>(i)] = 1.0F;
  }
  ranks_.all_reduce_sum(found);
  found = found.cpu();
  for (size_t i = 0; i < had_gradient_.size(); ++i) had_gradient_[i] = found.const_data_ptr<float>()[i] > 0.0F;
  gradients_agreed_ = true;
}

/// Makes each gradient the sum of the ranks'. A rank whose part of a step is empty has none of its own, and gives zeros.
void Trainer::add_up_gradients() {
  if (ranks_.size() == 1) return;
  at::Tensor not_finite = not_finite_.clone();
  std::vector<at::Tensor> tensors = {not_finite};
  for (size_t i = 0; i < trainable().size(); ++i) {
    auto& gradient = trainable()[i].second.mutable_grad();
    had_gradient_[i] = had_gradient_[i] || gradient.defined();
    if (!gradient.defined()) gradient = at::zeros_like(trainable()[i].second.detach());
    tensors.push_back(gradient);
  }
  ranks_.all_reduce_sum(tensors);
  if (!gradients_agreed_) agree_on_gradients();
  for (size_t i = 0; i < trainable().size(); ++i) {
    if (!had_gradient_[i]) trainable()[i].second.mutable_grad() = at::Tensor();
  }
  not_finite_ =
      at::where(at::logical_and(not_finite_[0].eq(0), not_finite[0].gt(0)),
                at::stack({at::full_like(not_finite[0], static_cast<double>(progress_.steps + 1)), not_finite[1]}), not_finite_);
}

double Trainer::rate() const {
  const bool by_step = options_.schedule_by == "step";
  const int64_t unit = by_step ? steps_an_epoch() : 1;
  const int64_t warmup_epochs = options_.warmup_epochs < 0 ? options_.epochs / 10 : options_.warmup_epochs;
  const int64_t warmup = by_step && options_.warmup_steps >= 0 ? options_.warmup_steps : warmup_epochs * unit;
  const CosineSchedule schedule{.lr = options_.lr,
                                .warmup_lr = options_.warmup_start(warmup),
                                .min_lr = options_.min_lr,
                                .duration = options_.epochs * unit,
                                .warmup = warmup,
                                .lag = options_.schedule_lag,
                                .prefix = options_.warmup_prefix};
  return schedule.at(by_step ? progress_.steps : progress_.epochs);
}

void Trainer::train_step(int64_t examples) {
  const int64_t own = data::shard_size(examples, ranks_.rank(), ranks_.size());
  for (int64_t done = 0; done < own;) {
    auto batch = pass_->next();
    if (!batch) throw std::logic_error("a pass ended before its last example");
    done += batch->size();
    accumulate(std::move(*batch), examples);
  }
  add_up_gradients();
  add_regularization();
  if (options_.clip_grad > 0) clip_gradients(tensors_of(trainable()), options_.clip_grad);
  lr_ = rate();
  optimizer_->step(lr_, /*skip=*/not_finite_[0].gt(0).to(at::kFloat));
  if (ema_) ema_->update();
  ++progress_.steps;
  ++progress_.epoch_steps;
  tell_method();
  optimizer_->zero_grad();
}

// -------------------------------------------------------------------------------------------------------------- an epoch

int64_t Trainer::steps_an_epoch() const {
  return (job_.train->size() + step_examples() - 1) / step_examples();
}

/// A pass over this rank's part of the epoch from its example `first` on.
std::unique_ptr<data::BatchIterator> Trainer::begin_pass(int64_t epoch, int64_t first) const {
  const auto seed = static_cast<uint64_t>(options_.seed);
  auto order = data::epoch_order(job_.train->size(), seed, epoch);
  order.erase(order.begin(), order.begin() + first);
  return job_.train->batches(data::shard(order, ranks_.rank(), ranks_.size()), options_.batch_size / ranks_.size(),
                             data::epoch_seed(seed, epoch));
}

void Trainer::begin_epoch() {
  clock_ = last_read_ = Clock::now();
  job_.module->train();
  if (pass_) return;  // an epoch that was interrupted goes on
  if (progress_.epoch_steps == 0) {
    metrics_ = job_.task->metrics(runtime_.device());
    mixing_.seed(data::epoch_seed(static_cast<uint64_t>(options_.seed), progress_.epochs, kMixing));
  }
  not_finite_ = at::zeros({2}, at::TensorOptions(at::kDouble).device(runtime_.device()));
  wait_before_ = progress_.epoch_wait_seconds;
  pass_ = upcoming_ && progress_.epoch_steps == 0 ? std::move(upcoming_)
                                                  : begin_pass(progress_.epochs, progress_.epoch_steps * step_examples());
  optimizer_->zero_grad();
}

void Trainer::train_epoch() {
  begin_epoch();
  const int64_t total = job_.train->size();
  int64_t done = progress_.epoch_steps * step_examples();
  while (done < total) {
    check_stop(fmt::format("in epoch {} after {} of {} {}", progress_.epochs + 1, done, total, job_.task->unit()));
    const int64_t examples = std::min(step_examples(), total - done);
    const bool last = done + examples == total;
    if (last && progress_.epochs + 1 < options_.last_epoch()) upcoming_ = begin_pass(progress_.epochs + 1, 0);
    train_step(examples);
    done += examples;
    if (last) continue;
    show_progress(done);
    work_between_steps();
  }
  end_epoch();
}

void Trainer::stop_clock() {
  const auto now = Clock::now();
  progress_.epoch_seconds += std::chrono::duration<double>(now - clock_).count();
  progress_.epoch_wait_seconds = wait_before_ + pass_->wait_seconds();
  clock_ = now;
}

tasks::NamedValues Trainer::totals(tasks::Metrics& metrics) const {
  if (ranks_.size() == 1) return metrics.read();
  const auto all = job_.task->metrics(runtime_.device());
  all->sums().copy_(metrics.sums());
  ranks_.all_reduce_sum(all->sums());
  return all->read();
}

EpochRecord Trainer::record_so_far(int64_t step) const {
  EpochRecord record;
  record.epoch = progress_.epochs + 1;
  record.step = step;
  record.lr = lr_;
  record.train = totals(*metrics_);
  record.seconds = progress_.epoch_seconds;
  record.data_wait_seconds = progress_.epoch_wait_seconds;
  return record;
}

/// The metrics, and with them the losses, are read only now and then: that waits for the device.
void Trainer::show_progress(int64_t done) {
  const int64_t total = job_.train->size();
  const auto now = Clock::now();
  if (done == total || now - last_read_ >= kBetweenReads) {
    last_read_ = now;
    if (ranks_.size() == 1) check_losses_finite();  // several ranks find it at the same step: at the epoch's end
    const auto values = metrics_->read();
    remark_ = values.empty() ? "" : fmt::format("{} {:.4f}", values.front().first, values.front().second);
  }
  observer_.progress({.what = fmt::format("epoch {}/{}", progress_.epochs + 1, options_.last_epoch()),
                      .done = done,
                      .total = total,
                      .unit = job_.task->unit(),
                      .remark = remark_});
}

/// Evaluations and checkpoints inside an epoch. The checkpoint comes first, so that an evaluation that is interrupted costs
/// nothing.
void Trainer::work_between_steps() {
  const auto due = [&](int64_t every) { return every > 0 && progress_.steps % every == 0; };
  const bool evaluate = evaluates() && due(options_.eval_every_steps), keep = due(options_.checkpoint_every_steps);
  if (!evaluate && !keep) return;
  check_finite();
  stop_clock();
  if (evaluate) progress_.pending = record_so_far(progress_.steps);
  if (keep) {
    // A checkpoint is rank 0's: it takes over the sums of all.
    ranks_.all_reduce_sum(metrics_->sums());
    if (ranks_.rank() > 0) metrics_->sums().zero_();
    observer_.checkpoint(*this);
  }
  if (evaluate) finish_pending();
  job_.module->train();
  clock_ = Clock::now();
}

void Trainer::end_epoch() {
  check_finite();
  show_progress(job_.train->size());
  stop_clock();
  const EpochRecord record = record_so_far(0);
  pass_.reset();
  remark_.clear();
  ++progress_.epochs;
  progress_.epoch_steps = 0;
  progress_.epoch_seconds = progress_.epoch_wait_seconds = 0.0;
  progress_.train_seconds += record.seconds;
  progress_.data_wait_seconds += record.data_wait_seconds;
  progress_.pending = record;
  if (evaluation_due(record)) observer_.checkpoint(*this);
}

EpochRecord Trainer::run_epoch() {
  if (progress_.pending && progress_.pending->step > 0) finish_pending();
  if (!progress_.pending) train_epoch();
  const EpochRecord record = finish_pending();
  observer_.checkpoint(*this);
  return record;
}

// --------------------------------------------------------------------------------------------------------------- checks

void Trainer::check_losses_finite() const {
  const at::Tensor read = not_finite_.cpu();
  const auto* first = read.const_data_ptr<double>();
  if (first[0] > 0)
    throw std::runtime_error(fmt::format("the loss is {} at epoch {}, step {}{}", first[1], progress_.epochs + 1,
                                         static_cast<int64_t>(first[0]), kAdvice));
}

void Trainer::check_finite() const {
  check_losses_finite();
  std::vector<at::Tensor> sums;
  for (const auto& [name, tensor] : trainable()) sums.push_back(tensor.detach().sum(at::kDouble));
  const at::Tensor all = at::stack(sums).cpu();
  for (size_t i = 0; i < sums.size(); ++i) {
    if (std::isfinite(all.const_data_ptr<double>()[i])) continue;
    throw std::runtime_error(fmt::format("'{}' holds values that are not finite at epoch {}, step {}{}", trainable()[i].first,
                                         progress_.epochs + 1, progress_.steps, kAdvice));
  }
}

void Trainer::check_stop(const std::string& where) const {
  if (stop_ == nullptr || (ranks_.size() > 1 && progress_.steps % kStepsBetweenVotes != 0)) return;
  if (ranks_.any(stop_->load(), runtime_.device())) throw Interrupted("stopped " + where);
}

}  // namespace respeft::train
