#pragma once

#include <cstdint>
#include <string>

#include <respeft/train/record.h>

namespace respeft::train {

class Trainer;

/// How far a piece of work is.
struct WorkProgress {
  std::string what;  ///< e.g. `epoch 3/9` or `test`
  int64_t done = 0, total = 0;
  std::string unit;    ///< what is counted, e.g. `images`
  std::string remark;  ///< e.g. `loss 0.31`
};

/// Callbacks of a training. All do nothing by default.
class Observer {
 public:
  virtual ~Observer() = default;
  /// A line for people.
  virtual void note(const std::string& /*line*/) {}
  virtual void progress(const WorkProgress& /*work*/) {}
  /// An epoch of `total`, or an evaluation inside one, has ended.
  virtual void epoch(const EpochRecord& /*record*/, int64_t /*total*/) {}
  /// The state is worth keeping: `trainer.checkpoint()` may be saved. Called after each epoch's training and again after its
  /// evaluation, and every `checkpoint_every_steps` steps.
  virtual void checkpoint(const Trainer& /*trainer*/) {}
};

}  // namespace respeft::train
