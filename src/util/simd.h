#pragma once

/// On a function whose loops the compiler vectorises: also built for AVX2, chosen when the program starts. Not in sanitizer
/// builds, whose runtime is not up yet when that choice is made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(RESPEFT_SANITIZED)
#define RESPEFT_SIMD_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define RESPEFT_SIMD_CLONES
#endif
