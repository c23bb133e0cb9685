// State shared by the parts of the machine: its threads and how they wait.
#pragma once

#include <ucontext.h>

#include <string>
#include <vector>

#include "machine.h"
#include "sanitizer.h"

namespace cuda_on_cpu {

constexpr int kLanes = 32, kMaxThreads = 1024;

// Ends the program: a kernel did what a device does not allow, or would hang.
[[noreturn]] void stop(const std::string& why);

enum class State { ready, at_block_barrier, at_warp_operation, at_phase, finished };

struct Copy {
  void* to;
  const void* from;
  size_t bytes, zeros;  // zeros follow the bytes
};

// A thread of a block with its stack, reused from block to block.
struct Fiber : Thread {
  int number = 0;
  State state = State::finished;
  Place place{};
  unsigned mask = 0;                      // lanes of the warp operation that it waits for
  void* point = nullptr;                  // stands for that operation's place in the lanes' order
  uint64_t given = 0;                     // its value for the other lanes
  uint64_t taken[kLanes] = {};            // the lanes' values of its last exchange
  uint64_t* barrier = nullptr;            // the phase that it waits for
  std::vector<std::vector<Copy>> groups;  // of cp.async; the last one is open
  ucontext_t context;
  sanitizer::Fiber known, copier;  // copier: who makes its copies, in the eyes of ThreadSanitizer
};

// The fiber that runs.
Fiber& running();

// Lets other threads run until this one is ready again.
void wait(State state, Place place);

// The running block's threads, and what ThreadSanitizer knows of the scheduler.
std::vector<Fiber*>& block_threads();
sanitizer::Fiber& scheduler_fiber();

// cp.async and mbarrier (copies.cpp): before a block, at its end, and where every thread waits. The last one returns
// whether some thread may continue.
void forget_copies();
void finish_copies();
bool complete_phases();

}  // namespace cuda_on_cpu
