#include <respeft/train/trainer.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <stdexcept>

#include <respeft/data/image/loader.h>

#include "src/data/random.h"
#include "src/core/autocast.h"

namespace respeft::train {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int64_t count_correct(const at::Tensor& logits, const at::Tensor& labels) {
  return logits.argmax(1).eq(labels).sum().item<int64_t>();
}

std::vector<at::Tensor> tensors_of(const std::vector<std::pair<std::string, at::Tensor>>& named) {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : named) tensors.push_back(tensor);
  return tensors;
}

/// Copies `tensors[prefix + name]` into each parameter.
void load_parameters(const std::vector<std::pair<std::string, at::Tensor>>& parameters, const TensorMap& tensors,
                     const std::string& prefix) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    const auto found = tensors.find(prefix + name);
    if (found == tensors.end()) throw std::runtime_error(fmt::format("the checkpoint has no '{}{}'", prefix, name));
    if (found->second.sizes() != parameter.sizes() || found->second.scalar_type() != parameter.scalar_type())
      throw std::runtime_error(fmt::format("the checkpoint's '{}{}' has another shape or type than the model's", prefix, name));
    parameter.detach().copy_(found->second);
  }
}

std::unique_ptr<Optimizer> make_optimizer(const Optimizer::Named& parameters, const TrainConfig& config) {
  const Decay decay = decay_from_name(config.decay);
  if (config.optimizer == "sgd") {
    return std::make_unique<Sgd>(parameters,
                                 SgdOptions{.momentum = config.momentum, .weight_decay = config.weight_decay, .decay = decay});
  }
  return std::make_unique<AdamW>(parameters, AdamWOptions{.weight_decay = config.weight_decay, .decay = decay});
}

/// Sets the draws of mixing apart from those of the images, which come from the same seed.
constexpr uint64_t kMixing = 0x6d6978;

/// Puts the moving average, if there is one, into the parameters while it lives.
class Averaged {
 public:
  explicit Averaged(std::optional<ParameterEma>& ema) : ema_(ema) {
    if (ema_) ema_->exchange();
  }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;
  ~Averaged() {
    if (ema_) ema_->exchange();
  }

 private:
  std::optional<ParameterEma>& ema_;
};

}  // namespace

Trainer::Trainer(Task task, const TrainConfig& config, Observer& observer, const std::atomic<bool>* stop)
    : task_(std::move(task)),
      state_(task_.trained),
      config_(config),
      observer_(observer),
      stop_(stop),
      schedule_{config.lr,           config.warmup_start(),    config.min_lr, config.epochs, config.warmup_epochs,
                config.schedule_lag, config.warmup_prefix},
      optimizer_(make_optimizer(task_.trained, config)) {
  state_.insert(state_.end(), task_.recorded.begin(), task_.recorded.end());
  if (task_.trained.empty()) throw std::invalid_argument("nothing to train: the method adapts nothing and the model has no head");
  if (config.protocol == "honest")
    throw std::invalid_argument("protocol 'honest' is several trainings (respeft/train/experiment.h), not one");
  if (config.protocol == "val" && !task_.val) throw std::invalid_argument("protocol 'val' needs a validation split");
  if (config.final_test && !task_.test) throw std::invalid_argument("final_test needs a test split");
  if (config.protocol != "last" && task_.hook && !task_.hook->settled(config.last_epoch() * steps_an_epoch(), total_steps()))
    throw std::invalid_argument(fmt::format(
        "stop_epoch: with {} of {} epochs the ranks never reach target_rank, and protocol = {} chooses among the epochs "
        "after that; a later stop_epoch, a lower prune_end or protocol = last may be meant",
        config.last_epoch(), config.total_epochs(), config.protocol));
  if (config.mixes()) {
    mixup_.emplace(MixupOptions{.mixup_alpha = config.mixup,
                                .cutmix_alpha = config.cutmix,
                                .prob = config.mixup_prob,
                                .switch_prob = config.mixup_switch_prob});
  }
  if (config.ema_decay > 0.0) {
    if (task_.hook)
      throw std::invalid_argument("ema_decay: not with ranks that are pruned while training: an average keeps what was pruned");
    ema_.emplace(task_.trained, config.ema_decay);
  }
}

at::Tensor Trainer::logits(const at::Tensor& inputs) const {
  const Autocast autocast(config_.precision);
  return task_.forward(inputs).to(at::kFloat);
}

Mix Trainer::draw_mix(const Examples& batch) {
  if (!mixup_ || (config_.mixup_off_epoch > 0 && progress_.epochs >= config_.mixup_off_epoch)) return {};
  const bool images = batch.inputs.dim() == 4;
  if (config_.cutmix > 0.0 && !images) throw std::invalid_argument("cutmix: the inputs are no images [B, C, H, W]");
  return mixup_->draw(images ? batch.inputs.size(2) : 1, images ? batch.inputs.size(3) : 1, mixing_);
}

Trainer::StepResult Trainer::accumulate(Examples& batch, int64_t images) {
  const Mix how = draw_mix(batch);
  mix(batch.inputs, how);
  const at::Tensor output = logits(batch.inputs);
  at::Tensor loss, labels = batch.labels;
  if (mixup_) {
    const at::Tensor targets = mixed_targets(labels, output.size(1), how.lam, config_.label_smoothing);
    loss = at::cross_entropy_loss(output, targets, {}, at::Reduction::Sum);
    labels = targets.argmax(1);
  } else {
    loss = at::cross_entropy_loss(output, labels, {}, at::Reduction::Sum, -100, config_.label_smoothing);
  }
  const StepResult result{loss.item<double>(), count_correct(output, labels), labels.size(0)};
  check_finite(result.loss,
               fmt::format("the loss is {} at epoch {}, step {}", result.loss, progress_.epochs + 1, progress_.steps + 1));
  (loss / static_cast<double>(images)).backward();
  return result;
}

Trainer::StepResult Trainer::step(Pass& pass, int64_t images, double lr) {
  StepResult sum;
  while (sum.images < images) {
    auto batch = pass.next();
    if (!batch) throw std::logic_error("a pass ended before its last example");
    const StepResult part = accumulate(*batch, images);
    sum.loss += part.loss;
    sum.correct += part.correct;
    sum.images += part.images;
  }
  if (task_.hook) task_.hook->penalty().backward();
  if (config_.clip_grad > 0) clip_gradients(tensors_of(task_.trained), config_.clip_grad);
  optimizer_->step(lr);
  if (ema_) ema_->update();
  ++progress_.steps;
  if (task_.hook) task_.hook->after_step(progress_.steps, total_steps());
  optimizer_->zero_grad();
  return sum;
}

std::unique_ptr<Pass> Trainer::begin_pass(int64_t epoch) const {
  const auto seed = static_cast<uint64_t>(config_.seed);
  return task_.train->pass(data::epoch_order(task_.train->size(), seed, epoch), config_.batch_size,
                           data::epoch_seed(seed, epoch));
}

void Trainer::train_epoch(EpochRecord& record) {
  const Stopwatch watch;
  const int64_t epoch = progress_.epochs, total = task_.train->size(), images = config_.batch_size * config_.accumulate;
  const auto pass = upcoming_ ? std::move(upcoming_) : begin_pass(epoch);
  std::unique_ptr<Pass> next;
  mixing_.seed(data::mix(data::epoch_seed(static_cast<uint64_t>(config_.seed), epoch), kMixing));
  task_.module->train();
  optimizer_->zero_grad();
  record.lr = schedule_.at_epoch(epoch);
  StepResult sum;
  while (sum.images < total) {
    check_stop(fmt::format("in epoch {} after {} of {} images", epoch + 1, sum.images, total));
    const int64_t left = total - sum.images;
    if (left <= images && epoch + 1 < config_.total_epochs()) next = begin_pass(epoch + 1);
    const StepResult one = step(*pass, std::min(images, left), record.lr);
    sum.loss += one.loss;
    sum.correct += one.correct;
    sum.images += one.images;
    observer_.progress(epoch_name(), sum.images, total, fmt::format("loss {:.4f}", sum.loss / static_cast<double>(sum.images)));
  }
  check_parameters_finite();
  record.train_loss = sum.loss / static_cast<double>(total);
  record.train_accuracy = static_cast<double>(sum.correct) / static_cast<double>(total);
  record.data_wait_seconds = pass->wait_seconds();
  upcoming_ = std::move(next);
  record.seconds = watch.seconds();
}

Evaluation Trainer::evaluate(const Source& source, const std::string& name) {
  const Stopwatch watch;
  const at::NoGradGuard no_grad;
  task_.module->eval();
  StepResult sum;
  const auto pass = source.pass(data::sequential_order(source.size()), config_.eval_batch_size, 0);
  while (const auto batch = pass->next()) {
    const at::Tensor output = logits(batch->inputs);
    sum.loss += at::cross_entropy_loss(output, batch->labels, {}, at::Reduction::Sum).item<double>();
    sum.correct += count_correct(output, batch->labels);
    sum.images += batch->labels.size(0);
    observer_.progress(name, sum.images, source.size(), "");
    check_stop(fmt::format("while evaluating after epoch {}", progress_.epochs));
  }
  check_finite(sum.loss, fmt::format("the loss on the {} split is {} after epoch {}", name, sum.loss, progress_.epochs));
  const auto images = static_cast<double>(sum.images);
  return {name, sum.images, sum.loss / images, static_cast<double>(sum.correct) / images, watch.seconds()};
}

Evaluation Trainer::evaluate_epoch() {
  const Averaged averaged(ema_);
  const bool by_val = config_.protocol == "val";
  return evaluate(by_val ? *task_.val : *task_.test, by_val ? "val" : "test");
}

/// What a checkpoint holds of the task, as evaluations see it.
std::vector<std::pair<std::string, at::Tensor>> Trainer::evaluated_state() const {
  if (!ema_) return state_;
  auto state = ema_->values();
  state.insert(state.end(), task_.recorded.begin(), task_.recorded.end());
  return state;
}

int64_t Trainer::steps_an_epoch() const {
  const int64_t images = config_.batch_size * config_.accumulate;
  return (task_.train->size() + images - 1) / images;
}

int64_t Trainer::total_steps() const {
  return config_.total_epochs() * steps_an_epoch();
}

bool Trainer::evaluation_due(int64_t epoch) const {
  if (config_.protocol != "val" && !config_.final_test) return false;
  return epoch == config_.last_epoch() || (config_.eval_every > 0 && epoch % config_.eval_every == 0);
}

EpochRecord Trainer::run_epoch() {
  EpochRecord record;
  record.epoch = progress_.epochs + 1;
  train_epoch(record);
  ++progress_.epochs;
  if (evaluation_due(record.epoch)) {
    record.evaluation = evaluate_epoch();
    progress_.eval_seconds += record.evaluation->seconds;
  }
  progress_.train_seconds += record.seconds;
  progress_.data_wait_seconds += record.data_wait_seconds;
  progress_.last = record;
  choose(record);
  observer_.epoch(record, config_.last_epoch());
  return record;
}

void Trainer::choose(const EpochRecord& record) {
  if (config_.protocol == "last" || !record.evaluation) return;
  if (task_.hook && !task_.hook->settled(progress_.steps, total_steps())) return;
  if (progress_.best && record.evaluation->accuracy <= progress_.best->evaluation->accuracy) return;
  progress_.best = record;
  for (const auto& [name, tensor] : evaluated_state()) best_[name] = tensor.detach().clone();
}

Outcome Trainer::finish() {
  if (!progress_.last) throw std::logic_error("Trainer::finish: no epoch has been trained");
  Outcome outcome;
  if (config_.protocol == "last") {
    if (ema_) load_parameters(task_.trained, {ema_->values().begin(), ema_->values().end()}, "");
    outcome.chosen = *progress_.last;
    outcome.selection = config_.last_epoch() < config_.total_epochs() ? "the epoch that stop_epoch names" : "the last epoch";
  } else {
    load_parameters(state_, best_, "");
    outcome.chosen = *progress_.best;
    outcome.selection = config_.protocol == "val" ? "the best epoch on the validation split"
                                                  : "the best epoch on the TEST split (protocol 'paper': an optimiztic figure)";
  }
  if (ema_) outcome.selection += fmt::format("; the moving average of its parameters (ema_decay {})", config_.ema_decay);
  const auto& known = outcome.chosen.evaluation;
  if (known && known->split == "test") {
    outcome.test = *known;
  } else if (config_.final_test) {
    outcome.test = evaluate(*task_.test, "test");
    progress_.eval_seconds += outcome.test->seconds;
  }
  task_.module->eval();
  return outcome;
}

Checkpoint Trainer::checkpoint() const {
  Checkpoint checkpoint;
  checkpoint.tensors = optimizer_->state();
  for (const auto& [name, tensor] : state_) checkpoint.tensors["trained/" + name] = tensor.detach();
  if (ema_) {
    for (const auto& [name, tensor] : ema_->values()) checkpoint.tensors["ema/" + name] = tensor;
  }
  if (progress_.best && progress_.best->epoch != progress_.epochs) {
    for (const auto& [name, tensor] : best_) checkpoint.tensors["best/" + name] = tensor;
  }
  checkpoint.tensors["generator"] = at::detail::getDefaultCPUGenerator().get_state();
  checkpoint.progress = progress_;
  return checkpoint;
}

void Trainer::restore(const Checkpoint& checkpoint) {
  const auto generator_state = checkpoint.tensors.find("generator");
  if (generator_state == checkpoint.tensors.end()) throw std::runtime_error("the checkpoint has no 'generator'");
  load_parameters(state_, checkpoint.tensors, "trained/");
  if (ema_) load_parameters(ema_->values(), checkpoint.tensors, "ema/");
  optimizer_->load_state(checkpoint.tensors);
  upcoming_.reset();
  progress_ = checkpoint.progress;
  best_.clear();
  if (progress_.best) {
    for (const auto& [name, tensor] : evaluated_state()) best_[name] = tensor.detach().clone();
    if (progress_.best->epoch != progress_.epochs) load_parameters({best_.begin(), best_.end()}, checkpoint.tensors, "best/");
  }
  auto generator = at::detail::getDefaultCPUGenerator();
  try {
    generator.set_state(generator_state->second);
  } catch (const c10::Error& error) {
    throw std::runtime_error(
        fmt::format("the checkpoint's 'generator' is no generator's state: {}", error.what_without_backtrace()));
  }
}

void Trainer::check_finite(double loss, const std::string& what) const {
  if (std::isfinite(loss)) return;
  throw std::runtime_error(what + "; a smaller lr, a longer warm-up or clip_grad may help");
}

void Trainer::check_parameters_finite() const {
  for (const auto& [name, tensor] : task_.trained) {
    const double sum = tensor.detach().sum(at::kDouble).item<double>();
    check_finite(sum, fmt::format("'{}' holds values that are not finite at epoch {}, step {}", name, progress_.epochs + 1,
                                  progress_.steps));
  }
}

void Trainer::check_stop(const std::string& where) const {
  if (stop_ != nullptr && stop_->load()) throw Interrupted("stopped " + where);
}

std::string Trainer::epoch_name() const {
  return fmt::format("epoch {}/{}", progress_.epochs + 1, config_.last_epoch());
}

}  // namespace respeft::train
