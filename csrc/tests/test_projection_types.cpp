// Dense, sparse and Fastfood projections against their definitions, in buffers of exactly the size that they may read.
#include <cstring>
#include <functional>

#include "check.h"
#include "motive/dense_projection.h"
#include "motive/fastfood.h"
#include "motive/kronecker.h"
#include "motive/sjlt.h"
#include "philox_vector.h"

namespace motive::test {
namespace {

constexpr PhiloxKey kKey{{0x12345678u, 0x9abcdef0u}};
constexpr double kTwoPi = 6.283185307179586;

double sign_entry(uint32_t row, int64_t column, uint32_t role) {
  const PhiloxBlock block = philox4x32({{uint32_t(column / 128), row, role, 0}}, kKey);
  return block.words[column % 128 / 32] >> (column % 32) & 1 ? 1. : -1.;
}

double normal_entry(uint32_t row, int64_t column, uint32_t role) {
  const PhiloxBlock block = philox4x32({{uint32_t(column / 4), row, role, 0}}, kKey);
  const uint32_t a = block.words[column % 4 / 2 * 2], b = block.words[column % 4 / 2 * 2 + 1];
  const double radius = std::sqrt(-2. * std::log((a + 0.5) / 4294967296.)), angle = kTwoPi * b / 4294967296.;
  return radius * (column % 2 ? std::sin(angle) : std::cos(angle));
}

void hadamard(std::vector<double>& v) {
  for (size_t half = 1; half < v.size(); half *= 2) {
    for (size_t j = 0; j < v.size(); ++j) {
      if (j & half) continue;
      const double low = v[j], high = v[j + half];
      v[j] = low + high;
      v[j + half] = low - high;
    }
  }
}

struct Shape {
  int64_t n, d, k;
};

// Runs `project` from float32 and from bfloat16, with three threads and with one, against `wanted` of the gradient.
void compare(const std::string& what, const Shape& shape,
             const std::function<void(float*, const void*, DType, int)>& project,
             const std::function<std::vector<double>(const float*)>& wanted_of) {
  std::vector<float> gradient = numbers(shape.n * shape.d, 0);
  std::vector<uint16_t> half(gradient.size());
  for (size_t j = 0; j < gradient.size(); ++j) {
    uint32_t bits;
    std::memcpy(&bits, &gradient[j], sizeof bits);
    half[j] = uint16_t(bits >> 16);
    gradient[j] = to_float(bfloat16{half[j]});
  }
  std::vector<double> wanted;
  for (int64_t s = 0; s < shape.n; ++s) {
    for (const double value : wanted_of(gradient.data() + s * shape.d)) wanted.push_back(value);
  }
  double size = 0.;
  for (const double value : wanted) size += value * value;
  std::vector<float> z(wanted.size(), 0.f), z16 = z, one = z;
  project(z.data(), gradient.data(), DType::float32, 3);
  check_close(z, wanted, 2e-6 * std::sqrt(size) + 1e-6, what);
  project(z16.data(), half.data(), DType::bfloat16, 3);
  check(z16 == z, what + ": the same numbers from bfloat16 differ");
  project(one.data(), gradient.data(), DType::float32, 1);
  check(one == z, what + ": one thread and three differ");
}

void dense(const std::string& level, Distribution distribution) {
  const bool signs = distribution == Distribution::rademacher;
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{9, 300, 7}, Shape{2, 5003, 3}, Shape{17, 33, 530}}) {
    const auto project = [&](float* z, const void* grad, DType dtype, int threads) {
      cpu::dense_projection_into({z, grad, dtype, distribution, shape.n, shape.d, shape.k, shape.d, kKey.words[0],
                                  kKey.words[1], 2, 0.5f, threads});
    };
    const auto wanted = [&](const float* grad) {
      std::vector<double> z(size_t(shape.k), 0.);
      for (int64_t row = 0; row < shape.k; ++row) {
        for (int64_t j = 0; j < shape.d; ++j) {
          const double entry = signs ? sign_entry(uint32_t(row), j, 2) : normal_entry(uint32_t(row), j, 2);
          z[size_t(row)] += 0.5 * entry * grad[j];
        }
      }
      return z;
    };
    compare(level + (signs ? " rademacher " : " gaussian ") + std::to_string(shape.d), shape, project, wanted);
  }
}

void sparse(const std::string& level) {
  for (const Shape& shape : {Shape{1, 1, 4}, Shape{9, 300, 7}, Shape{2, 9001, 64}, Shape{20, 33, 530}}) {
    for (const int64_t nonzeros : {1, 3}) {
      const auto project = [&](float* z, const void* grad, DType dtype, int threads) {
        cpu::sjlt_into({z, grad, dtype, shape.n, shape.d, shape.k, nonzeros, shape.d, kKey.words[0], kKey.words[1],
                        0.5f, threads});
      };
      const auto wanted = [&](const float* grad) {
        std::vector<double> z(size_t(shape.k), 0.);
        for (int64_t t = 0; t < shape.d * nonzeros; ++t) {
          const uint32_t word = philox_at(kKey, uint64_t(t / 4), 0, 0).words[t % 4];
          const int64_t c = t % nonzeros, low = c * shape.k / nonzeros, high = (c + 1) * shape.k / nonzeros;
          const int64_t bucket = low + int64_t((uint64_t(word >> 1) * uint64_t(high - low)) >> 31);
          z[size_t(bucket)] += (word & 1 ? 0.5 : -0.5) * grad[t / nonzeros];
        }
        return z;
      };
      compare(level + " sjlt " + std::to_string(shape.d) + " s " + std::to_string(nonzeros), shape, project, wanted);
    }
  }
}

void fastfood(const std::string& level) {
  for (const int64_t tile : {1, 2, 8, 64, 1024, 4096}) {
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 9 * tile + 1, tile < 16 ? tile : 16}}) {
      std::vector<int32_t> labels;
      for (int64_t j = 0; j < tile; ++j) labels.push_back(int32_t((j * 5 + 3) % tile % shape.k));
      const auto project = [&](float* z, const void* grad, DType dtype, int threads) {
        cpu::fastfood_into({z, grad, dtype, shape.n, shape.d, shape.k, tile, shape.d, labels.data(), kKey.words[0],
                            kKey.words[1], 0.5f, threads});
      };
      const auto wanted = [&](const float* grad) {
        std::vector<double> z(size_t(shape.k), 0.);
        for (int64_t index = 0; index * tile < shape.d; ++index) {
          std::vector<double> v(size_t(tile), 0.);
          for (int64_t j = 0; j < tile && index * tile + j < shape.d; ++j) {
            v[size_t(j)] = sign_entry(uint32_t(index), j, 0) * grad[index * tile + j];
          }
          hadamard(v);
          for (int64_t j = 0; j < tile; ++j) {
            z[size_t(labels[size_t(j)])] += 0.5 * normal_entry(uint32_t(index), j, 1) * v[size_t(j)];
          }
        }
        hadamard(z);
        return z;
      };
      compare(level + " fastfood " + std::to_string(shape.d) + " tile " + std::to_string(tile), shape, project, wanted);
    }
  }
}

void kronecker(const std::string& level) {
  const int64_t shapes[][6] = {{1, 1, 1, 1, 1, 1}, {2, 270, 5, 9, 3, 4}, {3, 7, 300, 2, 17, 5}, {2, 33, 4, 261, 2, 40}};
  for (const auto& [n, t, o, i, ko, ki] : shapes) {
    const std::string what = level + " kronecker " + std::to_string(o) + " x " + std::to_string(i);
    const std::vector<float> left = numbers(ko * o, 1), right = numbers(ki * i, 2), dy = numbers(n * t * o, 3);
    const std::vector<float> x = numbers(n * t * i, 4);
    const KroneckerFactors factors{left.data(), right.data(), ko, ki};
    std::vector<int64_t> lengths(size_t(n), t);
    lengths.back() = n > 1 ? t / 2 : t;
    std::vector<float> gradient(size_t(n * o * i), 0.f);
    std::vector<double> by_tokens(size_t(n * ko * ki), 0.), by_gradient = by_tokens;
    for (int64_t s = 0; s < n; ++s) {
      for (int64_t u = 0; u < lengths[size_t(s)]; ++u) {
        for (int64_t a = 0; a < o; ++a) {
          for (int64_t b = 0; b < i; ++b) {
            gradient[size_t((s * o + a) * i + b)] += dy[size_t((s * t + u) * o + a)] * x[size_t((s * t + u) * i + b)];
          }
        }
        for (int64_t p = 0; p < ko; ++p) {
          double y = 0.;
          for (int64_t a = 0; a < o; ++a) y += double(left[size_t(p * o + a)]) * dy[size_t((s * t + u) * o + a)];
          for (int64_t q = 0; q < ki; ++q) {
            double v = 0.;
            for (int64_t b = 0; b < i; ++b) v += double(right[size_t(q * i + b)]) * x[size_t((s * t + u) * i + b)];
            by_tokens[size_t((s * ko + p) * ki + q)] += 0.5 * y * v;
          }
        }
      }
      for (int64_t p = 0; p < ko; ++p) {
        for (int64_t q = 0; q < ki; ++q) {
          for (int64_t a = 0; a < o; ++a) {
            for (int64_t b = 0; b < i; ++b) {
              by_gradient[size_t((s * ko + p) * ki + q)] += 0.5 * left[size_t(p * o + a)] * right[size_t(q * i + b)] *
                                                            double(gradient[size_t((s * o + a) * i + b)]);
            }
          }
        }
      }
    }
    std::vector<float> z(by_tokens.size(), 0.f), one = z, factorized = z;
    Kronecker materialized{z.data(), gradient.data(), DType::float32, n, o, i, o * i, i, factors, 0.5f, 3};
    cpu::kronecker_into(materialized);
    check_close(z, by_gradient, 1e-5, what + " materialized");
    materialized.z = one.data();
    materialized.threads = 1;
    cpu::kronecker_into(materialized);
    check(one == z, what + ": one thread and three differ");
    cpu::kronecker_outer_into({factorized.data(), x.data(), dy.data(), DType::float32, n, t, o, i, t * i, i, t * o, o,
                               factors, lengths.data(), 0.5f, 3});
    check_close(factorized, by_tokens, 1e-5, what + " factorized");
  }
}

// Block numbers are 64 bits wide: one that crosses 2^32 within a vector carries into the second counter word.
void block_numbers_carry() {
  const cpu::baseline::PhiloxKeys keys(kKey.words[0], kKey.words[1]);
  for (const uint64_t first : {uint64_t(0), (uint64_t(1) << 32) - 1, (uint64_t(5) << 32) - 2, uint64_t(7) << 40}) {
    uint32_t words[4 * cpu::baseline::kLanes];
    cpu::baseline::counted_blocks(keys, first, 3, words);
    for (int j = 0; j < 4 * cpu::baseline::kLanes; ++j) {
      check_equal(words[j], philox_at(kKey, first + uint64_t(j / 4), 3, 0).words[j % 4],
                  "word " + std::to_string(j) + " of block " + std::to_string(first));
    }
  }
}

void bad_arguments() {
  std::vector<float> z(4, 0.f), gradient(45, 1.f);
  DenseProjection dense{z.data(), nullptr, DType::float32, Distribution::gaussian, 1, 45, 4, 45, 1, 2, 0, 1.f, 1};
  check_rejects([&] { cpu::dense_projection_into(dense); }, "grad must be", "a null gradient");
  dense.grad = gradient.data();
  dense.columns = (int64_t(4) << 32) + 1;
  check_rejects([&] { cpu::dense_projection_into(dense); }, "columns must be at most", "too many columns");
  SparseTransform sparse{z.data(), gradient.data(), DType::float32, 1, 45, 4, 5, 45, 1, 2, 1.f, 1};
  check_rejects([&] { cpu::sjlt_into(sparse); }, "nonzeros must be at most", "more nonzeros than buckets");
  const std::vector<int32_t> labels{0, 1, 2, 3, 0, 1, 2, 4};
  Fastfood fastfood{z.data(), gradient.data(), DType::float32, 1, 45, 4, 8, 45, labels.data(), 1, 2, 1.f, 1};
  check_rejects([&] { cpu::fastfood_into(fastfood); }, "labels must be in 0", "a bad label");
  fastfood.tile = 6;
  check_rejects([&] { cpu::fastfood_into(fastfood); }, "must be powers of two", "a tile of six");
  fastfood.tile = 2;
  check_rejects([&] { cpu::fastfood_into(fastfood); }, "tile must be at least 4", "a tile shorter than dim");
}

}  // namespace
}  // namespace motive::test

int main() {
  using motive::Distribution;
  motive::test::at_each_level([](const std::string& level) {
    motive::test::dense(level, Distribution::rademacher);
    motive::test::dense(level, Distribution::gaussian);
    motive::test::sparse(level);
    motive::test::fastfood(level);
    motive::test::kronecker(level);
  });
  motive::test::block_numbers_carry();
  motive::test::bad_arguments();
  return motive::test::report("test_projection_types");
}
