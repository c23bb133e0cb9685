// Working memory of a kernel: aligned to a cache line, uninitialised, freed at the end of its scope.
#pragma once

#include <cstdint>
#include <new>

#include "level.h"

namespace motive::cpu::MOTIVE_LEVEL {

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<T*>(::operator new(size_t(count > 0 ? count : 1) * sizeof(T), std::align_val_t(64)))) {}
  ~Scratch() { ::operator delete(data_, std::align_val_t(64)); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* get() const { return data_; }
  T& operator[](int64_t index) const { return data_[index]; }

 private:
  T* data_;
};

}  // namespace motive::cpu::MOTIVE_LEVEL
