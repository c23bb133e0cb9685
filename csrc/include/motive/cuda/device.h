// The current device, for callers that do not include the CUDA toolkit's headers.
#pragma once

#include <cstdint>

namespace motive::cuda {

// Version of CUDA that the driver supports (12010 is 12.1), or 0 where there is no driver.
int driver_version();

// Bytes of shared memory that a block of the current device may ask for. Throws std::runtime_error without a device.
int64_t shared_limit();

// Makes a device current for as long as it lives, then the one before, unless that has no context yet: to make it
// current would create one. Throws std::runtime_error if the device cannot be used.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};

}  // namespace motive::cuda
