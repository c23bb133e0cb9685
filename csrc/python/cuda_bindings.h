// What every binding of the CUDA module uses besides bindings.h.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "bindings.h"

namespace motive::python {

// Makes a device current for as long as it lives.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&previous_));
    changed_ = previous_ != device;
    if (changed_) check(cudaSetDevice(device));
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  static void check(cudaError_t error) {
    if (error != cudaSuccess) {
      throw std::runtime_error(std::string("motive_kernels: the device must be usable, got CUDA error ") +
                               cudaGetErrorString(error) + "; check the driver with nvidia-smi");
    }
  }

  int previous_ = 0;
  bool changed_ = false;
};

}  // namespace motive::python
