// Motion weights.
#include <algorithm>

#include "driver.h"
#include "motive/cuda/motion_weights.h"
#include "motive/motion_weights.h"

namespace motive::driver {
namespace {

struct Choice {
  MotionOrder order;
  MotionPooling pooling;
  MotionSpatial spatial;
};

constexpr Choice kChoices[] = {
    {MotionOrder::normalise_first, MotionPooling::causal_mean, MotionSpatial::bilinear},
    {MotionOrder::normalise_first, MotionPooling::causal_max, MotionSpatial::area},
    {MotionOrder::resize_first, MotionPooling::stride, MotionSpatial::bilinear},
    {MotionOrder::resize_first, MotionPooling::trilinear, MotionSpatial::area},
};

// Clips in an array, by the strides of MotionWeights, and where the first number lies.
struct Clips {
  MotionWeights sizes;
  Typed flow;
  std::vector<float> confidence;
  int64_t skip;
};

Clips clips(DType dtype, int64_t n, int64_t t, int64_t h, int64_t w, bool confident) {
  Clips c{{}, {}, {}, 0};
  c.sizes.samples = n;
  c.sizes.frames = t;
  c.sizes.height = h;
  c.sizes.width = w;
  c.sizes.sample_stride = 2 * t * h * w;
  c.sizes.frame_stride = 2 * h * w;
  c.sizes.row_stride = 2 * w;
  c.sizes.component_stride = 1;
  std::vector<float> flow = numbers(2 * n * t * h * w, 1);
  for (float& value : flow) value *= 12.f;
  c.flow = typed(dtype, flow);
  if (confident) {
    c.confidence = numbers(n * t * h * w, 2);
    for (float& value : c.confidence) value += 0.5f;
  }
  return c;
}

// A sample of an axis resized by half-pixel centres, between two of the original.
double between(int64_t index, int64_t from, int64_t to, int64_t& low, int64_t& high) {
  const double at = std::max((double(index) + 0.5) * double(from) / double(to) - 0.5, 0.);
  low = std::min(int64_t(at), from - 1);
  high = std::min(low + 1, from - 1);
  return at - double(low);
}

// Magnitudes of one frame on the latent grid.
std::vector<double> resized(const std::vector<double>& m, const MotionWeights& a, MotionSpatial spatial) {
  std::vector<double> result;
  for (int64_t i = 0; i < a.latent_height; ++i) {
    for (int64_t j = 0; j < a.latent_width; ++j) {
      if (spatial == MotionSpatial::bilinear) {
        int64_t top, bottom, left, right;
        const double v = between(i, a.height, a.latent_height, top, bottom);
        const double u = between(j, a.width, a.latent_width, left, right);
        const auto at = [&](int64_t y, int64_t x) { return m[size_t(y * a.width + x)]; };
        result.push_back((1 - v) * ((1 - u) * at(top, left) + u * at(top, right)) +
                         v * ((1 - u) * at(bottom, left) + u * at(bottom, right)));
        continue;
      }
      const int64_t top = i * a.height / a.latent_height, left = j * a.width / a.latent_width;
      const int64_t bottom = ((i + 1) * a.height + a.latent_height - 1) / a.latent_height;
      const int64_t right = ((j + 1) * a.width + a.latent_width - 1) / a.latent_width;
      double total = 0.;
      for (int64_t y = top; y < bottom; ++y) {
        for (int64_t x = left; x < right; ++x) total += m[size_t(y * a.width + x)];
      }
      result.push_back(total / double((bottom - top) * (right - left)));
    }
  }
  return result;
}

// The weights of one clip from its frames of normalised magnitudes on the grid, pooled in time.
void pool(const std::vector<std::vector<double>>& frames, const MotionWeights& a, MotionPooling pooling,
          std::vector<double>& out) {
  for (int64_t f = 0; f < a.latent_frames; ++f) {
    for (int64_t cell = 0; cell < a.latent_height * a.latent_width; ++cell) {
      const auto at = [&](int64_t t) { return frames[size_t(t)][size_t(cell)]; };
      double value = at(0);
      if (pooling == MotionPooling::trilinear) {
        int64_t low, high;
        const double weight = between(f, a.frames, a.latent_frames, low, high);
        value = (1 - weight) * at(low) + weight * at(high);
      } else if (f > 0) {
        const int64_t group = (a.frames - 1) / (a.latent_frames - 1), last = f * group;
        double sum = 0., most = 0.;
        for (int64_t t = last - group + 1; t <= last; ++t) {
          sum += at(t);
          most = std::max(most, at(t));
        }
        value = pooling == MotionPooling::causal_mean  ? sum / double(group)
                : pooling == MotionPooling::causal_max ? most
                                                       : at(last);
      }
      out.push_back(std::min(std::max(value, 0.), 1.));
    }
  }
}

std::vector<double> definition(const Clips& c, const MotionWeights& a) {
  std::vector<double> result;
  for (int64_t s = 0; s < a.samples; ++s) {
    double low = std::numeric_limits<double>::infinity(), high = 0.;
    std::vector<std::vector<double>> frames;
    for (int64_t t = 0; t < a.frames; ++t) {
      std::vector<double> m;
      for (int64_t j = 0; j < a.height * a.width; ++j) {
        const int64_t x = j % a.width, across = a.component_stride == 1 ? 2 * x : x;
        const float* const dx = c.flow.values.data() + c.skip + s * a.sample_stride + t * a.frame_stride +
                                j / a.width * a.row_stride + across;
        const double factor =
            c.confidence.empty() ? 1. : c.confidence[size_t((s * a.frames + t) * a.height * a.width + j)];
        m.push_back(factor * std::hypot(double(dx[0]), double(dx[a.component_stride])));
      }
      const std::vector<double> cells = resized(m, a, a.spatial);
      for (const double value : a.order == MotionOrder::normalise_first ? m : cells) {
        low = std::min(low, value);
        high = std::max(high, value);
      }
      frames.push_back(cells);
    }
    for (auto& frame : frames) {
      for (double& value : frame) value = (value - low) / (high - low + 1e-6);
    }
    pool(frames, a, a.pooling, result);
  }
  return result;
}

// The weights on the device. `cpu` becomes those of the CPU library.
std::vector<float> weights(const Clips& c, const int64_t (&grid)[3], const Choice& choice, MotionWeights& a,
                           std::vector<float>& cpu) {
  a = c.sizes;
  a.latent_frames = grid[0];
  a.latent_height = grid[1];
  a.latent_width = grid[2];
  a.order = choice.order;
  a.pooling = choice.pooling;
  a.spatial = choice.spatial;
  a.dtype = c.flow.dtype;
  a.threads = 1;
  cpu = unwritten(a.samples * grid[0] * grid[1] * grid[2]);
  a.weights = cpu.data();
  a.flow = c.flow.bytes.data() + c.skip * size_of(a.dtype);
  a.confidence = c.confidence.empty() ? nullptr : c.confidence.data();
  motive::cpu::motion_weights(a);
  const OnDevice<unsigned char> flow(c.flow.bytes);
  const OnDevice<float> confidence(c.confidence), out(unwritten(int64_t(cpu.size())));
  MotionWeights on = a;
  on.weights = out.get();
  on.flow = flow.get() + c.skip * size_of(a.dtype);
  on.confidence = c.confidence.empty() ? nullptr : confidence.get();
  const OnDevice<float> workspace(unwritten(cuda::motion_weights_workspace(on)));
  cuda::motion_weights(on, workspace.get(), nullptr);
  return out.read();
}

void compare(const Clips& c, const int64_t (&grid)[3], const Choice& choice) {
  MotionWeights a;
  std::vector<float> cpu;
  const std::vector<float> found = weights(c, grid, choice, a, cpu);
  const std::vector<double> wanted = definition(c, a);
  // Means of many pixels differ little, so that normalising them afterwards magnifies their rounding.
  const bool magnified = choice.order == MotionOrder::resize_first && choice.spatial == MotionSpatial::area;
  const double tolerance = magnified ? 5e-4 : 2e-5;
  for (size_t j = 0; j < found.size(); ++j) {
    check(std::abs(found[j] - wanted[j]) <= tolerance, "cell " + std::to_string(j) + " against the definition");
    check(std::abs(found[j] - cpu[j]) <= tolerance, "cell " + std::to_string(j) + " against the CPU library");
  }
}

void grids_and_types() {
  struct Shape {
    int64_t t, h, w, grid[3];
  };
  const Shape shapes[] = {{9, 24, 40, {3, 6, 10}}, {5, 13, 7, {3, 5, 9}}, {1, 150, 128, {1, 3, 4}}};
  for (const Choice& choice : kChoices) {
    for (const DType dtype : kTypes) {
      for (const bool confident : {false, true}) {
        for (const Shape& s : shapes) {
          begin_case(std::string("motion ") + name_of(dtype) + " " + join({s.t, s.h, s.w}) +
                     (confident ? " with confidence" : ""));
          compare(clips(dtype, s.t == 1 ? 2 : 1, s.t, s.h, s.w, confident), s.grid, choice);
        }
      }
    }
  }
}

void strides() {
  begin_case("components as planes");
  Clips planes = clips(DType::float32, 2, 5, 12, 16, false);
  planes.sizes.sample_stride = 2 * 5 * 12 * 16;
  planes.sizes.component_stride = 5 * 12 * 16;
  planes.sizes.frame_stride = 12 * 16;
  planes.sizes.row_stride = 16;
  compare(planes, {3, 4, 5}, kChoices[0]);
  begin_case("a window of larger frames");
  Clips window = clips(DType::float32, 2, 5, 20, 32, false);
  window.sizes.height = 12;
  window.sizes.width = 16;
  window.skip = 2 * (3 * 32 + 5);
  compare(window, {3, 4, 5}, kChoices[0]);
}

// Uniform motion has weight zero, exactly; a number that is not finite spoils its own clip alone, whatever its sign.
void special_clips() {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  constexpr int64_t frame = 2 * 40 * 64, clip = 5 * frame, grid[3] = {3, 5, 8}, cells = 3 * 5 * 8;
  for (const Choice& choice : kChoices) {
    begin_case("uniform motion and numbers that are not finite");
    Clips c = clips(DType::float32, 5, 5, 40, 64, false);
    std::vector<float> flow = c.flow.values;
    for (int64_t j = clip; j < 2 * clip; ++j) flow[size_t(j)] = j % 2 ? -1.7f : 0.3f;
    flow[size_t(2 * clip + 3 * frame + 2 * (7 * 64 + 9))] = nan;
    flow[size_t(3 * clip + frame + 2 * (64 + 1) + 1)] = -inf;
    flow[size_t(4 * clip + 2 * (39 * 64 + 63))] = -nan;
    c.flow = typed(DType::float32, flow);
    MotionWeights a;
    std::vector<float> cpu;
    const std::vector<float> found = weights(c, grid, choice, a, cpu);
    for (int64_t j = 0; j < 5 * cells; ++j) {
      const float value = found[size_t(j)];
      if (j / cells == 1) check(value == 0.f, "uniform motion has a weight");
      check(std::isnan(value) == (j / cells > 1), "clip " + std::to_string(j / cells) + " is NaN where it should not");
    }
  }
}

const Op op("motion_weights", [] {
  grids_and_types();
  strides();
  special_clips();
});

}  // namespace
}  // namespace motive::driver
