// Weighted loss, noise and motion weights.
#include "../motion_weights.h"
#include "../noise_latents.h"
#include "../weighted_loss.h"
#include "emulators.h"

namespace motive::cuda::host {
namespace {

// As block_sum.
float tree_sum(std::vector<float> values, const Block& block) {
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    block.phase([&](int thread) { add_half(values.data(), half, thread); });
  }
  return values[0];
}

template <class T, int V>
void run_loss(const WeightedLoss& a, bool descending) {
  const Block block(kSumThreads, descending);
  const int64_t blocks = weighted::blocks_of_sample(a);
  for (int64_t sample = 0; sample < a.samples; ++sample) {
    std::vector<float> partials = unwritten(blocks);
    for (int64_t number = 0; number < blocks; ++number) {
      std::vector<float> sums(kSumThreads);
      block.phase([&](int thread) { sums[thread] = weighted::residual<T, V>(a, sample, number, thread); });
      partials[number] = tree_sum(sums, block);
    }
    std::vector<float> shares(kSumThreads);
    block.phase([&](int thread) { shares[thread] = weighted::share(partials.data(), blocks, thread); });
    a.loss[sample] = float(a.loss_factor * double(tree_sum(shares, block)));
  }
}

template <class T>
void run_loss(const WeightedLoss& a, bool descending) {
  weighted::is_vectorised(a) ? run_loss<T, kVector<T>>(a, descending) : run_loss<T, 1>(a, descending);
}

template <class T>
void run_noise(const NoiseLatents& a) {
  const int64_t groups = noise::groups_of(a);
  for (int64_t j = 0; j < a.samples * groups; ++j) {
    noise::is_vectorised(a) ? noise::mix<T, kVector<T>>(a, groups, j) : noise::mix<T, 1>(a, groups, j);
  }
}

template <class T, int V>
void run_motion(const MotionWeights& a, bool descending) {
  using namespace motion;
  const Block block(motion::kThreads, descending);
  const int64_t bands = bands_of(a), cells = a.latent_height * a.latent_width;
  std::vector<float> resized = unwritten(a.samples * a.frames * cells);
  std::vector<Extremes> clips(size_t(a.samples), no_extremes());
  for (int64_t number = 0; number < a.samples * a.frames * bands; ++number) {
    block.phase([&](int thread) {
      include(clips[number / bands / a.frames], read_and_resize<T, V>(a, bands, number, resized.data(), thread));
    });
  }
  for (int64_t latent = 0; latent < a.samples * a.latent_frames; ++latent) {
    const int64_t sample = latent / a.latent_frames;
    for (int64_t cell = 0; cell < cells; ++cell) {
      const float* const clip = resized.data() + sample * a.frames * cells;
      a.weights[latent * cells + cell] = pooled(a, clip, clips[sample], latent % a.latent_frames, cell);
    }
  }
}

template <class T>
void run_motion(const MotionWeights& a, bool descending) {
  motion::is_vectorised(a) ? run_motion<T, kVector<T>>(a, descending) : run_motion<T, 1>(a, descending);
}

char* at(Job& job, DType dtype) {
  char* const data = job.array<char>();
  return data + job.integer() * size_of(dtype);
}

}  // namespace

// order, dtype, samples, channels, cells, loss factor, gradient factor, gradient + offset, prediction + offset, target
// + offset, weights or none. Writes the losses, then the gradients.
void emulate_weighted_loss(Job& job) {
  const bool descending = job.integer();
  WeightedLoss a{};
  a.dtype = job.dtype();
  a.samples = job.integer();
  a.channels = job.integer();
  a.cells = job.integer();
  a.loss_factor = double(job.real());
  a.gradient_factor = job.real();
  a.gradient = at(job, a.dtype);
  a.prediction = at(job, a.dtype);
  a.target = at(job, a.dtype);
  a.weights = job.array<float>();
  std::vector<float> loss = unwritten(a.samples);
  a.loss = loss.data();
  check(a);
  with_type(a.dtype, [&](auto type) { run_loss<decltype(type)>(a, descending); });
  job.write("out.bin", loss.data(), a.samples);
  job.write("gradient.bin", static_cast<const char*>(a.gradient), a.samples * a.channels * a.cells * size_of(a.dtype));
}

// dtype, samples, size, noise stride, noisy + offset, target + offset, latents + offset, noise + offset, sigma. Writes
// noisy, then target.
void emulate_noise_latents(Job& job) {
  NoiseLatents a{};
  a.dtype = job.dtype();
  a.samples = job.integer();
  a.size = job.integer();
  a.noise_stride = job.integer();
  a.noisy = at(job, a.dtype);
  a.target = at(job, a.dtype);
  a.latents = at(job, a.dtype);
  a.noise = at(job, a.dtype);
  a.sigma = job.array<float>();
  check(a);
  with_type(a.dtype, [&](auto type) { run_noise<decltype(type)>(a); });
  const int64_t bytes = a.samples * a.size * size_of(a.dtype);
  job.write("out.bin", static_cast<const char*>(a.noisy), bytes);
  job.write("target.bin", static_cast<const char*>(a.target), bytes);
}

// order, dtype, samples, frames, height, width, latent frames, height, width, the strides of samples, frames, rows and
// components, order, pooling, spatial, flow + offset, confidence or none. Writes the weights.
void emulate_motion_weights(Job& job) {
  const bool descending = job.integer();
  MotionWeights a{};
  a.dtype = job.dtype();
  for (int64_t* field : {&a.samples, &a.frames, &a.height, &a.width, &a.latent_frames, &a.latent_height,
                         &a.latent_width, &a.sample_stride, &a.frame_stride, &a.row_stride, &a.component_stride}) {
    *field = job.integer();
  }
  a.order = MotionOrder(job.integer());
  a.pooling = MotionPooling(job.integer());
  a.spatial = MotionSpatial(job.integer());
  a.flow = at(job, a.dtype);
  a.confidence = job.array<float>();
  const int64_t count = a.samples * a.latent_frames * a.latent_height * a.latent_width;
  std::vector<float> weights = unwritten(count);
  a.weights = weights.data();
  check(a);
  with_type(a.dtype, [&](auto type) { run_motion<decltype(type)>(a, descending); });
  job.write("out.bin", weights.data(), count);
}

}  // namespace motive::cuda::host
