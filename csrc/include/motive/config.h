// Macros shared by every header of this library.
//
// Header functions that kernels call are static: each SIMD level and each device keeps its own copy, compiled with its
// own instructions (csrc/cpu/level.h).
#pragma once

#if defined(__CUDACC__)
#define MOTIVE_HOST_DEVICE __host__ __device__
#else
#define MOTIVE_HOST_DEVICE
#endif
