// Launch checks shared by the launchers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "motive/check.h"
#include "motive/cuda/device.h"

namespace motive::cuda {

constexpr int64_t kMaxGrid = 2147483647;
constexpr int64_t kMaxDefaultShared = 48 * 1024;

inline void check_cuda(const char* where, const char* what, cudaError_t error) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(where) + ": " + what + " must succeed, got CUDA error " +
                             cudaGetErrorName(error) + " (" + cudaGetErrorString(error) +
                             "); check that this GPU is supported and its earlier work finished");
  }
}

#if defined(CUDART_VERSION) && CUDART_VERSION < 12010
#error "motive needs CUDA 12.1 or newer: kernel parameters above 4 KB (tensor_sketch's list of tensors)"
#endif

// Allows a kernel more than 48 KiB of shared memory, up to what a block of this device may have.
template <class Kernel>
void allow_shared(const char* where, Kernel* kernel, int64_t bytes) {
  const int64_t limit = shared_limit();
  if (bytes > limit) {
    throw std::runtime_error(std::string(where) + ": this GPU gives a block " + std::to_string(limit) +
                             " bytes of shared memory, and these sizes need " + std::to_string(bytes) +
                             "; use a smaller dim or tile, or another implementation");
  }
  check_cuda(where, "cudaFuncSetAttribute",
             cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
}

// Throws where the driver is too old for kernel parameters above 4 KB.
inline void require_large_parameters(const char* where) {
  const int version = driver_version();
  if (version >= 12010) return;
  throw std::runtime_error(std::string(where) + ": the driver must support CUDA 12.1 (driver 530 or newer), got CUDA " +
                           std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10) +
                           "; update the driver");
}

// The block's dynamic shared memory. A function, because a C++ compiler knows no extern __shared__: csrc/cuda_on_cpu
// has its own for the kernels that it runs.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(MOTIVE_CUDA_ON_CPU)
  return static_cast<T*>(cuda_on_cpu::dynamic_shared());
#else
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
#endif
}

// Launches a kernel whose arguments fit, with more than 48 KiB of shared memory where it needs that.
template <class... Parameters, class... Arguments>
void launch(const char* where, void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  if (blocks < 1) return;
  if (blocks > kMaxGrid) {
    fail(where, "samples", "few enough for 2^31 - 1 blocks", std::to_string(blocks) + " blocks", "split the batch");
  }
  if constexpr ((sizeof(Parameters) + ... + 0) > 4096) require_large_parameters(where);
  if (shared_bytes > kMaxDefaultShared) allow_shared(where, kernel, shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = size_t(shared_bytes);
  config.stream = stream;
  check_cuda(where, "the kernel launch", cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace motive::cuda
