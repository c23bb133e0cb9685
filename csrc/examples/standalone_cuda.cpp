// The projection from a C++ program on a GPU, without torch or Python: the same gradients on the GPU and on the CPU.
//
//     c++ -std=c++17 -Icsrc/include -I$CUDA_HOME/include -c csrc/examples/standalone_cuda.cpp
//     nvcc -cudart static standalone_cuda.o libmotive_cuda.a libmotive.a -o standalone_cuda
//
// Both archives come from `python csrc/build.py libmotive.a libmotive_cuda.a` (in build/native-<platform>).
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "motive/cuda/tensor_sketch.h"
#include "motive/tables.h"
#include "motive/tensor_sketch.h"

namespace {

constexpr int64_t kSamples = 3, kRows = 1100, kColumns = 720, kDim = 512;

void require(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA says: ") + cudaGetErrorString(error));
}

// Memory of the current device, filled from a vector.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    require(cudaMalloc(&address_, count_ * sizeof(T)));
    require(cudaMemcpy(address_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~OnDevice() { cudaFree(address_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* get() const { return static_cast<T*>(address_); }

  std::vector<T> read() const {
    std::vector<T> values(count_);
    require(cudaMemcpy(values.data(), address_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  void* address_ = nullptr;
  size_t count_;
};

int run() {
  const motive::PhiloxKey key = motive::parameter_key("tensor_sketch", 0, "blocks.0.ffn.weight");
  const auto rows = motive::gather_table(motive::balanced_buckets(key, motive::Role::rows, kRows, kDim), kDim);
  const auto columns = motive::gather_table(motive::balanced_buckets(key, motive::Role::columns, kColumns, kDim), kDim);
  std::vector<float> gradient(kSamples * kRows * kColumns);
  for (size_t j = 0; j < gradient.size(); ++j) gradient[j] = float(j * 2654435761u % 1000) / 1000.f - 0.5f;

  std::vector<float> on_cpu(kSamples * kDim, 0.f);
  motive::TensorSketch cpu{};
  cpu.z = on_cpu.data();
  cpu.grad = gradient.data();
  cpu.dtype = motive::DType::float32;
  cpu.samples = kSamples;
  cpu.rows = kRows;
  cpu.columns = kColumns;
  cpu.dim = kDim;
  cpu.sample_stride = kRows * kColumns;
  cpu.row_stride = kColumns;
  cpu.row_table = rows.data();
  cpu.column_table = columns.data();
  cpu.scale = 1.f;
  cpu.threads = 2;
  motive::cpu::tensor_sketch_into(cpu);

  const OnDevice<float> z(std::vector<float>(kSamples * kDim, 0.f)), values(gradient);
  const OnDevice<int32_t> row_table(rows), column_table(columns);
  const motive::cuda::SketchTensor layer{values.get(), kRows,           kColumns,           kRows * kColumns,
                                         kColumns,     row_table.get(), column_table.get(), 1.f};
  const motive::cuda::TensorSketch gpu{z.get(), motive::DType::float32, kSamples, kDim, &layer, 1};
  const OnDevice<float> workspace(std::vector<float>(size_t(motive::cuda::tensor_sketch_workspace(gpu))));
  motive::cuda::tensor_sketch_into(gpu, workspace.get(), nullptr);
  require(cudaDeviceSynchronize());

  double norm = 0., difference = 0.;
  const std::vector<float> on_gpu = z.read();
  for (size_t j = 0; j < on_cpu.size(); ++j) {
    norm += double(on_cpu[j]) * on_cpu[j];
    difference += std::pow(double(on_gpu[j]) - on_cpu[j], 2);
  }
  std::printf("GPU against CPU %.3g\n", std::sqrt(difference / norm));
  return difference <= 1e-12 * norm ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
}
