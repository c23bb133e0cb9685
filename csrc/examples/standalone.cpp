// The projection from a C++ program, without torch or Python: one layer's per-sample gradients, by both routes.
//
//     c++ -std=c++17 -Icsrc/include csrc/examples/standalone.cpp libmotive.a -pthread -o standalone
//
// libmotive.a comes from `python csrc/build.py libmotive.a` (in build/native-<platform>).
#include <cmath>
#include <cstdio>
#include <vector>

#include "motive/outer_sketch.h"
#include "motive/tables.h"
#include "motive/tensor_sketch.h"

namespace {

constexpr int64_t kSamples = 3, kTokens = 17, kRows = 96, kColumns = 80, kDim = 64;

// Any numbers will do; these come from the library's own generator.
std::vector<float> numbers(int64_t count, uint32_t stream) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; ++j) {
    const motive::PhiloxBlock block = motive::philox_at({{1, stream}}, uint64_t(j), 0, 0);
    values[size_t(j)] = float(block.words[0]) / 4294967296.f - 0.5f;
  }
  return values;
}

}  // namespace

int main() {
  // The tables depend on the seed, the parameter's name and its shape alone: vectors made here can be compared with
  // those that the Python package makes for the same name and seed.
  const motive::PhiloxKey key = motive::parameter_key("tensor_sketch", 0, "blocks.0.ffn.weight");
  const auto rows = motive::gather_table(motive::balanced_buckets(key, motive::Role::rows, kRows, kDim), kDim);
  const auto columns = motive::gather_table(motive::balanced_buckets(key, motive::Role::columns, kColumns, kDim), kDim);

  const std::vector<float> x = numbers(kSamples * kTokens * kColumns, 0), dy = numbers(kSamples * kTokens * kRows, 1);
  std::vector<float> gradient(kSamples * kRows * kColumns, 0.f);
  for (int64_t s = 0; s < kSamples; ++s) {
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t a = 0; a < kRows; ++a) {
        for (int64_t b = 0; b < kColumns; ++b) {
          gradient[size_t((s * kRows + a) * kColumns + b)] +=
              dy[size_t((s * kTokens + t) * kRows + a)] * x[size_t((s * kTokens + t) * kColumns + b)];
        }
      }
    }
  }

  std::vector<float> materialized(kSamples * kDim, 0.f), factorized(kSamples * kDim, 0.f);
  motive::TensorSketch f{};
  f.z = materialized.data();
  f.grad = gradient.data();
  f.dtype = motive::DType::float32;
  f.samples = kSamples;
  f.rows = kRows;
  f.columns = kColumns;
  f.dim = kDim;
  f.sample_stride = kRows * kColumns;
  f.row_stride = kColumns;
  f.row_table = rows.data();
  f.column_table = columns.data();
  f.scale = 1.f;
  f.threads = 2;
  motive::cpu::tensor_sketch_into(f);

  motive::OuterSketch o{};
  o.z = factorized.data();
  o.x = x.data();
  o.dy = dy.data();
  o.dtype = motive::DType::float32;
  o.samples = kSamples;
  o.tokens = kTokens;
  o.rows = kRows;
  o.columns = kColumns;
  o.dim = kDim;
  o.x_sample_stride = kTokens * kColumns;
  o.x_token_stride = kColumns;
  o.dy_sample_stride = kTokens * kRows;
  o.dy_token_stride = kRows;
  o.row_table = rows.data();
  o.column_table = columns.data();
  o.scale = 1.f;
  o.threads = 2;
  motive::cpu::outer_sketch_into(o);

  double norm = 0., difference = 0.;
  for (size_t j = 0; j < materialized.size(); ++j) {
    norm += double(materialized[j]) * materialized[j];
    difference += std::pow(double(materialized[j]) - factorized[j], 2);
  }
  norm = std::sqrt(norm);
  difference = std::sqrt(difference);
  std::printf("projected %lld gradients of %lld x %lld to %lld numbers each\n", (long long)kSamples, (long long)kRows,
              (long long)kColumns, (long long)kDim);
  std::printf("norm %.9g, materialized route against factorized route %.3g\n", norm, difference / norm);
  std::printf("first numbers %.9g %.9g %.9g\n", materialized[0], materialized[1], materialized[2]);
  return difference <= 1e-5 * norm ? 0 : 1;
}
