// Materialized route of the balanced tensor sketch.
#include <memory>

#include "driver.h"
#include "motive/cuda/tensor_sketch.h"
#include "motive/tensor_sketch.h"

namespace motive::driver {
namespace {

// One gradient: where its elements lie in an array, and its place in the list.
struct Layer {
  int64_t rows, columns, sample_stride, row_stride, skip;
  float scale;
};

struct Loaded {
  Loaded(const Typed& whole, const Layer& layer, int64_t dim)
      : tables(layer.rows, layer.columns, dim),
        grad(whole.bytes),
        row_table(tables.row_entries),
        column_table(tables.column_entries) {}
  Tables tables;
  OnDevice<unsigned char> grad;
  OnDevice<int32_t> row_table, column_table;
};

// Returns the squared norm of the gradient.
double add_definition(double* z, int64_t dim, const Typed& whole, const Layer& layer, const Tables& tables,
                      int64_t sample) {
  double square = 0.;
  for (int64_t a = 0; a < layer.rows; ++a) {
    const float* const row = whole.values.data() + layer.skip + sample * layer.sample_stride + a * layer.row_stride;
    for (int64_t b = 0; b < layer.columns; ++b) {
      tables.add(z, dim, size_t(a), size_t(b), layer.scale * double(row[b]));
      square += std::pow(layer.scale * double(row[b]), 2);
    }
  }
  return square;
}

void add_cpu(std::vector<float>& z, const Typed& whole, const Layer& layer, const Tables& tables, int64_t samples) {
  TensorSketch a{};
  a.z = z.data();
  a.grad = whole.bytes.data() + layer.skip * size_of(whole.dtype);
  a.dtype = whole.dtype;
  a.samples = samples;
  a.rows = layer.rows;
  a.columns = layer.columns;
  a.dim = int64_t(z.size()) / samples;
  a.sample_stride = layer.sample_stride;
  a.row_stride = layer.row_stride;
  a.row_table = tables.row_entries.data();
  a.column_table = tables.column_entries.data();
  a.scale = layer.scale;
  a.threads = 1;
  cpu::tensor_sketch_into(a);
}

// The sketch of a list of gradients, each in a separate array; checks it and returns it.
std::vector<float> sketch(int64_t samples, int64_t dim, const std::vector<Typed>& arrays,
                          const std::vector<Layer>& layers, bool finite = true) {
  const std::vector<float> before = numbers(samples * dim, 99);
  std::vector<double> wanted(before.begin(), before.end());
  std::vector<float> on_cpu = before;
  double terms = 0.;
  std::vector<std::unique_ptr<Loaded>> loaded;
  std::vector<cuda::SketchTensor> tensors;
  for (size_t j = 0; j < layers.size(); ++j) {
    const Layer& l = layers[j];
    loaded.push_back(std::make_unique<Loaded>(arrays[j], l, dim));
    const Loaded& on = *loaded.back();
    tensors.push_back({on.grad.get() + l.skip * size_of(arrays[j].dtype), l.rows, l.columns, l.sample_stride,
                       l.row_stride, on.row_table.get(), on.column_table.get(), l.scale});
    for (int64_t s = 0; s < samples; ++s) {
      terms += add_definition(wanted.data() + s * dim, dim, arrays[j], l, loaded.back()->tables, s);
    }
    add_cpu(on_cpu, arrays[j], l, loaded.back()->tables, samples);
  }
  const OnDevice<float> z(before);
  const cuda::TensorSketch args{z.get(), arrays[0].dtype, samples, dim, tensors.data(), int64_t(tensors.size())};
  const OnDevice<float> workspace(unwritten(cuda::tensor_sketch_workspace(args)));
  cuda::tensor_sketch_into(args, workspace.get(), nullptr);
  const std::vector<float> found = z.read();
  if (finite) {
    check_close(found, wanted, 1e-6, "against the definition", std::sqrt(terms));
    check_close(found, {on_cpu.begin(), on_cpu.end()}, 2e-6, "against the CPU library", std::sqrt(terms));
  }
  for (size_t j = 0; j < found.size(); ++j) {
    check(std::isfinite(found[j]) == std::isfinite(wanted[j]), "element " + std::to_string(j) + " is not finite");
  }
  return found;
}

void widths_and_types() {
  // Rows fewer and more than buckets, one and more column chunks, every number of positions a thread, the direct form.
  const int64_t shapes[][4] = {{2, 5, 7, 16},       {1, 40, 48, 16},    {2, 3, 1000, 100},   {1, 600, 24, 512},
                               {1, 70, 2504, 300},  {2, 1100, 64, 512}, {1, 1, 5000, 512},   {1, 9, 17, 1},
                               {1, 20, 1040, 1024}, {1, 30, 40, 2048},  {1, 10, 3000, 2100}, {1, 6, 24, 5000}};
  for (const DType dtype : kTypes) {
    for (const auto& [n, o, i, k] : shapes) {
      begin_case(std::string("materialized ") + name_of(dtype) + " " + join({n, o, i}) + " to " + std::to_string(k));
      sketch(n, k, {typed(dtype, numbers(n * o * i, 1))}, {{o, i, o * i, i, 0, 0.5f}});
    }
  }
}

void strides() {
  begin_case("rows that begin anywhere, every second sample");
  const Typed whole = typed(DType::bfloat16, numbers(3 * 41 * 67, 2));
  sketch(2, 32, {whole}, {{40, 64, 2 * 41 * 67, 67, 67 + 3, 1.f}});
  begin_case("every second row");
  sketch(2, 32, {whole}, {{21, 64, 41 * 67, 2 * 67, 0, 1.f}});
  begin_case("one gradient for all samples");
  sketch(2, 32, {whole}, {{41, 8, 0, 67, 1, 1.f}});
}

void lists() {
  begin_case("more partial vectors than one group of the reduction");
  sketch(1, 512, {typed(DType::float32, numbers(130 * 20000, 3))}, {{130, 20000, 0, 20000, 0, 1.f}});
  begin_case("a list longer than one launch takes, with empty members");
  std::vector<Typed> arrays;
  std::vector<Layer> layers;
  const auto add = [&](int64_t o, int64_t i) {
    arrays.push_back(typed(DType::float32, numbers(2 * o * i, uint32_t(10 + arrays.size()))));
    layers.push_back({o, i, o * i, i, 0, 0.5f + float(o)});
  };
  for (int64_t j = 0; j < 300; ++j) add(1 + j % 7, 3 + j % 11);
  add(0, 5);
  add(4, 0);
  add(33, 70);
  sketch(2, 24, arrays, layers);
}

#if !defined(MOTIVE_CUDA_ON_CPU)  // a minute under ThreadSanitizer
// From 2^28 elements on blocks take twice as many; rows that share their memory make a tensor of that size small.
void many_elements() {
  begin_case("a list of more than 2^28 elements");
  sketch(1, 512, {typed(DType::bfloat16, numbers(65536, 4))}, {{4096, 65536, 0, 0, 0, 1.f}});
}
#endif

void infinities() {
  begin_case("infinities and NaN stay where they belong");
  std::vector<float> values = numbers(2 * 50 * 90, 5);
  values[50 * 90 + 3 * 90 + 4] = std::numeric_limits<float>::quiet_NaN();
  values[50 * 90 + 40 * 90 + 80] = std::numeric_limits<float>::infinity();
  const std::vector<float> z = sketch(2, 32, {typed(DType::float32, values)}, {{50, 90, 50 * 90, 90, 0, 1.f}}, false);
  int broken = 0;
  for (const float value : z) broken += !std::isfinite(value);
  check(broken == 2, "two numbers are not finite");
}

const Op op("tensor_sketch", [] {
  widths_and_types();
  strides();
  lists();
  infinities();
#if !defined(MOTIVE_CUDA_ON_CPU)
  many_elements();
#endif
});

}  // namespace
}  // namespace motive::driver
