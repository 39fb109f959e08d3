// Evaluation, the choice among epochs, and checkpoints.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>
#include <stdexcept>

#include <respeft/data/sampler.h>
#include <respeft/train/trainer.h>

#include "src/train/parameters.h"

namespace respeft::train {
namespace {

// Of an epoch that is not at its end, in a checkpoint.
constexpr const char* kSumsKey = "epoch/sums";      // the metrics'
constexpr const char* kMixingKey = "epoch/mixing";  // the state of the generator that mixing draws from

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

/// The words that the standard's text form of a generator has.
at::Tensor to_tensor(const std::mt19937_64& generator) {
  std::stringstream text;
  text << generator;
  std::vector<int64_t> words;
  for (uint64_t word = 0; text >> word;) words.push_back(std::bit_cast<int64_t>(word));
  return at::tensor(words, at::kLong);
}

void from_tensor(const at::Tensor& words, std::mt19937_64& generator) {
  std::stringstream text;
  if (words.scalar_type() == at::kLong && words.dim() == 1) {
    const at::Tensor dense = words.cpu().contiguous();
    for (int64_t i = 0; i < dense.size(0); ++i) text << std::bit_cast<uint64_t>(dense.const_data_ptr<int64_t>()[i]) << ' ';
  }
  std::mt19937_64 read;
  if (!(text >> read)) throw std::runtime_error(fmt::format("the checkpoint's '{}' is no generator's state", kMixingKey));
  generator = read;
}

const at::Tensor& required(const TensorMap& tensors, const char* name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw std::runtime_error(fmt::format("the checkpoint has no '{}'", name));
  return found->second;
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------- evaluation

std::string Trainer::place() const {
  return progress_.epoch_steps > 0 ? fmt::format("after step {}", progress_.steps)
                                   : fmt::format("after epoch {}", progress_.epochs);
}

Evaluation Trainer::evaluate(const data::Source& source, const std::string& name) {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  job_.module->eval();
  const auto metrics = job_.task->metrics(runtime_.device());
  const auto order = data::shard(data::sequential_order(source.size()), ranks_.rank(), ranks_.size());
  const auto batches = source.batches(order, options_.eval_batch_size, 0);
  int64_t done = 0;
  while (auto next = batches->next()) {
    const Batch batch = next->to(runtime_.device(), /*non_blocking=*/true);
    const at::Tensor result = output(batch);
    metrics->add(result, batch, job_.task->loss(result, batch, /*training=*/false));
    done += batch.size();
    observer_.progress({name, std::min(done * ranks_.size(), source.size()), source.size(), job_.task->unit(), ""});
    if (ranks_.size() == 1) check_stop("while evaluating " + place());
  }
  Evaluation evaluation{.split = name, .unit = job_.task->unit(), .examples = source.size(), .metrics = totals(*metrics)};
  for (const auto& [metric, value] : evaluation.metrics.values()) {
    if (std::isfinite(value)) continue;
    throw std::runtime_error(fmt::format("the {} on the {} split is {} {}; a smaller lr, a longer warm-up or clip_grad may help",
                                         metric, name, value, place()));
  }
  evaluation.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

bool Trainer::evaluation_due(const EpochRecord& record) const {
  if (!evaluates()) return false;
  if (record.step > 0) return true;
  return record.epoch == options_.last_epoch() || (options_.eval_every > 0 && record.epoch % options_.eval_every == 0);
}

/// Evaluates what is pending, where that is due, and makes it part of the progress.
EpochRecord Trainer::finish_pending() {
  EpochRecord record = progress_.pending.value();
  if (evaluation_due(record)) {
    ranks_.broadcast(tensors_of(job_.attachment->state()));  // each rank has updated its buffers from its own examples
    const Averaged averaged(ema_);
    const bool by_val = options_.protocol == "val";
    record.evaluation = evaluate(by_val ? *job_.val : *job_.test, by_val ? "val" : "test");
    progress_.eval_seconds += record.evaluation->seconds;
  }
  progress_.pending.reset();
  if (record.step == 0) progress_.last = record;
  keep_if_best(record);
  observer_.epoch(record, options_.last_epoch());
  return record;
}

// --------------------------------------------------------------------------------------------------------------- choice

/// What a checkpoint holds of the job, as evaluations see it.
NamedTensors Trainer::evaluated_state() const {
  if (!ema_) return state_;
  auto state = ema_->values();
  const auto& buffers = job_.attachment->state();
  state.insert(state.end(), buffers.begin(), buffers.end());
  return state;
}

void Trainer::keep_if_best(const EpochRecord& record) {
  if (options_.protocol == "last" || !record.evaluation || !method_finished(progress_.steps)) return;
  const auto score = [&](const EpochRecord& r) { return r.evaluation->metrics.at(job_.task->score_name()); };
  if (progress_.best && score(record) <= score(*progress_.best)) return;
  progress_.best = record;
  for (const auto& [name, tensor] : evaluated_state()) best_[name] = tensor.detach().clone();
}

/// Whether the best record is that of the state there is now.
bool Trainer::best_is_current() const {
  return progress_.best->epoch == progress_.epochs && progress_.best->step == 0 && progress_.epoch_steps == 0;
}

Outcome Trainer::choose() {
  Outcome outcome;
  if (options_.protocol == "last") {
    if (!progress_.last) throw std::logic_error("Trainer::choose: no epoch has been trained");
    if (ema_) load_parameters(trainable(), {ema_->values().begin(), ema_->values().end()}, "");
    outcome.chosen = *progress_.last;
    outcome.selection = options_.last_epoch() < options_.total_epochs() ? "the epoch that stop_epoch names" : "the last epoch";
  } else {
    if (!progress_.best) throw std::logic_error("Trainer::choose: no epoch has been evaluated");
    load_parameters(state_, best_, "");
    outcome.chosen = *progress_.best;
    outcome.selection = options_.protocol == "val" ? "the best epoch on the validation split"
                                                   : "the best epoch on the TEST split (protocol 'paper': an optimistic figure)";
  }
  if (ema_) outcome.selection += fmt::format("; the moving average of its parameters (ema_decay {})", options_.ema_decay);
  job_.module->eval();
  return outcome;
}

void Trainer::test(Outcome& outcome) {
  const auto& known = outcome.chosen.evaluation;
  if (known && known->split == "test") {
    outcome.test = *known;
  } else if (options_.final_test) {
    outcome.test = evaluate(*job_.test, "test");
    progress_.eval_seconds += outcome.test->seconds;
  }
}

Outcome Trainer::finish() {
  Outcome outcome = choose();
  test(outcome);
  return outcome;
}

// ---------------------------------------------------------------------------------------------------------- checkpoints

Checkpoint Trainer::checkpoint() const {
  Checkpoint checkpoint;
  checkpoint.tensors = optimizer_->state();
  for (const auto& [name, tensor] : state_) checkpoint.tensors["trained/" + name] = tensor.detach();
  if (ema_) {
    for (const auto& [name, tensor] : ema_->values()) checkpoint.tensors["ema/" + name] = tensor;
  }
  if (progress_.best && !best_is_current()) {
    for (const auto& [name, tensor] : best_) checkpoint.tensors["best/" + name] = tensor;
  }
  if (progress_.epoch_steps > 0) {
    checkpoint.tensors[kSumsKey] = metrics_->sums();
    checkpoint.tensors[kMixingKey] = to_tensor(mixing_);
  }
  checkpoint.tensors.merge(runtime_.generators());
  checkpoint.progress = progress_;
  return checkpoint;
}

void Trainer::restore(const Checkpoint& checkpoint) {
  load_parameters(state_, checkpoint.tensors, "trained/");
  if (ema_) load_parameters(ema_->values(), checkpoint.tensors, "ema/");
  optimizer_->load_state(checkpoint.tensors);
  pass_.reset();
  upcoming_.reset();
  progress_ = checkpoint.progress;
  best_.clear();
  if (progress_.best) {
    for (const auto& [name, tensor] : evaluated_state()) best_[name] = tensor.detach().clone();
    if (!best_is_current()) load_parameters({best_.begin(), best_.end()}, checkpoint.tensors, "best/");
  }
  if (progress_.epoch_steps > 0) {
    if (progress_.epoch_steps >= steps_an_epoch())
      throw std::runtime_error(
          fmt::format("the checkpoint is at step {} of an epoch of {}", progress_.epoch_steps, steps_an_epoch()));
    metrics_ = job_.task->metrics(runtime_.device());
    load_parameters({{kSumsKey, metrics_->sums()}}, checkpoint.tensors, "");
    if (ranks_.rank() > 0) metrics_->sums().zero_();
    from_tensor(required(checkpoint.tensors, kMixingKey), mixing_);
  }
  runtime_.restore_generators(checkpoint.tensors);
}

}  // namespace respeft::train
