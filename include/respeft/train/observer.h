#pragma once

#include <cstdint>
#include <string>

#include <respeft/train/record.h>

namespace respeft::train {

class Trainer;

/// Callbacks of a training. All do nothing by default.
class Observer {
 public:
  virtual ~Observer() = default;
  /// A line for people.
  virtual void note(const std::string& /*line*/) {}
  /// `done` of `total` examples are done; `what` names the work, e.g. `epoch 3/9` or `test`; `remark` is e.g. `loss 0.31`.
  virtual void progress(const std::string& /*what*/, int64_t /*done*/, int64_t /*total*/, const std::string& /*remark*/) {}
  /// An epoch of `total`, or an evaluation inside one, has ended.
  virtual void epoch(const EpochRecord& /*record*/, int64_t /*total*/) {}
  /// The state is worth keeping: `trainer.checkpoint()` may be saved. Called after each epoch's training and again after its
  /// evaluation, and every `checkpoint_every_steps` steps.
  virtual void checkpoint(const Trainer& /*trainer*/) {}
};

}  // namespace respeft::train
