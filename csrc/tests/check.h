// The few lines of a test framework that these tests need: a failed check prints what it saw and the program fails.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/features.h"
#include "motive/philox.h"

namespace motive::test {

inline int failures = 0;

inline void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

template <class T>
void check_equal(T got, T wanted, const std::string& what) {
  check(got == wanted, what + ": got " + std::to_string(got) + ", wanted " + std::to_string(wanted));
}

// |got - wanted| <= tolerance in the Euclidean norm.
inline void check_close(const std::vector<float>& got, const std::vector<double>& wanted, double tolerance,
                        const std::string& what) {
  double difference = 0.;
  for (size_t j = 0; j < wanted.size(); ++j) difference += std::pow(double(got[j]) - wanted[j], 2);
  difference = std::sqrt(difference);
  check(difference <= tolerance,
        what + ": off by " + std::to_string(difference) + ", allowed " + std::to_string(tolerance));
}

template <class Call>
void check_rejects(Call&& call, const std::string& message_part, const std::string& what) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    check(std::string(error.what()).find(message_part) != std::string::npos, what + ": said " + error.what());
    return;
  }
  check(false, what + ": was accepted");
}

// Numbers in -0.5 .. 0.5, a function of the stream.
inline std::vector<float> numbers(int64_t count, uint32_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; ++j) {
    values[size_t(j)] = float(philox_at({{7, stream}}, uint64_t(j), 0, 0).words[0]) / 4294967296.f - 0.5f;
  }
  return values;
}

// Runs body once at each SIMD level that this machine has.
template <class Body>
void at_each_level(Body&& body) {
  const cpu::Level best = cpu::best_level();
  for (int value = 0; value <= int(best); ++value) {
    cpu::limit_level(cpu::Level(value));
    body(std::string(cpu::level_name(cpu::Level(value))));
  }
}

inline int report(const char* name) {
  std::printf("%s: %s\n", name, failures ? "failed" : "passed");
  return failures ? 1 : 0;
}

}  // namespace motive::test
