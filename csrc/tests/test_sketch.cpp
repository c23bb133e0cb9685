// Both routes of the balanced tensor sketch against its definition, in buffers of exactly the size that they may read.
#include <cstring>
#include <limits>

#include "check.h"
#include "motive/outer_sketch.h"
#include "motive/tables.h"
#include "motive/tensor_sketch.h"

namespace motive::test {
namespace {

struct Tables {
  Tables(int64_t rows, int64_t columns, int64_t dim) {
    const PhiloxKey key = parameter_key("tensor_sketch", 0, "w");
    row = balanced_buckets(key, Role::rows, rows, dim);
    column = balanced_buckets(key, Role::columns, columns, dim);
    row_entries = gather_table(row, dim);
    column_entries = gather_table(column, dim);
  }
  AxisTable row, column;
  std::vector<int32_t> row_entries, column_entries;
};

// The definition, in double.
std::vector<double> sketch(const Tables& tables, const std::vector<double>& gradients, int64_t samples, int64_t dim) {
  const size_t rows = tables.row.bucket.size(), columns = tables.column.bucket.size();
  std::vector<double> z(size_t(samples * dim), 0.);
  for (size_t s = 0; s < size_t(samples); ++s) {
    for (size_t a = 0; a < rows; ++a) {
      for (size_t b = 0; b < columns; ++b) {
        const size_t bucket = size_t(tables.row.bucket[a] + tables.column.bucket[b]) % size_t(dim);
        z[s * size_t(dim) + bucket] +=
            tables.row.sign[a] * tables.column.sign[b] * gradients[(s * rows + a) * columns + b];
      }
    }
  }
  return z;
}

double norm(const std::vector<double>& values) {
  double total = 0.;
  for (const double value : values) total += value * value;
  return std::sqrt(total);
}

uint16_t rounded(float value) {  // to bfloat16, by truncation
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return uint16_t(bits >> 16);
}

TensorSketch materialized_arguments(const Tables& tables, float* z, const void* grad, DType dtype, int64_t samples,
                                    int64_t rows, int64_t columns, int64_t dim) {
  return {z,
          grad,
          dtype,
          samples,
          rows,
          columns,
          dim,
          rows * columns,
          columns,
          tables.row_entries.data(),
          tables.column_entries.data(),
          1.f,
          3};
}

void materialized_route(const std::string& level) {
  const int64_t shapes[][4] = {{1, 1, 1, 1},    {1, 1, 700, 16}, {3, 5, 9, 4},   {2, 70, 33, 16}, {17, 12, 10, 7},
                               {1, 600, 3, 37}, {9, 1, 64, 64},  {2, 1, 100, 7}, {5, 40, 129, 64}};
  for (const auto& [n, o, i, k] : shapes) {
    const std::string what = level + " materialized " + std::to_string(n) + " x " + std::to_string(o) + " x " +
                             std::to_string(i) + " to " + std::to_string(k);
    const Tables tables(o, i, k);
    std::vector<float> gradient = numbers(n * o * i, 0);
    std::vector<uint16_t> half(gradient.size());
    for (size_t j = 0; j < gradient.size(); ++j) {
      half[j] = rounded(gradient[j]);
      gradient[j] = to_float(bfloat16{half[j]});
    }
    const std::vector<double> wanted = sketch(tables, {gradient.begin(), gradient.end()}, n, k);
    std::vector<float> z(size_t(n * k), 0.f), z16 = z, one = z;
    TensorSketch a = materialized_arguments(tables, z.data(), gradient.data(), DType::float32, n, o, i, k);
    cpu::tensor_sketch_into(a);
    check_close(z, wanted, 1e-6 * norm(wanted) + 1e-6, what);
    a = materialized_arguments(tables, z16.data(), half.data(), DType::bfloat16, n, o, i, k);
    cpu::tensor_sketch_into(a);
    check_close(z16, wanted, 1e-6 * norm(wanted) + 1e-6, what + " from bfloat16");
    a = materialized_arguments(tables, one.data(), gradient.data(), DType::float32, n, o, i, k);
    a.threads = 1;
    cpu::tensor_sketch_into(a);
    check(one == z, what + ": one thread and three differ");
  }
}

void factorized_route(const std::string& level) {
  const int64_t shapes[][5] = {{1, 1, 1, 1, 1},     {2, 7, 5, 9, 4},     {3, 300, 40, 17, 16},
                               {2, 19, 3, 100, 37}, {1, 33, 100, 3, 37}, {2, 20, 12, 10, 64},
                               {1, 8, 64, 64, 64},  {4, 5, 130, 70, 64}, {1, 21, 530, 600, 512}};
  for (const auto& [n, t, o, i, k] : shapes) {
    const std::string what = level + " factorized " + std::to_string(n) + " x " + std::to_string(t) + ", " +
                             std::to_string(o) + " x " + std::to_string(i) + " to " + std::to_string(k);
    const Tables tables(o, i, k);
    std::vector<float> x = numbers(n * t * i, 1), dy = numbers(n * t * o, 2);
    std::vector<uint16_t> half_x, half_dy;
    for (float& value : x) value = to_float(bfloat16{half_x.emplace_back(rounded(value))});
    for (float& value : dy) value = to_float(bfloat16{half_dy.emplace_back(rounded(value))});
    std::vector<int64_t> lengths(size_t(n), t);
    for (int64_t s = 1; s < n; ++s) lengths[size_t(s)] = s == 1 ? 0 : t / s;
    std::vector<double> gradient(size_t(n * o * i), 0.);
    for (int64_t s = 0; s < n; ++s) {
      for (int64_t u = 0; u < t; ++u) {
        for (int64_t a = 0; a < o; ++a) {
          for (int64_t b = 0; b < i; ++b) {
            if (u < lengths[size_t(s)]) {
              gradient[size_t((s * o + a) * i + b)] +=
                  double(dy[size_t((s * t + u) * o + a)]) * x[size_t((s * t + u) * i + b)];
            } else {
              x[size_t((s * t + u) * i + b)] = std::numeric_limits<float>::quiet_NaN();
              half_x[size_t((s * t + u) * i + b)] = 0x7fc0;
            }
          }
        }
      }
    }
    const std::vector<double> wanted = sketch(tables, gradient, n, k);
    std::vector<float> z(size_t(n * k), 0.f), one = z;
    OuterSketch a{z.data(),
                  x.data(),
                  dy.data(),
                  DType::float32,
                  n,
                  t,
                  o,
                  i,
                  k,
                  t * i,
                  i,
                  t * o,
                  o,
                  tables.row_entries.data(),
                  tables.column_entries.data(),
                  lengths.data(),
                  1.f,
                  3};
    cpu::outer_sketch_into(a);
    check_close(z, wanted, 1e-6 * norm(wanted) + 1e-5, what);
    a.z = one.data();
    a.threads = 1;
    cpu::outer_sketch_into(a);
    check(one == z, what + ": one thread and three differ");
    one.assign(one.size(), 0.f);
    a.x = half_x.data();
    a.dy = half_dy.data();
    a.dtype = DType::bfloat16;
    cpu::outer_sketch_into(a);
    check_close(one, wanted, 1e-6 * norm(wanted) + 1e-5, what + " from bfloat16");
  }
}

void bad_arguments() {
  const Tables tables(5, 9, 4);
  std::vector<float> z(4, 0.f), gradient(45, 1.f);
  const TensorSketch good = materialized_arguments(tables, z.data(), gradient.data(), DType::float32, 1, 5, 9, 4);
  TensorSketch a = good;
  a.grad = nullptr;
  check_rejects([&] { cpu::tensor_sketch_into(a); }, "grad must be", "a null gradient");
  a = good;
  a.dim = 0;
  check_rejects([&] { cpu::tensor_sketch_into(a); }, "dim must be", "no buckets");
  for (const int32_t wrong : {18, -2, 1 << 30, tables.column_entries[1], std::numeric_limits<int32_t>::min()}) {
    std::vector<int32_t> entries = tables.column_entries;
    entries[0] = wrong;
    a = good;
    a.column_table = entries.data();
    check_rejects([&] { cpu::tensor_sketch_into(a); }, "columns must be a gather table", "a bad entry of the table");
    OuterSketch o{z.data(), gradient.data(),           gradient.data(), DType::float32, 1,   2, 5, 9, 4, 18, 9, 10,
                  5,        tables.row_entries.data(), entries.data(),  nullptr,        1.f, 1};
    check_rejects([&] { cpu::outer_sketch_into(o); }, "columns must be a gather table", "a bad entry of the table");
  }
}

}  // namespace
}  // namespace motive::test

int main() {
  motive::test::at_each_level([](const std::string& level) {
    motive::test::materialized_route(level);
    motive::test::factorized_route(level);
    motive::test::bad_arguments();
  });
  return motive::test::report("test_sketch");
}
