// Factorized route of the balanced tensor sketch.
#include "driver.h"
#include "motive/cuda/outer_sketch.h"
#include "motive/outer_sketch.h"

namespace motive::driver {
namespace {

// A layer's tokens: arrays [samples, tokens, columns], or a part of larger ones.
struct Side {
  Typed whole;
  int64_t columns, sample_stride, token_stride, skip;

  const float* token(int64_t sample, int64_t t) const {
    return whole.values.data() + skip + sample * sample_stride + t * token_stride;
  }
};

struct Layer {
  int64_t samples, tokens, dim;
  Side x, dy;
  std::vector<int64_t> lengths;  // empty: all tokens
};

Side side(DType dtype, int64_t samples, int64_t tokens, int64_t columns, uint32_t stream) {
  return {typed(dtype, numbers(samples * tokens * columns, stream)), columns, tokens * columns, columns, 0};
}

Layer layer(DType dtype, int64_t n, int64_t t, int64_t o, int64_t i, int64_t k) {
  return {n, t, k, side(dtype, n, t, i, 1), side(dtype, n, t, o, 2), {}};
}

int64_t length_of(const Layer& l, int64_t sample) { return l.lengths.empty() ? l.tokens : l.lengths[size_t(sample)]; }

std::vector<double> definition(const Layer& l, const Tables& tables) {
  std::vector<double> z(size_t(l.samples * l.dim), 0.), u(static_cast<size_t>(l.dim));
  for (int64_t s = 0; s < l.samples; ++s) {
    for (int64_t t = 0; t < length_of(l, s); ++t) {
      u.assign(size_t(l.dim), 0.);
      const float* const x = l.x.token(s, t);
      const float* const dy = l.dy.token(s, t);
      for (int64_t b = 0; b < l.x.columns; ++b) {
        u[size_t(tables.column.bucket[size_t(b)])] += tables.column.sign[size_t(b)] * double(x[b]);
      }
      for (int64_t a = 0; a < l.dy.columns; ++a) {
        const double y = tables.row.sign[size_t(a)] * double(dy[a]);
        const int64_t p = tables.row.bucket[size_t(a)];
        for (int64_t q = 0; q < l.dim; ++q) z[size_t(s * l.dim + (p + q) % l.dim)] += y * u[size_t(q)];
      }
    }
  }
  return z;
}

// The root of the sum of the squared norms of all outer products: what an error is measured by where they cancel.
double size_of_terms(const Layer& l) {
  double total = 0.;
  for (int64_t s = 0; s < l.samples; ++s) {
    for (int64_t t = 0; t < length_of(l, s); ++t) {
      double x = 0., dy = 0.;
      for (int64_t b = 0; b < l.x.columns; ++b) x += std::pow(double(l.x.token(s, t)[b]), 2);
      for (int64_t a = 0; a < l.dy.columns; ++a) dy += std::pow(double(l.dy.token(s, t)[a]), 2);
      total += x * dy;
    }
  }
  return std::sqrt(total);
}

std::vector<float> on_device(const Layer& l, const Tables& tables) {
  const OnDevice<unsigned char> x(l.x.whole.bytes), dy(l.dy.whole.bytes);
  const OnDevice<int32_t> rows(tables.row_entries), columns(tables.column_entries);
  const OnDevice<int64_t> lengths(l.lengths);
  const OnDevice<float> z(std::vector<float>(size_t(l.samples * l.dim), 0.f));
  cuda::OuterSketch args{};
  args.z = z.get();
  args.dtype = l.x.whole.dtype;
  args.samples = l.samples;
  args.tokens = l.tokens;
  args.dim = l.dim;
  const auto place = [](const Side& s, const OnDevice<unsigned char>& memory, const OnDevice<int32_t>& table) {
    return cuda::TokenSide{memory.get() + s.skip * size_of(s.whole.dtype), s.columns, s.sample_stride, s.token_stride,
                           table.get()};
  };
  args.x = place(l.x, x, columns);
  args.dy = place(l.dy, dy, rows);
  args.lengths = l.lengths.empty() ? nullptr : lengths.get();
  args.scale = 1.f;
  const OnDevice<float> workspace(unwritten(cuda::outer_sketch_workspace(args)));
  cuda::outer_sketch_into(args, workspace.get(), nullptr);
  return z.read();
}

std::vector<float> on_cpu(const Layer& l, const Tables& tables) {
  std::vector<float> z(size_t(l.samples * l.dim), 0.f);
  OuterSketch a{};
  a.z = z.data();
  a.x = l.x.whole.bytes.data() + l.x.skip * size_of(l.x.whole.dtype);
  a.dy = l.dy.whole.bytes.data() + l.dy.skip * size_of(l.dy.whole.dtype);
  a.dtype = l.x.whole.dtype;
  a.samples = l.samples;
  a.tokens = l.tokens;
  a.rows = l.dy.columns;
  a.columns = l.x.columns;
  a.dim = l.dim;
  a.x_sample_stride = l.x.sample_stride;
  a.x_token_stride = l.x.token_stride;
  a.dy_sample_stride = l.dy.sample_stride;
  a.dy_token_stride = l.dy.token_stride;
  a.row_table = tables.row_entries.data();
  a.column_table = tables.column_entries.data();
  a.lengths = l.lengths.empty() ? nullptr : l.lengths.data();
  a.scale = 1.f;
  a.threads = 1;
  cpu::outer_sketch_into(a);
  return z;
}

Tables tables_of(const Layer& l) { return Tables(l.dy.columns, l.x.columns, l.dim); }

// A layer's sketch, checked against both; errors relative to the terms.
std::vector<float> sketch(const Layer& l, double tolerance = 2e-6) {
  const Tables tables = tables_of(l);
  const std::vector<float> found = on_device(l, tables), cpu = on_cpu(l, tables);
  const double size = size_of_terms(l);
  check_close(found, definition(l, tables), tolerance, "against the definition", size);
  check_close(found, {cpu.begin(), cpu.end()}, 2 * tolerance, "against the CPU library", size);
  return found;
}

void widths_and_types() {
  // Every transform length, folded widths, one and more chunks of columns, steps that are not full, one to three
  // blocks.
  const int64_t shapes[][5] = {{2, 3, 5, 7, 16},       {1, 40, 40, 48, 16},  {1, 9, 600, 2600, 512},
                               {2, 33, 30, 24, 512},   {1, 5, 70, 90, 300},  {1, 6, 17, 300, 256},
                               {1, 5, 64, 2104, 1024}, {1, 3, 64, 64, 2048}, {1, 3, 30, 30, 1500},
                               {1, 4, 20, 4200, 4096}, {1, 1, 1, 1, 1}};
  for (const DType dtype : kTypes) {
    for (const auto& [n, t, o, i, k] : shapes) {
      begin_case(std::string("factorized ") + name_of(dtype) + " " + join({n, t, o, i}) + " to " + std::to_string(k));
      sketch(layer(dtype, n, t, o, i, k));
    }
  }
}

void many_blocks() {
  begin_case("more blocks than one group of the reduction");
  sketch(layer(DType::float32, 1, 1100, 8, 9, 16));
}

void lengths() {
  begin_case("tokens past a sample's length are never read into a result");
  Layer l = layer(DType::float32, 5, 37, 20, 40, 24);
  l.lengths = {0, 1, 36, 37, 32};
  for (int64_t s = 0; s < 5; ++s) {
    for (int64_t t = l.lengths[size_t(s)]; t < 37; ++t) {
      for (Side* part : {&l.x, &l.dy}) {
        float* const token = part->whole.values.data() + s * part->sample_stride + t * part->token_stride;
        const float bad =
            part == &l.x ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
        for (int64_t j = 0; j < part->columns; ++j) token[j] = bad;
      }
    }
  }
  l.x.whole = typed(DType::float32, l.x.whole.values);
  l.dy.whole = typed(DType::float32, l.dy.whole.values);
  const std::vector<float> found = sketch(l);
  for (int64_t b = 0; b < 24; ++b) check(found[size_t(b)] == 0.f, "a sample without tokens is not zero");
}

void strides() {
  begin_case("tokens anywhere, dy of one sample for both");
  const Typed x = typed(DType::bfloat16, numbers(3 * 19 * 70, 3)), dy = typed(DType::bfloat16, numbers(19 * 50, 4));
  sketch({2, 9, 32, {x, 65, 2 * 19 * 70, 2 * 70, 70 + 5}, {dy, 48, 0, 2 * 50, 0}, {}});
}

void batches() {
  begin_case("neither other samples nor padding change a vector");
  Layer l = layer(DType::bfloat16, 3, 50, 24, 40, 64);
  l.lengths = {50, 40, 50};
  const std::vector<float> together = sketch(l);
  Layer one{1, 40, 64, l.x, l.dy, {}};
  one.x.skip = l.x.sample_stride;
  one.dy.skip = l.dy.sample_stride;
  const std::vector<float> alone = sketch(one);
  check(std::equal(alone.begin(), alone.end(), together.begin() + 64), "the vectors differ");
}

// Large constant channels meet gradients that sum to zero over the tokens. float32: 1e-5 of the terms. 16 bits: twice
// the error of a gradient that is accumulated in float32 and rounded once.
void cancellation(DType dtype) {
  begin_case(std::string("cancellation, ") + name_of(dtype));
  constexpr int64_t t = 64, o = 150, i = 200, k = 128;
  std::vector<float> x = numbers(t * i, 5), dy = numbers(t * o, 6);
  for (size_t j = 0; j < x.size(); j += 40) x[j] = 15.f;
  for (int64_t a = 0; a < o; ++a) {
    float mean = 0.f;
    for (int64_t u = 0; u < t; ++u) mean += dy[size_t(u * o + a)] / t;
    for (int64_t u = 0; u < t; ++u) dy[size_t(u * o + a)] -= mean;
  }
  const Layer l{1, t, k, {typed(dtype, x), i, t * i, i, 0}, {typed(dtype, dy), o, t * o, o, 0}, {}};
  const std::vector<float> found = sketch(l, 1e-5);
  if (dtype == DType::float32) return;
  const Tables tables = tables_of(l);
  const std::vector<double> wanted = definition(l, tables);
  std::vector<double> rounded(wanted.size(), 0.);
  for (int64_t a = 0; a < o; ++a) {
    for (int64_t b = 0; b < i; ++b) {
      float sum = 0.f;
      for (int64_t u = 0; u < t; ++u) sum += l.dy.token(0, u)[a] * l.x.token(0, u)[b];
      tables.add(rounded.data(), k, size_t(a), size_t(b), rounded_to(dtype, sum));
    }
  }
  const double once = distance({rounded.begin(), rounded.end()}, wanted), off = distance(found, wanted);
  check(off < 2 * once, "off by " + std::to_string(off) + ", one rounding by " + std::to_string(once));
}

void unlike_magnitudes(float share) {
  begin_case("dy " + std::to_string(share) + " times x, neighbours of unlike magnitudes");
  constexpr int64_t t = 16, o = 40, i = 30;
  std::vector<float> x = numbers(t * i, 7), dy = numbers(t * o, 8);
  for (int64_t u = 0; u < t; ++u) {
    const float swing = std::pow(10.f, float(u * 7 % 16) * 0.4f - 3.f);
    for (int64_t b = 0; b < i; ++b) x[size_t(u * i + b)] *= swing;
    for (int64_t a = 0; a < o; ++a) dy[size_t(u * o + a)] *= share / swing;
  }
  sketch({1, t, 32, {typed(DType::float32, x), i, t * i, i, 0}, {typed(DType::float32, dy), o, t * o, o, 0}, {}}, 1e-6);
}

void bad_samples(float bad) {
  begin_case("a number that is not finite spoils its sample alone");
  Layer l = layer(DType::float32, 2, 9, 24, 40, 32);
  l.x.whole.values[9 * 40 + 3 * 40 + 5] = bad;
  l.x.whole = typed(DType::float32, l.x.whole.values);
  const std::vector<float> found = on_device(l, tables_of(l));
  bool spoilt = false;
  for (size_t j = 0; j < found.size(); ++j) {
    if (j < 32) check(std::isfinite(found[j]), "the other sample is spoilt");
    spoilt = spoilt || !std::isfinite(found[j]);
  }
  check(spoilt, "nothing shows it");
}

const Op op("outer_sketch", [] {
  widths_and_types();
  many_blocks();
  lengths();
  strides();
  batches();
  for (const DType dtype : kTypes) cancellation(dtype);
  unlike_magnitudes(1e-9f);
  unlike_magnitudes(1e9f);
  bad_samples(std::numeric_limits<float>::quiet_NaN());
  bad_samples(std::numeric_limits<float>::infinity());
});

}  // namespace
}  // namespace motive::driver
