// Argument checks of the launchers: std::invalid_argument with the message form "where: name must be X, got Y; do Z".
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace motive {

[[noreturn]] inline void fail(const char* where, const char* name, const std::string& must, const std::string& got,
                              const char* remedy) {
  throw std::invalid_argument(std::string(where) + ": " + name + " must be " + must + ", got " + got + "; " + remedy);
}

inline void check_size(const char* where, const char* name, int64_t value, int64_t low) {
  if (value < low) {
    fail(where, name, "at least " + std::to_string(low), std::to_string(value), "pass the tensor's size");
  }
}

// The length of an axis with a gather table, whose 32-bit entries hold 2 * index + sign.
inline void check_axis(const char* where, const char* name, int64_t length, int64_t low) {
  check_size(where, name, length, low);
  if (length > (int64_t(1) << 30)) fail(where, name, "at most 2^30", std::to_string(length), "split the axis");
}

inline void check_pointer(const char* where, const char* name, const void* pointer) {
  if (pointer == nullptr) fail(where, name, "a valid address", "a null pointer", "pass data_ptr() of a filled tensor");
}

}  // namespace motive
