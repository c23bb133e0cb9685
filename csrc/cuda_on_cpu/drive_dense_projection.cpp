// Dense random projection.
#include "definitions.h"
#include "flat_case.h"
#include "motive/cuda/dense_projection.h"

namespace motive::driver {
namespace {

constexpr uint32_t kRole = 7;

void project(const FlatCase& c, Distribution distribution) {
  const bool signs = distribution == Distribution::rademacher;
  begin_case(std::string(signs ? "rademacher " : "gaussian ") + name_of(c.grad.dtype) + " " +
             join({c.samples, c.columns, c.dim}));
  const auto definition = [&](const float* grad) {
    std::vector<double> z(size_t(c.dim), 0.);
    for (int64_t row = 0; row < c.dim; ++row) {
      for (int64_t j = 0; j < c.columns; ++j) {
        const double entry =
            signs ? sign_entry(kFlatKey, uint32_t(row), j, kRole) : normal_entry(kFlatKey, uint32_t(row), j, kRole);
        z[size_t(row)] += entry * grad[j];
      }
    }
    return z;
  };
  const auto fill = [&](DenseProjection& a, bool) {
    a.distribution = distribution;
    a.role = kRole;
  };
  check_flat<DenseProjection>(c, fill, cuda::dense_projection_workspace, cuda::dense_projection_into,
                              cpu::dense_projection_into, definition);
}

// Random123's known answer for key and counter of zeros: the signs of row 0, columns 0 .. 127, role 0.
void known_answer() {
  begin_case("Philox's known answer");
  constexpr uint32_t answer[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  std::vector<float> identity(128 * 128, 0.f);
  for (size_t j = 0; j < 128; ++j) identity[129 * j] = 1.f;
  const OnDevice<float> grad(identity), z(std::vector<float>(128, 0.f));
  const DenseProjection a{z.get(), grad.get(), DType::float32, Distribution::rademacher, 128, 128, 1, 128, 0, 0, 0,
                          1.f,     1};
  const OnDevice<float> memory(unwritten(cuda::dense_projection_workspace(a)));
  cuda::dense_projection_into(a, memory.get(), nullptr);
  const std::vector<float> found = z.read();
  for (size_t j = 0; j < 128; ++j) {
    check(found[j] == (answer[j / 32] >> (j % 32) & 1u ? 1.f : -1.f), "sign " + std::to_string(j) + " is wrong");
  }
}

const Op op("dense_projection", [] {
  for (const Distribution distribution : {Distribution::rademacher, Distribution::gaussian}) {
    for (const DType dtype : kTypes) project(FlatCase(dtype, 5, 300, 70, 3, 3), distribution);
    project(FlatCase(DType::float32, 1, 5, 3), distribution);
    project(FlatCase(DType::float32, 2, 2500, 300), distribution);
    project(FlatCase(DType::float32, 1, 4100, 16), distribution);
  }
  known_answer();
});

}  // namespace
}  // namespace motive::driver
