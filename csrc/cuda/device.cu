#include "launch.cuh"
#include "motive/cuda/device.h"

namespace motive::cuda {

DeviceGuard::DeviceGuard(int device) {
  check_cuda("motive_kernels", "cudaGetDevice", cudaGetDevice(&previous_));
  changed_ = previous_ != device;
  if (changed_) check_cuda("motive_kernels", "cudaSetDevice", cudaSetDevice(device));
}

DeviceGuard::~DeviceGuard() {
  if (changed_) cudaSetDevice(previous_);
}

}  // namespace motive::cuda
