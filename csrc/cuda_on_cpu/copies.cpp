// Asynchronous copies, made as late as a device may make them.
#include <cstring>
#include <map>

#include "machine_state.h"

namespace cuda_on_cpu {
namespace {

// A phase of an mbarrier.
struct Phases {
  unsigned arrivals = 0, left = 0, parity = 0;
  int64_t bytes_expected = 0;
  std::vector<Copy> copies;
  char points[2];  // of the running phase and the one before it
  sanitizer::Fiber copier;
};
std::map<uint64_t*, Phases> phases;

// Copies run as a separate thread that is ordered after what came before their issue, and nothing else.
void make(const std::vector<Copy>& copies, sanitizer::Fiber& copier, sanitizer::Fiber& me, void* issued, void* done) {
  if (!copier.thread) sanitizer::create(copier, "asynchronous copies", nullptr, 0);
  sanitizer::borrow(copier);
  sanitizer::acquire(issued);
  for (const Copy& copy : copies) {
    sanitizer::note_read(copy.from, copy.bytes);
    sanitizer::note_write(copy.to, copy.bytes + copy.zeros);
    std::memcpy(copy.to, copy.from, copy.bytes);
    std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, copy.zeros);
  }
  sanitizer::release(done);
  sanitizer::borrow(me);
}

Phases& phases_of(uint64_t* barrier, const char* what) {
  const auto found = phases.find(barrier);
  if (found == phases.end()) stop(std::string(what) + " of an mbarrier that was not initialised in this block");
  return found->second;
}

}  // namespace

void copy_async(void* to, const void* from, size_t bytes, size_t zero_fill) {
  Fiber& me = running();
  if (bytes != 4 && bytes != 8 && bytes != 16) stop("cp.async copies 4, 8 or 16 bytes");
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes) stop("cp.async is not aligned");
  if (me.groups.empty()) me.groups.emplace_back();
  sanitizer::release(&me.groups);
  me.groups.back().push_back({to, from, bytes - zero_fill, zero_fill});
}

void commit_copies() {
  Fiber& me = running();
  if (me.groups.empty()) me.groups.emplace_back();
  me.groups.emplace_back();
}

void wait_for_copies(int groups_left) {
  Fiber& me = running();
  while (int(me.groups.size()) > groups_left + 1) {
    make(me.groups.front(), me.copier, me.known, &me.groups, &me.copier);
    me.groups.erase(me.groups.begin());
  }
  sanitizer::acquire(&me.copier);
}

void init_phases(uint64_t* barrier, unsigned arrivals) { phases[barrier].arrivals = phases[barrier].left = arrivals; }

uint64_t arrive(uint64_t* barrier, unsigned expected_bytes) {
  Phases& p = phases_of(barrier, "an arrival");
  if (p.left == 0) stop("more arrivals at an mbarrier than it was initialised for");
  sanitizer::release(&p.points[p.parity]);
  p.bytes_expected += expected_bytes;
  --p.left;
  return p.parity;
}

void copy_bulk(void* to, const void* from, size_t bytes, uint64_t* barrier) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) | bytes) % 16) {
    stop("cp.async.bulk needs addresses and sizes that are multiples of 16");
  }
  Phases& p = phases_of(barrier, "a copy");
  sanitizer::release(&p.copies);
  p.copies.push_back({to, from, bytes, 0});
  p.bytes_expected -= int64_t(bytes);
}

void wait_for_phase(uint64_t* barrier, unsigned parity, Place place) {
  Fiber& me = running();
  Phases& p = phases_of(barrier, "a wait");
  if (p.parity == parity) {
    me.barrier = barrier;
    wait(State::at_phase, place);
  }
  sanitizer::acquire(&p.points[parity]);
}

bool complete_phases() {
  bool some = false;
  for (Fiber* fiber : block_threads()) {
    if (fiber->state != State::at_phase) continue;
    Phases& p = phases_of(fiber->barrier, "a wait");
    if (p.left != 0 || p.bytes_expected != 0) continue;
    make(p.copies, p.copier, scheduler_fiber(), &p.copies, &p.points[p.parity]);
    p.copies.clear();
    p.left = p.arrivals;
    p.parity ^= 1;
    for (Fiber* waiting : block_threads()) {
      if (waiting->state == State::at_phase && waiting->barrier == fiber->barrier) waiting->state = State::ready;
    }
    some = true;
  }
  return some;
}

void forget_copies() {
  for (auto& [barrier, p] : phases) sanitizer::destroy(p.copier);
  phases.clear();
  for (Fiber* fiber : block_threads()) fiber->groups.clear();
}

void finish_copies() {
  for (Fiber* fiber : block_threads()) {
    for (const auto& group : fiber->groups) {
      make(group, fiber->copier, scheduler_fiber(), &fiber->groups, &fiber->copier);
    }
  }
  for (auto& [barrier, p] : phases) make(p.copies, p.copier, scheduler_fiber(), &p.copies, &p.points[p.parity]);
}

}  // namespace cuda_on_cpu
