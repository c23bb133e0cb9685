#include "driver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace motive::driver {
namespace {

std::vector<const Op*>& ops() {
  static std::vector<const Op*> all;
  return all;
}

std::string running = "start";
uint64_t digest = 0;
int cases = 0, failures = 0;
bool stop_at_first = false;

// Bits of a number that float16 or bfloat16 holds.
uint16_t short_bits(DType dtype, double value) {
  const float exact = float(value);
  uint32_t bits;
  memcpy(&bits, &exact, sizeof bits);
  if (dtype == DType::bfloat16) return uint16_t(bits >> 16);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (std::isnan(exact)) return uint16_t(sign | 0x7e00u);
  if (std::isinf(exact)) return uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return uint16_t(sign | uint32_t(std::ldexp(std::abs(value), 24)));
  return uint16_t(sign | (magnitude - (112u << 23)) >> 13);
}

}  // namespace

Op::Op(const char* name_, void (*run_)()) : name(name_), run(run_) { ops().push_back(this); }

void begin_case(const std::string& name) {
  running = name;
  ++cases;
}

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s: %s\n", running.c_str(), what.c_str());
  if (stop_at_first) std::_Exit(1);
}

double distance(const std::vector<float>& found, const std::vector<double>& wanted, double size) {
  double norm = 0., difference = 0.;
  for (size_t j = 0; j < wanted.size(); ++j) {
    norm += wanted[j] * wanted[j];
    difference += std::pow(double(found[j]) - wanted[j], 2);
  }
  return std::sqrt(difference) / std::max(size, std::sqrt(norm));
}

void check_close(const std::vector<float>& found, const std::vector<double>& wanted, double tolerance,
                 const std::string& what, double size) {
  if (found.size() != wanted.size()) return check(false, what + ": the lengths differ");
  const double off = distance(found, wanted, size);
  check(off <= tolerance, what + ": off by " + std::to_string(off) + ", allowed " + std::to_string(tolerance));
}

void add_to_digest(const void* data, size_t bytes) {  // FNV-1a
  const unsigned char* const from = static_cast<const unsigned char*>(data);
  for (size_t j = 0; j < bytes; ++j) digest = (digest ^ from[j]) * 1099511628211u;
}

std::vector<float> numbers(int64_t count, uint32_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; j += 4) {
    const PhiloxBlock block = philox_at({{7, stream}}, uint64_t(j / 4), 0, 0);
    for (int64_t w = 0; w < std::min<int64_t>(4, count - j); ++w) {
      values[size_t(j + w)] = float(block.words[w]) / 4294967296.f - 0.5f;
    }
  }
  return values;
}

Typed typed(DType dtype, const std::vector<float>& numbers) {
  Typed result{dtype, std::vector<unsigned char>(numbers.size() * size_t(size_of(dtype))), {}};
  for (size_t j = 0; j < numbers.size(); ++j) {
    uint32_t bits;
    memcpy(&bits, &numbers[j], sizeof bits);
    if (dtype != DType::float32) bits = short_bits(dtype, rounded_to(dtype, numbers[j]));
    memcpy(result.bytes.data() + j * size_t(size_of(dtype)), &bits, size_t(size_of(dtype)));
  }
  result.values = values_of(dtype, result.bytes);
  return result;
}

std::vector<float> values_of(DType dtype, const std::vector<unsigned char>& bytes) {
  std::vector<float> values(bytes.size() / size_t(size_of(dtype)));
  for (size_t j = 0; j < values.size(); ++j) {
    uint32_t bits = 0;
    memcpy(&bits, bytes.data() + j * size_t(size_of(dtype)), size_t(size_of(dtype)));
    values[j] = dtype == DType::float32    ? float_from_bits(bits)
                : dtype == DType::bfloat16 ? to_float(bfloat16{uint16_t(bits)})
                                           : to_float(float16{uint16_t(bits)});
  }
  return values;
}

double rounded_to(DType dtype, double value) {
  if (!std::isfinite(value) || value == 0.) return value;
  if (dtype == DType::float32) return double(float(value));
  const int digits = dtype == DType::bfloat16 ? 8 : 11, least = dtype == DType::bfloat16 ? -125 : -13;
  int exponent;
  std::frexp(value, &exponent);
  const int unit = std::max(exponent, least) - digits;
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
  const double most = dtype == DType::bfloat16 ? std::ldexp(255., 120) : 65504.;
  return std::abs(result) > most ? std::copysign(std::numeric_limits<double>::infinity(), value) : result;
}

// Runs the ops of the names given, or all; prints a line for each. 0 if all numbers were right.
int run(const std::set<std::string>& names) {
  std::sort(ops().begin(), ops().end(), [](const Op* a, const Op* b) { return std::string(a->name) < b->name; });
  for (const std::string& name : names) {
    const auto known = [&](const Op* op) { return name == op->name; };
    if (std::none_of(ops().begin(), ops().end(), known)) throw std::runtime_error("there is no op " + name);
  }
  for (const Op* op : ops()) {
    if (!names.empty() && !names.count(op->name)) continue;
    const auto start = std::chrono::steady_clock::now();
    cases = 0;
    digest = 14695981039346656037u;
    running = op->name;
    op->run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%-18s %3d cases, results %016llx, %.1f s\n", op->name, cases, static_cast<unsigned long long>(digest),
                seconds.count());
    std::fflush(stdout);
  }
  return failures ? 1 : 0;
}

}  // namespace motive::driver

// ThreadSanitizer calls it before it prints a report.
extern "C" void __tsan_on_report(void*) { std::fprintf(stderr, "RACE: %s\n", motive::driver::running.c_str()); }

// drive [--descending] [--stop] [op ...]: threads of a block in the other order; end at the first wrong number. Exit
// status 0, or 1 for a wrong number, 2 for an error, 3 where a device would hang, 66 for a race (ThreadSanitizer's).
int main(int argc, char** argv) {
  std::set<std::string> names;
  for (int j = 1; j < argc; ++j) {
    const std::string word = argv[j];
    if (word == "--stop") {
      motive::driver::stop_at_first = true;
    } else if (word == "--descending") {
#if defined(MOTIVE_CUDA_ON_CPU)
      cuda_on_cpu::set_descending(true);
#endif
    } else {
      names.insert(word);
    }
  }
  try {
    return motive::driver::run(names);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s: %s\n", motive::driver::running.c_str(), error.what());
    return 2;
  }
}
