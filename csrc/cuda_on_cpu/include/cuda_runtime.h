// The part of CUDA's runtime header that csrc/cuda uses, for the machine of csrc/cuda_on_cpu: first in the include
// path, it lets a C++ compiler take the .cu files as they are. __CUDACC__ and __CUDA_ARCH__ stay undefined, so the
// headers of csrc/cuda show the branches that they have for the host.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "machine.h"

#define MOTIVE_CUDA_ON_CPU 1
#define CUDART_VERSION 13000

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static  // csrc/cuda_on_cpu/shared_memory.ld collects them

namespace cuda_on_cpu {

// One coordinate of the running thread, read where it is used.
template <Index Thread::* Of, unsigned Index::* Axis>
struct Coordinate {
  operator unsigned() const { return current->*Of.*Axis; }
};

template <Index Thread::* Of>
struct Coordinates {
  Coordinate<Of, &Index::x> x;
  Coordinate<Of, &Index::y> y;
  Coordinate<Of, &Index::z> z;
};

}  // namespace cuda_on_cpu

constexpr cuda_on_cpu::Coordinates<&cuda_on_cpu::Thread::thread> threadIdx{};
constexpr cuda_on_cpu::Coordinates<&cuda_on_cpu::Thread::block> blockIdx{};
constexpr cuda_on_cpu::Coordinates<&cuda_on_cpu::Thread::block_size> blockDim{};
constexpr cuda_on_cpu::Coordinates<&cuda_on_cpu::Thread::grid_size> gridDim{};

#define MOTIVE_HERE \
  cuda_on_cpu::Place { file, line }

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  cuda_on_cpu::block_barrier(MOTIVE_HERE);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  cuda_on_cpu::warp_barrier(mask, MOTIVE_HERE);
}

inline void __threadfence() { cuda_on_cpu::fence(); }

// Values cross a warp as 64 bits.
namespace cuda_on_cpu {

template <class T>
uint64_t bits_of_value(T value) {
  static_assert(sizeof(T) <= 8, "a warp operation moves at most 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T value_of_bits(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Folds the values of the mask's lanes.
template <class T, class Fold>
T fold_lanes(unsigned mask, T value, Fold fold, Place place) {
  const uint64_t* const values = exchange(mask, bits_of_value(value), place);
  T result{};
  bool first = true;
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1u)) continue;
    const T other = value_of_bits<T>(values[lane]);
    result = first ? other : fold(result, other);
    first = false;
  }
  return result;
}

inline int lane_of(unsigned thread) { return int(thread % 32); }

}  // namespace cuda_on_cpu

#define MOTIVE_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, MOTIVE_PLACE) {
  const uint64_t* const values = cuda_on_cpu::exchange(mask, cuda_on_cpu::bits_of_value(value), MOTIVE_HERE);
  const int lane = cuda_on_cpu::lane_of(threadIdx.x);
  return cuda_on_cpu::value_of_bits<T>(values[lane / width * width + from % width]);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, MOTIVE_PLACE) {
  const uint64_t* const values = cuda_on_cpu::exchange(mask, cuda_on_cpu::bits_of_value(value), MOTIVE_HERE);
  const int lane = cuda_on_cpu::lane_of(threadIdx.x), from = lane ^ bits;
  return cuda_on_cpu::value_of_bits<T>(values[from / width == lane / width ? from : lane]);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, MOTIVE_PLACE) {
  const uint64_t* const values = cuda_on_cpu::exchange(mask, cuda_on_cpu::bits_of_value(value), MOTIVE_HERE);
  const int lane = cuda_on_cpu::lane_of(threadIdx.x), from = lane + int(by);
  return cuda_on_cpu::value_of_bits<T>(values[from / width == lane / width ? from : lane]);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, MOTIVE_PLACE) {
  const uint64_t* const values = cuda_on_cpu::exchange(mask, cuda_on_cpu::bits_of_value(value), MOTIVE_HERE);
  const int lane = cuda_on_cpu::lane_of(threadIdx.x), from = lane - int(by);
  return cuda_on_cpu::value_of_bits<T>(values[from >= lane / width * width ? from : lane]);
}

template <class T>
unsigned __match_any_sync(unsigned mask, T value, MOTIVE_PLACE) {
  const uint64_t mine = cuda_on_cpu::bits_of_value(value);
  const uint64_t* const values = cuda_on_cpu::exchange(mask, mine, MOTIVE_HERE);
  unsigned same = 0;
  for (int lane = 0; lane < 32; ++lane) same |= unsigned((mask >> lane & 1u) && values[lane] == mine) << lane;
  return same;
}

inline unsigned __ballot_sync(unsigned mask, int predicate, MOTIVE_PLACE) {
  const uint64_t* const values = cuda_on_cpu::exchange(mask, predicate != 0, MOTIVE_HERE);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane) result |= unsigned((mask >> lane & 1u) && values[lane]) << lane;
  return result;
}

inline int __any_sync(unsigned mask, int predicate, MOTIVE_PLACE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, MOTIVE_PLACE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

template <class T>
T __reduce_max_sync(unsigned mask, T value, MOTIVE_PLACE) {
  return cuda_on_cpu::fold_lanes(mask, value, [](T a, T b) { return a > b ? a : b; }, MOTIVE_HERE);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, MOTIVE_PLACE) {
  return cuda_on_cpu::fold_lanes(mask, value, [](T a, T b) { return a < b ? a : b; }, MOTIVE_HERE);
}
template <class T>
T __reduce_add_sync(unsigned mask, T value, MOTIVE_PLACE) {
  return cuda_on_cpu::fold_lanes(mask, value, [](T a, T b) { return T(a + b); }, MOTIVE_HERE);
}

// Atomics are relaxed, as on a device: they order nothing else.
template <class T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

template <class T>
T atomicExch(T* address, T value) {
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}

template <class T>
T atomicCAS(T* address, T expected, T wanted) {
  __atomic_compare_exchange_n(address, &expected, wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

template <class T>
T atomicMax(T* address, T value) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

template <class T>
T atomicMin(T* address, T value) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }

// Host side: memory of the device is memory, streams are in order, and a launch has ended when it returns.
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0, cudaDriverEntryPointSymbolNotFound = 1 };
enum { cudaEnableDefault = 0 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
using cudaStream_t = void*;
struct cudaLaunchAttribute {};

struct dim3 : cuda_on_cpu::Index {
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : cuda_on_cpu::Index{a, b, c} {}
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

inline const char* cudaGetErrorName(cudaError_t error) { return error == cudaSuccess ? "cudaSuccess" : "cudaError"; }
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "refused by csrc/cuda_on_cpu";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
inline cudaError_t cudaGetDriverEntryPointByVersion(const char*, void**, unsigned int, unsigned long long,
                                                    cudaDriverEntryPointQueryResult* status) {
  return *status = cudaDriverEntryPointSymbolNotFound, cudaSuccess;  // there is no driver
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaFree(void* address) { return std::free(address), cudaSuccess; }

// Blocks of exactly the size asked for, so that AddressSanitizer sees a step outside.
inline cudaError_t cudaMalloc(void** address, size_t bytes) {
  return posix_memalign(address, 256, bytes) ? cudaErrorMemoryAllocation : cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return memcpy(to, from, bytes), cudaSuccess;
}

namespace cuda_on_cpu {

constexpr size_t kSharedBytes = 227 * 1024;  // of a block, where the kernel has asked for them

}  // namespace cuda_on_cpu

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = int(cuda_on_cpu::kSharedBytes), cudaSuccess;
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || size_t(value) > cuda_on_cpu::kSharedBytes) return cudaErrorInvalidValue;
  cuda_on_cpu::shared_limit(reinterpret_cast<const void*>(kernel)) = size_t(value);
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const void* const address = reinterpret_cast<const void*>(kernel);
  const size_t threads = size_t(config->blockDim.x) * config->blockDim.y * config->blockDim.z;
  if (config->dynamicSmemBytes > cuda_on_cpu::shared_limit(address) || threads < 1 || threads > 1024)
    return cudaErrorInvalidValue;
  // As on a device, every thread has its own copy of the arguments.
  cuda_on_cpu::run({address, config->gridDim, config->blockDim, config->dynamicSmemBytes},
                   [&] { kernel(Parameters(arguments)...); });
  return cudaSuccess;
}
