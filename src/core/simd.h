#pragma once

/// On a function whose loops the compiler vectorizes: compiled for several x86-64 levels, the best of which is chosen when the
/// library is loaded. Not in sanitizer builds, whose runtime is not up yet when that choice is made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(RESPEFT_SANITIZED)
#define RESPEFT_SIMD_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RESPEFT_SIMD_CLONES
#endif

/// On what such functions call: inlined into each version, so that it is compiled for the same level.
#define RESPEFT_SIMD_INLINE inline __attribute__((always_inline))
