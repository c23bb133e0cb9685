// Motion weights, noise and loss against their definitions, in buffers of exactly the size that they may read.
#include <algorithm>
#include <limits>

#include "check.h"
#include "motive/motion_weights.h"
#include "motive/noise_latents.h"
#include "motive/weighted_loss.h"

namespace motive::test {
namespace {

// The values as bfloat16, rounded towards zero, which is exact again as float.
std::vector<uint16_t> cut(std::vector<float>& values) {
  std::vector<uint16_t> cut_off(values.size());
  for (size_t j = 0; j < values.size(); ++j) {
    uint32_t bits;
    memcpy(&bits, &values[j], sizeof bits);
    cut_off[j] = uint16_t(bits >> 16);
    values[j] = to_float(bfloat16{cut_off[j]});
  }
  return cut_off;
}

void noise(const std::string& level) {
  for (const int64_t size : {1, 7, 16, 100, 70001}) {
    const std::string what = "noise_latents " + std::to_string(size) + " " + level;
    const std::vector<float> z = numbers(2 * size, 1), eps = numbers(size, 2), sigma = {0.25f, 1.f};
    std::vector<float> noisy(z.size()), target(z.size());
    std::vector<double> wanted_noisy(z.size()), wanted_target(z.size());
    for (size_t j = 0; j < z.size(); ++j) {
      const double e = eps[j % size_t(size)], s = sigma[j / size_t(size)];
      wanted_noisy[j] = (1 - s) * z[j] + s * e;
      wanted_target[j] = e - z[j];
    }
    const NoiseLatents a{
        noisy.data(), target.data(), z.data(), eps.data(), sigma.data(), DType::float32, 2, size, 0, 3};
    cpu::noise_latents(a);
    const double allowed = 1e-7 * std::sqrt(double(2 * size));
    check_close(noisy, wanted_noisy, allowed, what + " noisy");
    check_close(target, wanted_target, allowed, what + " target");
  }
}

void loss(const std::string& level) {
  for (const int64_t cells : {1, 9, 32, 2048, 5003}) {
    const std::string what = "weighted_loss " + std::to_string(cells) + " " + level;
    const int64_t samples = 2, channels = 3, count = samples * channels * cells;
    std::vector<float> prediction = numbers(count, 1), target = numbers(count, 2);
    const std::vector<float> weights = numbers(samples * cells, 3);
    const std::vector<uint16_t> narrow_prediction = cut(prediction), narrow_target = cut(target);
    std::vector<float> got(2), again(2), gradient(size_t(count), 0.f);
    std::vector<uint16_t> narrow_gradient(size_t(count), 0);
    std::vector<double> wanted(2, 0.), wanted_gradient(size_t(count), 0.);
    for (int64_t j = 0; j < count; ++j) {
      const double w = weights[size_t(j / (channels * cells) * cells + j % cells)];
      const double residual = double(prediction[size_t(j)]) - double(target[size_t(j)]);
      wanted[size_t(j / (channels * cells))] += w * residual * residual / double(count);
      wanted_gradient[size_t(j)] = 4. * w * residual;
    }
    WeightedLoss a{got.data(),
                   gradient.data(),
                   prediction.data(),
                   target.data(),
                   weights.data(),
                   DType::float32,
                   samples,
                   channels,
                   cells,
                   1. / double(count),
                   4.f,
                   3};
    cpu::weighted_loss(a);
    check_close(got, wanted, 1e-6, what);
    check_close(gradient, wanted_gradient, 1e-6 * std::sqrt(double(count)), what + " gradient");
    a.threads = 1;
    a.loss = again.data();
    cpu::weighted_loss(a);
    check(got == again, what + ": one thread and three differ");
    a.prediction = narrow_prediction.data();
    a.target = narrow_target.data();
    a.gradient = narrow_gradient.data();
    a.dtype = DType::bfloat16;
    cpu::weighted_loss(a);
    check_close(again, wanted, 1e-6, what + " from bfloat16");
    for (size_t j = 0; j < gradient.size(); ++j) gradient[j] = to_float(bfloat16{narrow_gradient[j]});
    check_close(gradient, wanted_gradient, 1e-2 * std::sqrt(double(count)), what + " bfloat16 gradient");
  }
}

// Area weights of clips whose windows do not overlap, pooled by the largest.
void motion(const std::string& level) {
  for (const int64_t width : {2, 8, 34, 66}) {
    const std::string what = "motion_weights " + std::to_string(width) + " " + level;
    const int64_t samples = 2, frames = 3, height = 4, pixels = height * width, latent_width = width / 2;
    std::vector<float> flow = numbers(samples * frames * pixels * 2, 1);
    const std::vector<float> confidence = numbers(samples * frames * pixels, 2);
    std::vector<float> got(size_t(samples * 2 * 2 * latent_width));
    std::vector<double> wanted;
    for (int64_t s = 0; s < samples; ++s) {
      std::vector<double> m;
      for (int64_t j = s * frames * pixels; j < (s + 1) * frames * pixels; ++j) {
        m.push_back(std::hypot(flow[size_t(2 * j)], flow[size_t(2 * j + 1)]) * confidence[size_t(j)]);
      }
      const double low = *std::min_element(m.begin(), m.end()), high = *std::max_element(m.begin(), m.end());
      const auto cell = [&](int64_t t, int64_t i, int64_t j) {
        const double* at = m.data() + t * pixels + 2 * i * width + 2 * j;
        return ((at[0] + at[1] + at[width] + at[width + 1]) / 4 - low) / (high - low + 1e-6);
      };
      for (int64_t c = 0; c < 2 * latent_width; ++c) wanted.push_back(cell(0, c / latent_width, c % latent_width));
      for (int64_t c = 0; c < 2 * latent_width; ++c) {
        const int64_t i = c / latent_width, j = c % latent_width;
        wanted.push_back(std::max(cell(1, i, j), cell(2, i, j)));
      }
    }
    MotionWeights a{};
    a.weights = got.data();
    a.flow = flow.data();
    a.confidence = confidence.data();
    a.samples = samples, a.frames = frames, a.height = height, a.width = width;
    a.latent_frames = 2, a.latent_height = 2, a.latent_width = latent_width;
    a.sample_stride = frames * pixels * 2, a.frame_stride = pixels * 2, a.row_stride = width * 2,
    a.component_stride = 1;
    a.pooling = MotionPooling::causal_max;
    a.spatial = MotionSpatial::area;
    a.threads = 3;
    cpu::motion_weights(a);
    check_close(got, wanted, 1e-5, what);
    for (const MotionSpatial spatial : {MotionSpatial::bilinear, MotionSpatial::area}) {
      a.spatial = spatial;
      a.latent_height = 9;  // finer than the frame
      got.resize(size_t(samples * 2 * 9 * latent_width));
      a.weights = got.data();
      flow[1] = std::numeric_limits<float>::quiet_NaN();
      cpu::motion_weights(a);
      const auto middle = got.begin() + std::ptrdiff_t(got.size() / 2);
      check(std::all_of(got.begin(), middle, [](float w) { return std::isnan(w); }), what + ": a NaN got lost");
      check(std::all_of(middle, got.end(), [](float w) { return w >= 0 && w <= 1; }), what + ": a NaN got around");
      flow[1] = 0.f;
    }
  }
}

void bad_arguments() {
  MotionWeights motion{};
  motion.samples = 1, motion.frames = 4, motion.height = motion.width = 2;
  motion.latent_frames = 3, motion.latent_height = motion.latent_width = 1;
  check_rejects([&] { cpu::motion_weights(motion); }, "frames must be 1 more than a multiple", "four frames for three");
  motion.frames = 5;
  check_rejects([&] { cpu::motion_weights(motion); }, "weights must be a valid address", "no weights");
  motion.latent_width = 0;
  check_rejects([&] { cpu::motion_weights(motion); }, "latent_width must be at least 1", "no cells");
  WeightedLoss loss{};
  loss.samples = 1;
  check_rejects([&] { cpu::weighted_loss(loss); }, "channels must be at least 1", "no channels");
  NoiseLatents noise{};
  noise.samples = 1, noise.size = -1;
  check_rejects([&] { cpu::noise_latents(noise); }, "size must be at least 0", "a negative size");
}

}  // namespace
}  // namespace motive::test

int main() {
  motive::test::at_each_level([](const std::string& level) {
    motive::test::noise(level);
    motive::test::loss(level);
    motive::test::motion(level);
  });
  motive::test::bad_arguments();
  return motive::test::report("test_weighting");
}
