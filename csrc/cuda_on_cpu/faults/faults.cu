// Kernels with one fault each: the machine and the sanitizers must tell. `fail NAME` runs one, `fail NAME right` the
// same without its fault.
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <string>
#include <vector>

#if !defined(MOTIVE_CUDA_ON_CPU)
#include <stdexcept>
#endif

namespace {

constexpr int kThreads = 64;

// Each thread takes its neighbour's number.
__global__ void no_barrier(float* out, bool right) {
  __shared__ float values[kThreads];
  const int thread = int(threadIdx.x);
  values[thread] = float(thread);
  if (right) __syncthreads();
  out[thread] = values[(thread + 1) % kThreads];
}

// The same within warps: a shuffle is no barrier for memory.
__global__ void no_warp_barrier(float* out, bool right) {
  __shared__ float values[kThreads];
  const int thread = int(threadIdx.x);
  values[thread] = float(thread);
  if (right) {
    __syncwarp();
  } else {
    __shfl_xor_sync(0xffffffffu, thread, 1);
  }
  out[thread] = values[thread ^ 1];
}

// A number nobody wrote.
__global__ void unwritten(float* out, bool right) {
  __shared__ float values[kThreads];
  const int thread = int(threadIdx.x);
  if (right || thread < kThreads - 1) values[thread] = float(thread);
  __syncthreads();
  out[thread] = values[(thread + 1) % kThreads];
}

// One step beyond the end.
__global__ void out_of_bounds(float* out, bool right) { out[threadIdx.x + (right ? 0 : 1)] = float(threadIdx.x); }

// Two blocks write one number.
__global__ void two_blocks(float* out, bool right) {
  if (threadIdx.x == 0) out[right ? blockIdx.x : 0] = 1.0f;
}

// Half of the block waits elsewhere.
__global__ void two_barriers(float* out, bool right) {
  if (threadIdx.x < kThreads / 2 || right) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

// Half of a warp waits for the other half, which never comes.
__global__ void missing_lanes(float* out, bool right) {
  if (threadIdx.x % 32 < 16 || right) __syncwarp();
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

// Copies that nobody waits for, and a wait for the older of two groups.
__global__ void no_wait(const float* in, float* out, bool right) {
  __shared__ float values[2][kThreads];
  const int thread = int(threadIdx.x);
  for (int group = 0; group < 2; ++group) {
    __pipeline_memcpy_async(&values[group][thread], in + thread, 4);
    __pipeline_commit();
  }
  __pipeline_wait_prior(right ? 0 : 1);
  __syncthreads();
  out[thread] = values[0][thread] + values[1][thread];
}

void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("CUDA says: %s\n", cudaGetErrorString(error));
  std::exit(2);
}

template <class... Parameters, class... Arguments>
std::vector<float> run(void (*kernel)(Parameters...), int blocks, const Arguments&... arguments) {
  std::vector<float> values(kThreads, 0.0f);
  void* memory = nullptr;
  require(cudaMalloc(&memory, kThreads * sizeof(float)));
  require(cudaMemcpy(memory, values.data(), kThreads * sizeof(float), cudaMemcpyHostToDevice));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(kThreads);
  if constexpr (sizeof...(Parameters) == 3) {
    require(cudaLaunchKernelEx(&config, kernel, static_cast<const float*>(memory), static_cast<float*>(memory),
                               arguments...));
  } else {
    require(cudaLaunchKernelEx(&config, kernel, static_cast<float*>(memory), arguments...));
  }
  require(cudaMemcpy(values.data(), memory, kThreads * sizeof(float), cudaMemcpyDeviceToHost));
  require(cudaFree(memory));
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  const bool right = argc > 2;
  const auto one = [&](void (*kernel)(float*, bool)) { return run(kernel, 1, right); };
  std::vector<float> values;
  if (name == "no_barrier") {
    values = one(no_barrier);
  } else if (name == "no_warp_barrier") {
    values = one(no_warp_barrier);
  } else if (name == "unwritten") {
    values = one(unwritten);
  } else if (name == "out_of_bounds") {
    values = one(out_of_bounds);
  } else if (name == "two_blocks") {
    values = run(two_blocks, 2, right);
  } else if (name == "two_barriers") {
    values = one(two_barriers);
  } else if (name == "missing_lanes") {
    values = one(missing_lanes);
  } else if (name == "no_wait") {
    values = run(no_wait, 1, right);
  } else {
    std::printf("unknown fault: %s\n", name.c_str());
    return 2;
  }
  for (const float value : values) {
    if (value != value) {
      std::printf("NaN: a number that nobody wrote\n");
      return 1;
    }
  }
  return 0;
}
