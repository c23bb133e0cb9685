// Fibers and orderings as ThreadSanitizer and AddressSanitizer need them announced; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(MOTIVE_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_set_fiber_name(void* fiber, const char* name);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
void __tsan_java_init(unsigned long begin, unsigned long size);
void __tsan_java_alloc(unsigned long address, unsigned long size);
void __tsan_java_free(unsigned long address, unsigned long size);
}
#elif defined(MOTIVE_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_cpu::sanitizer {

// What a sanitizer knows of one fiber.
struct Fiber {
  void* thread = nullptr;
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  size_t stack_size = 0;
};

inline void create(Fiber& fiber, [[maybe_unused]] const char* name, const void* stack, size_t size) {
  fiber.stack = stack;
  fiber.stack_size = size;
#if defined(MOTIVE_THREAD_SANITIZER)
  fiber.thread = __tsan_create_fiber(0);
  __tsan_set_fiber_name(fiber.thread, name);
#endif
}

inline void destroy([[maybe_unused]] Fiber& fiber) {
#if defined(MOTIVE_THREAD_SANITIZER)
  if (fiber.thread) __tsan_destroy_fiber(fiber.thread);
#endif
}

// The fiber that the program started with.
inline void adopt([[maybe_unused]] Fiber& fiber) {
#if defined(MOTIVE_THREAD_SANITIZER)
  fiber.thread = __tsan_get_current_fiber();
#endif
}

// Before and after a switch of stacks. A switch orders nothing.
inline void leave([[maybe_unused]] Fiber& from, [[maybe_unused]] const Fiber& to) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_switch_to_fiber(to.thread, 1);
#elif defined(MOTIVE_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_size);
#endif
}

inline void enter([[maybe_unused]] Fiber& fiber, [[maybe_unused]] Fiber& previous) {
#if defined(MOTIVE_ADDRESS_SANITIZER)
  const void* stack;
  size_t size;
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &stack, &size);
  previous.stack = stack;
  previous.stack_size = size;
#endif
}

// Accesses count as this fiber's from now on; the stack stays.
inline void borrow([[maybe_unused]] const Fiber& fiber) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_switch_to_fiber(fiber.thread, 1);
#endif
}

// What happened before `release` by one thread happened before what follows `acquire` by another.
inline void release([[maybe_unused]] void* point) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_release(point);
#endif
}

inline void acquire([[maybe_unused]] void* point) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_acquire(point);
#endif
}

// Accesses made on behalf of a fiber by code that is not instrumented.
inline void note_read([[maybe_unused]] const void* address, [[maybe_unused]] size_t bytes) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_read_range(const_cast<void*>(address), bytes);
#endif
}

inline void note_write([[maybe_unused]] void* address, [[maybe_unused]] size_t bytes) {
#if defined(MOTIVE_THREAD_SANITIZER)
  __tsan_write_range(address, bytes);
#endif
}

// All accesses to some memory so far, as if it were new. (The functions for Java's heap are the public way.)
inline void forget([[maybe_unused]] void* address, [[maybe_unused]] size_t bytes) {
#if defined(MOTIVE_THREAD_SANITIZER)
  static const bool ready = (__tsan_java_init(8, 1ul << 46), true);
  const unsigned long begin = reinterpret_cast<unsigned long>(address) / 8 * 8, size = (bytes + 15) / 8 * 8;
  if (bytes == 0 || !ready) return;
  __tsan_java_free(begin, size);
  __tsan_java_alloc(begin, size);
#endif
}

}  // namespace cuda_on_cpu::sanitizer
