#include "parallel.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace motive::cpu {

void parallel_tasks(int64_t count, int threads, Task task, void* context) {
  if (threads > count) threads = int(count);
  if (threads <= 1) {
    for (int64_t index = 0; index < count; ++index) task(context, index, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  const auto work = [&](int worker) {
    try {
      for (int64_t index = next++; index < count; index = next++) task(context, index, worker);
    } catch (...) {
      next = count;
      const std::lock_guard<std::mutex> hold(error_lock);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(size_t(threads - 1));
  try {
    for (int j = 1; j < threads; ++j) helpers.emplace_back(work, j);
  } catch (const std::system_error&) {
    // The system grants no more threads: the ones that started, or the caller alone, do all the work.
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace motive::cpu
