// The current device, for callers that do not include the CUDA toolkit's headers.
#pragma once

namespace motive::cuda {

// Makes a device current for as long as it lives. Throws std::runtime_error if the device cannot be used.
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
