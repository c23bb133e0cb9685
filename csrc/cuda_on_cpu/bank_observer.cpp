// Counts shared-memory bank conflicts: the calls that -fsanitize=thread puts before every access of a kernel come here
// instead of to ThreadSanitizer.
//
// Lanes of a warp that run an access for the same time since their last barrier make it together. A device serves 32
// lanes' 4-byte accesses, 16 lanes' 8-byte and 8 lanes' 16-byte accesses at once, as often as two of them need
// different words of one bank.
#if defined(MOTIVE_BANK_OBSERVER)

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "machine_state.h"

namespace cuda_on_cpu {
namespace {

constexpr int kBanks = 32;

struct Access {  // of a warp
  uintptr_t address[kLanes];
  unsigned lanes = 0;
};

// An instruction of a kernel's source. Counts are of warps; `served` are the steps that a device takes, at least
// `least`.
struct Instruction {
  const void* kernel;
  const void* code;
  int bytes;
  bool writes;
  int64_t accesses = 0, served = 0, least = 0;
  int times[kMaxThreads] = {};                             // of each thread since the last barrier
  std::vector<Access> pending[kMaxThreads / kLanes] = {};  // of each warp
};

class Banks : public Observer {
 public:
  Banks() { observe(this); }
  ~Banks() override { print(); }

  void block_begins(const Launch& launch, const void* shared) override {
    kernel_ = launch.kernel;
    dynamic_ = {static_cast<unsigned char*>(const_cast<void*>(shared)), nullptr};
    dynamic_.end = dynamic_.begin + launch.shared_bytes;
    static_ = static_shared();
  }

  void barrier() override {
    for (Instruction* instruction : touched_) {
      for (auto& accesses : instruction->pending) {
        for (const Access& access : accesses) add(*instruction, access);
        accesses.clear();
      }
      std::fill(std::begin(instruction->times), std::end(instruction->times), 0);
    }
    touched_.clear();
  }

  void block_ends() override { barrier(); }

  void access(const void* code, const void* address, int bytes, bool writes) {
    if (!current || !(within(static_, address) || within(dynamic_, address))) return;
    const int number = running().number;
    const uint64_t key = reinterpret_cast<uint64_t>(kernel_) << 32 ^ reinterpret_cast<uint64_t>(code);  // below 2^32
    auto& instruction = instructions_[key];
    if (!instruction) {
      instruction = std::make_unique<Instruction>();
      instruction->kernel = kernel_;
      instruction->code = code;
      instruction->bytes = bytes;
      instruction->writes = writes;
    }
    touched_.insert(instruction.get());
    const int time = instruction->times[number]++;
    std::vector<Access>& accesses = instruction->pending[number / kLanes];
    if (int(accesses.size()) <= time) accesses.resize(size_t(time) + 1);
    accesses[size_t(time)].lanes |= 1u << (number % kLanes);
    accesses[size_t(time)].address[number % kLanes] = reinterpret_cast<uintptr_t>(address);
  }

 private:
  static bool within(const Range& range, const void* address) { return address >= range.begin && address < range.end; }

  void add(Instruction& instruction, const Access& access) {
    const int words = std::max(instruction.bytes / 4, 1), together = kLanes / words;
    ++instruction.accesses;
    for (int first = 0; first < kLanes; first += together) {
      uintptr_t seen[kLanes];
      int count = 0, of_bank[kBanks] = {};
      bool some = false;
      for (int lane = first; lane < first + together; ++lane) {
        if (!(access.lanes >> lane & 1u)) continue;
        some = true;
        for (int w = 0; w < words; ++w) {
          const uintptr_t word = access.address[lane] / 4 + uintptr_t(w);
          if (std::find(seen, seen + count, word) != seen + count) continue;
          seen[count++] = word;
          ++of_bank[word % kBanks];
        }
      }
      instruction.served += *std::max_element(of_bank, of_bank + kBanks);
      instruction.least += some;
    }
  }

  void print() const {
    const char* const path = std::getenv("MOTIVE_BANKS");
    std::FILE* const file = path ? std::fopen(path, "w") : nullptr;
    if (!file) return;
    for (const auto& [key, i] : instructions_) {
      std::fprintf(file, "%p\t%p\t%d\t%s\t%lld\t%lld\t%lld\n", i->kernel, i->code, i->bytes,
                   i->writes ? "write" : "read", static_cast<long long>(i->accesses), static_cast<long long>(i->served),
                   static_cast<long long>(i->least));
    }
    std::fclose(file);
  }

  const void* kernel_ = nullptr;
  Range static_{}, dynamic_{};
  std::unordered_map<uint64_t, std::unique_ptr<Instruction>> instructions_;
  std::set<Instruction*> touched_;
};

Banks banks;

}  // namespace
}  // namespace cuda_on_cpu

#define MOTIVE_ACCESS(name, bytes, writes)                                          \
  extern "C" void __tsan_##name(void* address) {                                    \
    cuda_on_cpu::banks.access(__builtin_return_address(0), address, bytes, writes); \
  }
MOTIVE_ACCESS(read1, 1, false)
MOTIVE_ACCESS(read2, 2, false)
MOTIVE_ACCESS(read4, 4, false)
MOTIVE_ACCESS(read8, 8, false)
MOTIVE_ACCESS(read16, 16, false)
MOTIVE_ACCESS(write1, 1, true)
MOTIVE_ACCESS(write2, 2, true)
MOTIVE_ACCESS(write4, 4, true)
MOTIVE_ACCESS(write8, 8, true)
MOTIVE_ACCESS(write16, 16, true)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
void __tsan_read_range(void*, unsigned long) {}
void __tsan_write_range(void*, unsigned long) {}
unsigned __tsan_atomic32_load(const volatile unsigned* address, int) { return *address; }
int __tsan_atomic32_compare_exchange_strong(volatile unsigned* address, unsigned* expected, unsigned wanted, int, int) {
  const unsigned old = *address;
  if (old == *expected) return *address = wanted, 1;
  return *expected = old, 0;
}
}

#endif
