// The SIMD level that CPU kernels run at.
#pragma once

namespace motive::cpu {

enum class Level : int { baseline = 0, avx2 = 1, avx512 = 2 };

// The best level that this build holds and that the processor and the operating system support.
Level best_level();

// The level in use: best_level() unless limit_level lowered it.
Level level();

// Lowers the level in use for the whole process, so that tests and benchmarks reach every path on one machine.
// Throws std::invalid_argument above best_level().
void limit_level(Level wanted);

// Whether products of 16-bit pairs may be added in one instruction (AVX-512 VNNI) at the level in use.
bool has_vnni();

const char* level_name(Level value);

}  // namespace motive::cpu
