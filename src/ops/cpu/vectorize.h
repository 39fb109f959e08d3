#pragma once

/// Marks a function that is compiled for several x86-64 levels, the best of which is chosen when the library is loaded.
/// Sanitizers instrument the choice itself, which then runs before they are ready; such builds keep the plain version.
#if defined(__x86_64__) && !defined(RESPEFT_SANITIZED)
#define RESPEFT_VECTORIZE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RESPEFT_VECTORIZE
#endif

/// Inlined into each of those versions, so that it is compiled for the same level.
#define RESPEFT_INLINE inline __attribute__((always_inline))
