// Motion-weighted loss and its gradient.
#include "driver.h"
#include "motive/cuda/weighted_loss.h"
#include "motive/weighted_loss.h"

namespace motive::driver {
namespace {

struct Result {
  std::vector<float> loss;
  std::vector<unsigned char> gradient;
};

// The loss on the device, and in `cpu` that of the CPU library.
Result run(WeightedLoss a, const Typed& prediction, const Typed& target, const std::vector<float>& weights,
           Result& cpu) {
  cpu = {std::vector<float>(size_t(a.samples)), std::vector<unsigned char>(prediction.bytes.size())};
  a.dtype = prediction.dtype;
  a.loss = cpu.loss.data();
  a.gradient = cpu.gradient.data();
  a.prediction = prediction.bytes.data();
  a.target = target.bytes.data();
  a.weights = weights.empty() ? nullptr : weights.data();
  a.threads = 1;
  motive::cpu::weighted_loss(a);
  const OnDevice<unsigned char> p(prediction.bytes), t(target.bytes), g(cpu.gradient);
  const OnDevice<float> w(weights), loss(unwritten(a.samples));
  a.loss = loss.get();
  a.gradient = g.get();
  a.prediction = p.get();
  a.target = t.get();
  a.weights = weights.empty() ? nullptr : w.get();
  const OnDevice<float> workspace(unwritten(cuda::weighted_loss_workspace(a)));
  cuda::weighted_loss(a, workspace.get(), nullptr);
  return {loss.read(), g.read()};
}

void loss(DType dtype, int64_t samples, int64_t channels, int64_t cells, bool weighted) {
  begin_case(std::string("loss ") + name_of(dtype) + " " + join({samples, channels, cells}) +
             (weighted ? " weighted" : ""));
  const Typed prediction = typed(dtype, numbers(samples * channels * cells, 1));
  const Typed target = typed(dtype, numbers(samples * channels * cells, 2));
  const std::vector<float> weights = weighted ? numbers(samples * cells, 3) : std::vector<float>{};
  WeightedLoss a{};
  a.samples = samples;
  a.channels = channels;
  a.cells = cells;
  a.loss_factor = 1. / double(channels * cells);
  a.gradient_factor = float(128. * a.loss_factor);
  Result cpu;
  const Result found = run(a, prediction, target, weights, cpu);
  std::vector<double> wanted(size_t(samples), 0.), slope;
  double terms = 0.;
  for (int64_t j = 0; j < samples * channels * cells; ++j) {
    const int64_t s = j / (channels * cells);
    const double weight = weighted ? weights[size_t(s * cells + j % cells)] : 1.;
    const double difference = double(prediction.values[size_t(j)]) - target.values[size_t(j)];
    wanted[size_t(s)] += a.loss_factor * weight * difference * difference;
    terms += a.loss_factor * std::abs(weight) * difference * difference;
    slope.push_back(double(a.gradient_factor) * weight * difference);
  }
  check_close(found.loss, wanted, 2e-6, "the loss against the definition", terms);
  check_close(found.loss, {cpu.loss.begin(), cpu.loss.end()}, 4e-6, "the loss against the CPU library", terms);
  const std::vector<float> gradient = values_of(dtype, found.gradient), on_cpu = values_of(dtype, cpu.gradient);
  check_close(gradient, slope, rounding_of(dtype), "the gradient against the definition");
  check_close(gradient, {on_cpu.begin(), on_cpu.end()}, rounding_of(dtype), "the gradient against the CPU library");
}

// The gradient of a residual of one is the weight itself, rounded: every kind of number.
void rounding(DType dtype) {
  begin_case(std::string("rounding to ") + name_of(dtype));
  std::vector<float> weights = {0.f,
                                -0.f,
                                65504.f,
                                65519.9f,
                                65520.f,
                                5.96e-8f,
                                2.98e-8f,
                                2.980232e-8f,
                                2.9802322387695312e-8f,
                                6.1e-5f,
                                1e-30f,
                                3e38f,
                                -1e-40f,
                                std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN()};
  for (const float value : numbers(1000, 4)) weights.push_back(value * 1e-6f);
  for (uint32_t j = 0; weights.size() < 4096; ++j) {
    const PhiloxBlock block = philox_at({{8, 9}}, j, 0, 0);
    for (const uint32_t word : block.words) weights.push_back(float_from_bits(word));
  }
  weights.resize(4096);
  WeightedLoss a{};
  a.samples = a.channels = 1;
  a.cells = int64_t(weights.size());
  a.loss_factor = 0.;
  a.gradient_factor = 1.f;
  Result cpu;
  const Typed ones = typed(dtype, std::vector<float>(weights.size(), 1.f));
  const Typed zeros = typed(dtype, std::vector<float>(weights.size(), 0.f));
  const std::vector<float> found = values_of(dtype, run(a, ones, zeros, weights, cpu).gradient);
  for (size_t j = 0; j < weights.size(); ++j) {
    const double wanted = rounded_to(dtype, weights[j]);
    const bool same = std::isnan(wanted) ? std::isnan(found[j])
                                         : double(found[j]) == wanted && std::signbit(found[j]) == std::signbit(wanted);
    check(same, std::to_string(weights[j]) + " became " + std::to_string(found[j]));
  }
}

const Op op("weighted_loss", [] {
  for (const DType dtype : kTypes) {
    for (const bool weighted : {false, true}) {
      loss(dtype, 2, 3, 315, weighted);
      loss(dtype, 1, 16, 1152, weighted);
      loss(dtype, 3, 1, 1, weighted);
      loss(dtype, 1, 2, 2312, weighted);
    }
    rounding(dtype);
  }
  begin_case("more blocks than threads");
  loss(DType::float32, 1, 1, 256 * 257 + 1, true);
});

}  // namespace
}  // namespace motive::driver
