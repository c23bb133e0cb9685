#include "features.h"

#include <atomic>

#include "motive/check.h"

#if defined(MOTIVE_X86_LEVELS)
#include <cpuid.h>

#include <cstdint>
#endif

// MOTIVE_EMULATED_VNNI: the level avx512 is emulated, with (1) or without (0) VNNI.
namespace motive::cpu {
namespace {

#if defined(MOTIVE_X86_LEVELS)

// Register state that the operating system saves: bits 1-2 SSE and AVX, 5-7 AVX-512.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

bool has(uint32_t word, uint32_t mask) { return (word & mask) == mask; }

Level detect() {
  uint32_t a = 0, b = 0, c1 = 0, d = 0, b7 = 0, c7 = 0;
  if (!__get_cpuid(1, &a, &b, &c1, &d) || !has(c1, bit_OSXSAVE)) return Level::baseline;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return Level::baseline;
  const uint64_t state = saved_state();
  const bool avx2 = has(c1, bit_AVX | bit_FMA | bit_F16C) && has(b7, bit_AVX2) && (state & 0x6) == 0x6;
  if (!avx2) return Level::baseline;
#if defined(MOTIVE_EMULATED_VNNI)
  return Level::avx512;
#endif
  const bool avx512 = has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) && (state & 0xe6) == 0xe6;
  return avx512 && MOTIVE_X86_LEVELS >= 3 ? Level::avx512 : Level::avx2;
}

bool detect_vnni() {
#if defined(MOTIVE_EMULATED_VNNI)
  return MOTIVE_EMULATED_VNNI;
#endif
  uint32_t a = 0, b = 0, c = 0, d = 0;
  return best_level() == Level::avx512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && has(c, bit_AVX512VNNI);
}

#else

Level detect() { return Level::baseline; }

bool detect_vnni() { return false; }

#endif

std::atomic<Level>& current() {
  static std::atomic<Level> value{best_level()};
  return value;
}

}  // namespace

Level best_level() {
  static const Level best = detect();
  return best;
}

Level level() { return current().load(std::memory_order_relaxed); }

void limit_level(Level wanted) {
  if (wanted < Level::baseline || wanted > best_level()) {
    fail("limit_level", "level", std::string("at most ") + level_name(best_level()), level_name(wanted),
         "choose one that this machine supports");
  }
  current().store(wanted, std::memory_order_relaxed);
}

bool has_vnni() {
  static const bool found = detect_vnni();
  return found && level() == Level::avx512;
}

const char* level_name(Level value) {
  switch (value) {
    case Level::baseline: return "baseline";
    case Level::avx2: return "avx2";
    case Level::avx512: return "avx512";
  }
  return "unknown";
}

}  // namespace motive::cpu
