#pragma once

#include <atomic>
#include <stdexcept>

namespace respeft {

/// Thrown where work stops because it was asked to.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// While one of these lives, the first Ctrl-C (SIGINT) or SIGTERM sets `flag()` instead of ending the program; the second
/// ends it. At most one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static const std::atomic<bool>& flag();
};

}  // namespace respeft
