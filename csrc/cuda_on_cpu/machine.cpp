#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "machine_state.h"

namespace cuda_on_cpu {

Thread* current = nullptr;

namespace {

constexpr size_t kStackBytes = 256 * 1024, kGuardBytes = 4096;
constexpr uint32_t kUnwritten = 0x7fffffffu;  // a NaN

// Two sets of fibers take turns, so that two blocks that follow each other are threads of which neither waits for the
// other: blocks of one launch that touch the same memory are a race.
std::vector<std::unique_ptr<Fiber>> sets[2];
std::vector<Fiber*> threads;  // of the block that runs
ucontext_t scheduler;
sanitizer::Fiber scheduler_known;
const std::function<void()>* kernel_body = nullptr;
Observer* observer = nullptr;
bool descending = false;
unsigned char* dynamic_memory = nullptr;
size_t dynamic_bytes = 0;
int barriers_passed = 0;
char launch_begins, launch_ends, fences, barrier_points[2];  // addresses that stand for an order
char warp_points[4096];
int warp_points_used = 0;

void run_kernel_thread() {
  Fiber& me = running();
  sanitizer::enter(me.known, scheduler_known);
  while (true) {
    sanitizer::acquire(&launch_begins);
    (*kernel_body)();
    sanitizer::release(&launch_ends);
    wait(State::finished, {"", 0});
  }
}

std::unique_ptr<Fiber> new_fiber(int number) {
  auto fiber = std::make_unique<Fiber>();
  fiber->number = number;
  void* const memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) stop("no memory for the stacks of a block's threads");
  mprotect(memory, kGuardBytes, PROT_NONE);
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = static_cast<char*>(memory) + kGuardBytes;
  fiber->context.uc_stack.ss_size = kStackBytes;
  makecontext(&fiber->context, run_kernel_thread, 0);
  sanitizer::create(fiber->known, ("thread " + std::to_string(number)).c_str(), fiber->context.uc_stack.ss_sp,
                    kStackBytes);
  return fiber;
}

// Runs a fiber until it waits.
void resume(Fiber& fiber) {
  current = &fiber;
  sanitizer::leave(scheduler_known, fiber.known);
  swapcontext(&scheduler, &fiber.context);
  sanitizer::enter(scheduler_known, fiber.known);
  current = nullptr;
}

std::string name_of(const Fiber& fiber) {
  const Index& t = fiber.thread;
  const Index& b = fiber.block;
  return "thread " + std::to_string(t.x) + " of block " + std::to_string(b.x) + " at " +
         (fiber.state == State::finished ? "its end"
                                         : std::string(fiber.place.file) + ":" + std::to_string(fiber.place.line));
}

bool same_place(const Fiber& a, const Fiber& b) {
  return a.place.line == b.place.line && std::strcmp(a.place.file, b.place.file) == 0;
}

// If every thread that has not ended waits at the block's barrier, all of them pass it.
bool pass_block_barrier() {
  Fiber* first = nullptr;
  for (Fiber* fiber : threads) {
    if (fiber->state == State::finished) continue;
    if (fiber->state != State::at_block_barrier) return false;
    if (!first) first = fiber;
    if (!same_place(*first, *fiber)) {
      stop("threads wait at different barriers: " + name_of(*first) + ", " + name_of(*fiber));
    }
  }
  if (!first) return false;
  ++barriers_passed;
  if (observer) observer->barrier();
  for (Fiber* fiber : threads) {
    if (fiber->state == State::at_block_barrier) fiber->state = State::ready;
  }
  return true;
}

// If all lanes of the mask of `fiber` wait at the same operation, exchange their values and let them continue.
void pass_warp_operation(Fiber& fiber) {
  const int first = fiber.number / kLanes * kLanes;
  uint64_t values[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(fiber.mask >> lane & 1u)) continue;
    if (first + lane >= int(threads.size())) stop("a warp operation names lanes that do not exist: " + name_of(fiber));
    const Fiber& other = *threads[size_t(first + lane)];
    if (other.state == State::finished) stop("a warp operation waits for " + name_of(other) + ": " + name_of(fiber));
    if (other.state != State::at_warp_operation) return;
    if (other.mask != fiber.mask || !same_place(other, fiber)) {
      stop("lanes wait at different warp operations: " + name_of(fiber) + ", " + name_of(other));
    }
    values[lane] = other.given;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(fiber.mask >> lane & 1u)) continue;
    Fiber& other = *threads[size_t(first + lane)];
    std::copy(values, values + kLanes, other.taken);
    other.state = State::ready;
  }
}

// The point of the warp barrier that a lane comes to: that of the lanes which wait there already, or a new one.
void* point_of_lanes(const Fiber& me, unsigned mask) {
  const int first = me.number / kLanes * kLanes;
  for (int lane = first; lane < std::min(first + kLanes, int(threads.size())); ++lane) {
    const Fiber& other = *threads[size_t(lane)];
    if (other.state == State::at_warp_operation && other.mask == mask) return other.point;
  }
  return &warp_points[++warp_points_used % int(sizeof warp_points)];
}

void wait_for_lanes(unsigned mask, uint64_t value, Place place) {
  Fiber& me = running();
  if (!(mask >> (me.number % kLanes) & 1u)) stop("a lane waits for lanes without itself: " + name_of(me));
  me.mask = mask;
  me.given = value;
  me.state = State::at_warp_operation;
  me.place = place;
  pass_warp_operation(me);
  if (me.state != State::ready) wait(State::at_warp_operation, place);
}

// Runs the block's threads in turn until all have ended.
void run_threads() {
  while (true) {
    bool ran = false, ended = true;
    for (size_t j = 0; j < threads.size(); ++j) {
      Fiber& fiber = *threads[descending ? threads.size() - 1 - j : j];
      if (fiber.state == State::ready) {
        resume(fiber);
        ran = true;
      }
      ended = ended && fiber.state == State::finished;
    }
    if (ended) return;
    if (ran) continue;
    if (!pass_block_barrier() && !complete_phases()) {
      std::string waiting = "the block hangs:";
      for (const Fiber* fiber : threads) {
        if (fiber == threads.front() || fiber->state != threads[size_t(fiber->number - 1)]->state) {
          waiting += "\n  " + name_of(*fiber);
        }
      }
      stop(waiting);
    }
  }
}

void fill_unwritten(unsigned char* begin, unsigned char* end) {
  for (; end - begin >= 4; begin += 4) std::memcpy(begin, &kUnwritten, 4);
}

void run_block(const Launch& launch, int64_t number) {
  const size_t count = size_t(launch.block.x) * launch.block.y * launch.block.z;
  auto& set = sets[number % 2];
  while (set.size() < count) set.push_back(new_fiber(int(set.size())));
  threads.clear();
  for (size_t j = 0; j < count; ++j) {
    Fiber& fiber = *set[j];
    const unsigned thread = unsigned(j), block = unsigned(number);
    const Index& b = launch.block;
    const Index& g = launch.grid;
    static_cast<Thread&>(fiber) = {{thread % b.x, thread / b.x % b.y, thread / b.x / b.y},
                                   {block % g.x, block / g.x % g.y, block / g.x / g.y},
                                   b,
                                   g};
    fiber.state = State::ready;
    threads.push_back(&fiber);
  }
  const Range statics = static_shared();
  for (const Range& range : {statics, Range{dynamic_memory, dynamic_memory + dynamic_bytes}}) {
    sanitizer::forget(range.begin, size_t(range.end - range.begin));
    fill_unwritten(range.begin, range.end);
  }
  forget_copies();
  if (observer) observer->block_begins(launch, dynamic_memory);
  run_threads();
  finish_copies();
  if (observer) observer->block_ends();
}

}  // namespace

void stop(const std::string& why) {
  std::fflush(stdout);
  std::fprintf(stderr, "cuda_on_cpu: %s\n", why.c_str());
  std::fflush(stderr);
  std::_Exit(3);
}

Fiber& running() { return *static_cast<Fiber*>(current); }
std::vector<Fiber*>& block_threads() { return threads; }
sanitizer::Fiber& scheduler_fiber() { return scheduler_known; }

void wait(State state, Place place) {
  Fiber& me = running();
  me.state = state;
  me.place = place;
  sanitizer::leave(me.known, scheduler_known);
  swapcontext(&me.context, &scheduler);
  sanitizer::enter(me.known, scheduler_known);
}

void block_barrier(Place place) {
  const int point = barriers_passed % 2;
  sanitizer::release(&barrier_points[point]);
  wait(State::at_block_barrier, place);
  sanitizer::acquire(&barrier_points[point]);
}

void warp_barrier(unsigned mask, Place place) {
  Fiber& me = running();
  me.point = point_of_lanes(me, mask);
  sanitizer::release(me.point);
  wait_for_lanes(mask, 0, place);
  sanitizer::acquire(me.point);
}

const uint64_t* exchange(unsigned mask, uint64_t value, Place place) {
  wait_for_lanes(mask, value, place);
  return running().taken;
}

void fence() {
  sanitizer::release(&fences);
  sanitizer::acquire(&fences);
}

void* dynamic_shared() { return dynamic_memory; }

void run(const Launch& launch, const std::function<void()>& body) {
  const int64_t blocks = int64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  void* memory = nullptr;
  if (launch.shared_bytes && posix_memalign(&memory, 128, launch.shared_bytes)) stop("no memory for shared memory");
  dynamic_memory = static_cast<unsigned char*>(memory);
  dynamic_bytes = launch.shared_bytes;
  kernel_body = &body;
  sanitizer::adopt(scheduler_known);
  sanitizer::release(&launch_begins);
  for (int64_t number = 0; number < blocks; ++number) run_block(launch, number);
  sanitizer::acquire(&launch_ends);
  std::free(memory);
  dynamic_memory = nullptr;
}

size_t& shared_limit(const void* kernel) {
  static std::map<const void*, size_t> limits;
  return limits.emplace(kernel, 48 * 1024).first->second;
}

void set_descending(bool wanted) { descending = wanted; }
void observe(Observer* wanted) { observer = wanted; }

}  // namespace cuda_on_cpu

// Kernels' __shared__ variables lie between them (shared_memory.ld).
extern "C" unsigned char cuda_on_cpu_shared_begin[], cuda_on_cpu_shared_end[];

namespace cuda_on_cpu {

Range static_shared() { return {cuda_on_cpu_shared_begin, cuda_on_cpu_shared_end}; }

}  // namespace cuda_on_cpu
