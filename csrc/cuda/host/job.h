// A job of the emulation: words and numbers from a text file, arrays from raw files beside it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "motive/dtype.h"

namespace motive::cuda::host {

// Reads `job.txt` of a folder word by word. An array is a file name; `none` is a null pointer.
class Job {
 public:
  explicit Job(const std::string& folder) : folder_(folder), words_(folder + "/job.txt") {}

  std::string word() {
    std::string w;
    if (!(words_ >> w)) stop("the job ended early");
    return w;
  }
  int64_t integer() { return std::stoll(word()); }
  float real() { return std::stof(word()); }
  DType dtype() { return DType(integer()); }

  // The file's bytes, in a heap block of exactly that size so that the address sanitizer sees every step outside. It
  // lives as long as the job.
  template <class E>
  E* array() {
    const std::string name = word();
    if (name == "none") return nullptr;
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    if (!file) stop("cannot read " + name);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
    void* block = nullptr;
    if (posix_memalign(&block, 16, bytes.size())) stop("out of memory");
    blocks_.emplace_back(block, &std::free);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(block));
    return static_cast<E*>(block);
  }

  template <class E>
  void write(const std::string& name, const E* data, int64_t count) {
    std::ofstream file(folder_ + "/" + name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(data), count * int64_t(sizeof(E)));
  }

  [[noreturn]] static void stop(const std::string& why) {
    std::cerr << "emulate: " << why << "\n";
    std::exit(2);
  }

 private:
  std::string folder_;
  std::ifstream words_;
  std::vector<std::unique_ptr<void, decltype(&std::free)>> blocks_;
};

}  // namespace motive::cuda::host
