// One body per algorithm, compiled once per SIMD level.
//
// Every csrc/cpu/<op>.cpp is compiled with MOTIVE_LEVEL set to baseline and, on x86-64, also to avx2 and avx512; its
// code lives in namespace motive::cpu::MOTIVE_LEVEL. MOTIVE_DISPATCH at the end of the file gives the public function,
// which checks its arguments (check() in the op's public header) and picks a level at run time.
//
// Such a file may use nothing that becomes a weak symbol outside its level's namespace (no std::vector, std::function,
// std::string): the linker keeps one copy of a weak symbol for all levels, and that copy may hold instructions this
// machine lacks. tests/kernels/test_build.py checks the symbols. Use Scratch (scratch.h) for memory.
#pragma once

#include "common/features.h"

#if !defined(MOTIVE_LEVEL)
#define MOTIVE_LEVEL baseline
#define MOTIVE_IS_BASELINE 1
#endif

// MOTIVE_X86_LEVELS: how many of the levels the build holds.
#if !defined(MOTIVE_X86_LEVELS)
#define MOTIVE_AVX2(function, Args)
#define MOTIVE_AVX512(function, Args)
#elif MOTIVE_X86_LEVELS < 3
#define MOTIVE_AVX2(function, Args) \
  if (level() == Level::avx2) return avx2::function(args);
#define MOTIVE_AVX512(function, Args)
#else
#define MOTIVE_AVX2(function, Args) \
  if (level() == Level::avx2) return avx2::function(args);
#define MOTIVE_AVX512(function, Args) \
  if (level() == Level::avx512) return avx512::function(args);
#endif

#if MOTIVE_IS_BASELINE
#define MOTIVE_DISPATCH(function, Args) \
  namespace motive::cpu {               \
  namespace avx2 {                      \
  void function(const Args&);           \
  }                                     \
  namespace avx512 {                    \
  void function(const Args&);           \
  }                                     \
  void function(const Args& args) {     \
    check(args);                        \
    MOTIVE_AVX512(function, Args)       \
    MOTIVE_AVX2(function, Args)         \
    baseline::function(args);           \
  }                                     \
  }
#else
#define MOTIVE_DISPATCH(function, Args)
#endif
