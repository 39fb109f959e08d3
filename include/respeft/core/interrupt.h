#pragma once

#include <atomic>

#include <respeft/core/error.h>

namespace respeft {

/// Thrown when work stops because it was interrupted.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// Scope guard: the first Ctrl-C (SIGINT) or SIGTERM sets `flag()` instead of ending the program; the second ends it. At most
/// one guard may exist at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static const std::atomic<bool>& flag();
};

}  // namespace respeft
