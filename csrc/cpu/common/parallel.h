// Threads of one call: started for it and joined before it returns, so that fork, exit and other runtimes need no care.
#pragma once

#include <cstdint>
#include <type_traits>

namespace motive::cpu {

using Task = void (*)(void* context, int64_t index, int worker);

// Calls task(context, index, worker) for index = 0 .. count - 1, each once, on at most `threads` threads (the caller is
// one of them). `worker` in 0 .. threads - 1 tells them apart, for scratch memory only: results must not depend on
// which thread runs what, so the split into tasks is the caller's, a constant of the shape. An exception of a task ends
// the call and is rethrown here.
void parallel_tasks(int64_t count, int threads, Task task, void* context);

// How many threads are worth starting for a call that moves or computes `work` bytes or operations, given that
// starting one costs about as much as `grain` of them.
static inline int useful_threads(int threads, int64_t work, int64_t grain) {
  const int64_t most = work / grain + 1;
  return threads < 1 ? 1 : int(threads < most ? threads : most);
}

// parallel_tasks for a lambda: body(index) or body(index, worker).
template <class Body>
void parallel_for(int64_t count, int threads, Body&& body) {
  struct Context {
    Body& body;
  } context{body};
  const Task task = [](void* c, int64_t index, int worker) {
    Body& call = static_cast<Context*>(c)->body;
    if constexpr (std::is_invocable_v<Body&, int64_t, int>) {
      call(index, worker);
    } else {
      (void)worker;
      call(index);
    }
  };
  parallel_tasks(count, threads, task, &context);
}

}  // namespace motive::cpu
