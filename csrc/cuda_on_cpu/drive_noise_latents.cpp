// Flow-matching interpolation: bitwise what the float operations of its definition give, each rounded once.
#include "driver.h"
#include "motive/cuda/noise_latents.h"
#include "motive/noise_latents.h"

namespace motive::driver {
namespace {

void mix(DType dtype, int64_t samples, int64_t size, bool shared, size_t skip) {
  begin_case(std::string("noise ") + name_of(dtype) + " " + join({samples, size}) + (shared ? " shared" : "") +
             (skip ? " unaligned" : ""));
  const Typed latents = typed(dtype, numbers(samples * size, 1));
  const Typed noise = typed(dtype, numbers((shared ? 1 : samples) * size, 2));
  const std::vector<float> sigma = numbers(samples, 3);
  const size_t bytes = skip * size_t(size_of(dtype));
  std::vector<unsigned char> noisy(latents.bytes.size()), target = noisy;
  const OnDevice<unsigned char> z(latents.bytes, bytes), eps(noise.bytes), out(noisy), out_target(noisy);
  const OnDevice<float> levels(sigma);
  NoiseLatents a{noisy.data(),
                 target.data(),
                 latents.bytes.data(),
                 noise.bytes.data(),
                 sigma.data(),
                 dtype,
                 samples,
                 size,
                 shared ? 0 : size,
                 1};
  cpu::noise_latents(a);
  a.noisy = out.get();
  a.target = out_target.get();
  a.latents = z.get();
  a.noise = eps.get();
  a.sigma = levels.get();
  cuda::noise_latents(a, nullptr);
  const std::vector<unsigned char> found = out.read(), found_target = out_target.read();
  std::vector<float> wanted, wanted_target;
  for (int64_t j = 0; j < samples * size; ++j) {
    const float latent = latents.values[size_t(j)], draw = noise.values[size_t(shared ? j % size : j)];
    const volatile float level = sigma[size_t(j / size)], rest = 1.f - level;  // volatile: no fused multiply-add
    const volatile float part = rest * latent, other = level * draw;
    wanted.push_back(float(rounded_to(dtype, double(part + other))));
    wanted_target.push_back(float(rounded_to(dtype, double(draw - latent))));
  }
  const std::vector<float> on_cpu = values_of(dtype, noisy), on_cpu_target = values_of(dtype, target);
  check(values_of(dtype, found) == wanted, "noisy is not the definition's");
  check(values_of(dtype, found_target) == wanted_target, "target is not the definition's");
  check_close(values_of(dtype, found), {on_cpu.begin(), on_cpu.end()}, rounding_of(dtype), "noisy");
  check_close(values_of(dtype, found_target), {on_cpu_target.begin(), on_cpu_target.end()}, rounding_of(dtype),
              "target");
}

const Op op("noise_latents", [] {
  for (const DType dtype : kTypes) {
    for (const bool shared : {false, true}) {
      mix(dtype, 3, 128, shared, 0);
      mix(dtype, 2, 35, shared, 0);
      mix(dtype, 2, 2560, shared, 1);
    }
  }
});

}  // namespace
}  // namespace motive::driver
