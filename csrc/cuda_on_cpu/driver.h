// Runs every launcher of motive/cuda/*.h and compares with the CPU library and with the definition in double.
//
// drive_<op>.cpp holds the cases of an op. The program is built for the CPU (csrc/cuda_on_cpu/machine.h says how that
// runs) and for a card; the cases use CUDA's runtime functions and know no difference.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "motive/dtype.h"
#include "motive/philox.h"
#include "motive/tables.h"

namespace motive::driver {

// An op's cases; a static object of drive_<op>.cpp, so that the program knows all that it is linked with.
struct Op {
  Op(const char* name, void (*run)());
  const char* name;
  void (*run)();
};

// One case: counted, named in failures and in reports of ThreadSanitizer.
void begin_case(const std::string& name);

void check(bool good, const std::string& what);

// Norm of the difference over the norm of what is wanted, or over `size` where that is larger: results that cancel are
// measured by what went into them.
double distance(const std::vector<float>& found, const std::vector<double>& wanted, double size = 0.);
void check_close(const std::vector<float>& found, const std::vector<double>& wanted, double tolerance,
                 const std::string& what, double size = 0.);

// Results of launches go into the digest that the program prints: two runs must print the same one, whatever the order
// in which threads ran.
void add_to_digest(const void* data, size_t bytes);

inline void require(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA says: ") + cudaGetErrorString(error));
}

// Memory of the device, filled from a vector; `skip` elements before the first one move it off its alignment.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values, size_t skip = 0) : count_(values.size()), skip_(skip) {
    require(cudaMalloc(&memory_, (count_ + skip) * sizeof(T)));
    if (count_) require(cudaMemcpy(get(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~OnDevice() { cudaFree(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* get() const { return static_cast<T*>(memory_) + skip_; }

  std::vector<T> read() const {
    require(cudaDeviceSynchronize());
    std::vector<T> values(count_);
    if (count_) require(cudaMemcpy(values.data(), get(), count_ * sizeof(T), cudaMemcpyDeviceToHost));
    add_to_digest(values.data(), count_ * sizeof(T));
    return values;
  }

 private:
  void* memory_ = nullptr;
  size_t count_, skip_;
};

// Working memory that nobody has written: NaN.
inline std::vector<float> unwritten(int64_t count) {
  return std::vector<float>(size_t(count), std::numeric_limits<float>::quiet_NaN());
}

// Numbers in -0.5 .. 0.5, a function of the stream.
std::vector<float> numbers(int64_t count, uint32_t stream);

// Numbers as a type stores them: bytes of the elements, and the values that they stand for.
struct Typed {
  DType dtype;
  std::vector<unsigned char> bytes;
  std::vector<float> values;
};
Typed typed(DType dtype, const std::vector<float>& numbers);
std::vector<float> values_of(DType dtype, const std::vector<unsigned char>& bytes);

// The nearest number of a type, ties to even, by arithmetic in double.
double rounded_to(DType dtype, double value);

constexpr DType kTypes[] = {DType::float32, DType::bfloat16, DType::float16};
inline const char* name_of(DType dtype) {
  return dtype == DType::float32 ? "float32" : dtype == DType::bfloat16 ? "bfloat16" : "float16";
}

// Distance between neighbouring numbers of a type near 1, and a bound on what one rounding does to a vector.
inline double rounding_of(DType dtype) {
  return dtype == DType::float32 ? 2e-6 : dtype == DType::bfloat16 ? 1. / 256 : 1. / 1024;
}

inline std::string join(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

// Bucket and sign of every row and column of a layer, and the gather tables that kernels read.
struct Tables {
  Tables(int64_t rows, int64_t columns, int64_t dim)
      : row(balanced_buckets(key(), Role::rows, rows, dim)),
        column(balanced_buckets(key(), Role::columns, columns, dim)),
        row_entries(gather_table(row, dim)),
        column_entries(gather_table(column, dim)) {}
  static PhiloxKey key() { return parameter_key("tensor_sketch", 3, "layer.weight"); }

  // z += scale * value in the bucket of element (a, b).
  void add(double* z, int64_t dim, size_t a, size_t b, double value) const {
    z[size_t(row.bucket[a] + column.bucket[b]) % size_t(dim)] += row.sign[a] * column.sign[b] * value;
  }

  AxisTable row, column;
  std::vector<int32_t> row_entries, column_entries;
};

}  // namespace motive::driver
