// A CUDA device on the CPU: blocks run one after the other, and each thread of a block is a fiber that runs until it
// waits at a barrier or a warp operation.
//
// Built with MOTIVE_THREAD_SANITIZER every fiber is a thread to ThreadSanitizer, ordered with the others by barriers
// and nothing else, so a race is reported whether or not it shows in this order of execution. The order itself is fixed
// (`set_descending` reverses it): the same program gives the same reports on any machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace cuda_on_cpu {

struct Index {
  unsigned x = 1, y = 1, z = 1;
};

// What a kernel sees of itself.
struct Thread {
  Index thread, block;
  Index block_size, grid_size;
};
extern Thread* current;

struct Place {
  const char* file;
  int line;
};

// __syncthreads, and __syncwarp of the lanes in `mask`. Threads that wait at different places are an error.
void block_barrier(Place place);
void warp_barrier(unsigned mask, Place place);

// The values of all lanes of `mask`, [32], valid until the thread's next exchange. As on a device it orders no memory.
const uint64_t* exchange(unsigned mask, uint64_t value, Place place);

// __threadfence: orders this thread with every other that calls it.
void fence();

// The block's dynamic shared memory, of exactly the size that the launch asked for.
void* dynamic_shared();

// cp.async: a copy is made when its thread waits for its group, or, without a wait, when the block has ended.
void copy_async(void* to, const void* from, size_t bytes, size_t zero_fill);
void commit_copies();
void wait_for_copies(int groups_left);

// mbarrier and cp.async.bulk: copies are made when the phase's last arrival is in and a thread waits for the phase.
void init_phases(uint64_t* barrier, unsigned arrivals);
uint64_t arrive(uint64_t* barrier, unsigned expected_bytes);
void copy_bulk(void* to, const void* from, size_t bytes, uint64_t* barrier);
void wait_for_phase(uint64_t* barrier, unsigned parity, Place place);

struct Launch {
  const void* kernel;
  Index grid, block;
  size_t shared_bytes;
};

// Runs a kernel's body once for every thread. Ends the program with a message where a device would hang.
void run(const Launch& launch, const std::function<void()>& body);

// Dynamic shared memory that a kernel may be launched with: 48 KiB until cudaFuncSetAttribute says more.
size_t& shared_limit(const void* kernel);

void set_descending(bool descending);

// Counts of shared-memory accesses, in a program that is built with bank_observer.cpp.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void block_begins(const Launch& launch, const void* shared) = 0;
  virtual void barrier() = 0;
  virtual void block_ends() = 0;
};
void observe(Observer* observer);

// Statically allocated shared memory of all kernels.
struct Range {
  unsigned char* begin;
  unsigned char* end;
};
Range static_shared();

}  // namespace cuda_on_cpu
