#include "launch.cuh"
#include "motive/cuda/device.h"

namespace motive::cuda {

int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

int64_t shared_limit() {
  int device = 0, bytes = 0;
  check_cuda("motive_kernels", "cudaGetDevice", cudaGetDevice(&device));
  check_cuda("motive_kernels", "cudaDeviceGetAttribute",
             cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

DeviceGuard::DeviceGuard(int device) {
  check_cuda("motive_kernels", "cudaGetDevice", cudaGetDevice(&previous_));
  changed_ = previous_ != device;
  if (changed_) check_cuda("motive_kernels", "cudaSetDevice", cudaSetDevice(device));
}

// Whether a device has a primary context. Since CUDA 12 cudaSetDevice makes one, which takes hundreds of megabytes, so
// a device that has none is not made current again. False where the driver cannot say.
static bool has_context(int device) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &found, 7000, cudaEnableDefault, &status);
#else
  const cudaError_t error = cudaGetDriverEntryPoint("cuDevicePrimaryCtxGetState", &found, cudaEnableDefault, &status);
#endif
  if (error != cudaSuccess || status != cudaDriverEntryPointSuccess || found == nullptr) return false;
  unsigned int flags = 0;
  int active = 0;
  const auto get_state = reinterpret_cast<int (*)(int, unsigned int*, int*)>(found);
  return get_state(device, &flags, &active) == 0 && active != 0;
}

DeviceGuard::~DeviceGuard() {
  if (changed_ && has_context(previous_)) cudaSetDevice(previous_);
}

}  // namespace motive::cuda
