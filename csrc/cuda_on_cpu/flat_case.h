// Shared by the cases of the projections of flattened gradients.
#pragma once

#include "driver.h"

namespace motive::driver {

constexpr PhiloxKey kFlatKey{{0x12345678u, 0x9abcdef0u}};
constexpr float kFlatScale = 0.5f;

// Gradients [samples, columns], every sample `gap` elements after the one before it ended, from element `skip` on.
struct FlatCase {
  FlatCase(DType dtype, int64_t samples, int64_t columns, int64_t dim, int64_t gap = 0, int64_t skip = 0)
      : samples(samples),
        columns(columns),
        dim(dim),
        stride(columns + gap),
        skip(skip),
        grad(typed(dtype, numbers(skip + samples * stride, 1))),
        before(numbers(samples * dim, 2)) {}

  const float* sample(int64_t s) const { return grad.values.data() + skip + s * stride; }

  // The fields that the ops have in common, of a gradient and a result in memory that the op can use.
  template <class Args>
  Args args(const unsigned char* memory, float* z) const {
    Args a{};
    a.z = z;
    a.grad = memory + skip * size_of(grad.dtype);
    a.dtype = grad.dtype;
    a.samples = samples;
    a.columns = columns;
    a.dim = dim;
    a.sample_stride = stride;
    a.key0 = kFlatKey.words[0];
    a.key1 = kFlatKey.words[1];
    a.scale = kFlatScale;
    a.threads = 1;
    return a;
  }

  int64_t samples, columns, dim, stride, skip;
  Typed grad;
  std::vector<float> before;
};

// Runs an op on the device and on the CPU and checks both against the definition, which adds a sample's z.
template <class Args, class Fill, class Workspace, class Device, class Cpu, class Definition>
void check_flat(const FlatCase& c, Fill fill, Workspace workspace, Device device, Cpu cpu, Definition definition) {
  std::vector<double> wanted(c.before.begin(), c.before.end());
  double terms = 0.;
  for (int64_t s = 0; s < c.samples; ++s) {
    const std::vector<double> z = definition(c.sample(s));
    for (int64_t b = 0; b < c.dim; ++b) {
      wanted[size_t(s * c.dim + b)] += kFlatScale * z[size_t(b)];
      terms += std::pow(kFlatScale * z[size_t(b)], 2);
    }
  }
  std::vector<float> on_cpu = c.before;
  Args a = c.args<Args>(c.grad.bytes.data(), on_cpu.data());
  fill(a, false);
  cpu(a);
  const OnDevice<unsigned char> grad(c.grad.bytes);
  const OnDevice<float> z(c.before);
  a = c.args<Args>(grad.get(), z.get());
  fill(a, true);
  const OnDevice<float> memory(unwritten(workspace(a)));
  device(a, memory.get(), nullptr);
  const std::vector<float> found = z.read();
  check_close(found, wanted, 2e-6, "against the definition", std::sqrt(terms));
  check_close(found, {on_cpu.begin(), on_cpu.end()}, 4e-6, "against the CPU library", std::sqrt(terms));
}

}  // namespace motive::driver
