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

DeviceGuard::~DeviceGuard() {
  if (changed_) cudaSetDevice(previous_);
}

}  // namespace motive::cuda
