#pragma once

#include <cstdint>
#include <string>

#include <respeft/train/record.h>

namespace respeft::train {

class Trainer;

/// Progress of a piece of work.
struct WorkProgress {
  std::string what;  ///< e.g. `epoch 3/9` or `test`
  int64_t done = 0, total = 0;
  std::string unit;    ///< of `done` and `total`, e.g. `images`
  std::string remark;  ///< e.g. `loss 0.31`
};

/// Training callbacks. All do nothing by default.
class Observer {
 public:
  virtual ~Observer() = default;
  /// A message for the user, one line.
  virtual void note(const std::string& /*line*/) {}
  virtual void progress(const WorkProgress& /*work*/) {}
  /// An epoch of `total`, or an evaluation inside one, has ended.
  virtual void epoch(const EpochRecord& /*record*/, int64_t /*total*/) {}
  /// Time to save `trainer.checkpoint()`. Called after each epoch's training, again after its evaluation, and every
  /// `checkpoint_every_steps` steps.
  virtual void checkpoint(const Trainer& /*trainer*/) {}
};

}  // namespace respeft::train
