// Generator, keys and tables: known answers, and the properties that the kernels rely on.
#include <set>

#include "check.h"
#include "common/md5.h"
#include "motive/dtype.h"
#include "motive/tables.h"

namespace motive::test {
namespace {

void philox_known_answers() {
  // Random123's kat_vectors for philox4x32-10.
  struct Known {
    PhiloxBlock counter;
    PhiloxKey key;
    PhiloxBlock out;
  };
  const Known known[] = {
      {{{0, 0, 0, 0}}, {{0, 0}}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {{0xffffffff, 0xffffffff}},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {{0xa4093822, 0x299f31d0}},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const Known& k : known) {
    const PhiloxBlock out = philox4x32(k.counter, k.key);
    for (int j = 0; j < 4; ++j) check_equal(out.words[j], k.out.words[j], "philox word " + std::to_string(j));
  }
}

std::string hex(const std::array<uint8_t, 16>& digest) {
  std::string text;
  for (const uint8_t byte : digest) {
    const char* digits = "0123456789abcdef";
    text += {digits[byte >> 4], digits[byte & 15]};
  }
  return text;
}

void md5_known_answers() {
  check(hex(md5("")) == "d41d8cd98f00b204e9800998ecf8427e", "md5 of nothing");
  check(hex(md5("message digest")) == "f96b697d7cb7938d525a2f31aaf161d0", "md5 of 'message digest'");
  const std::string digits = "1234567890";
  std::string eighty;
  for (int j = 0; j < 8; ++j) eighty += digits;
  check(hex(md5(eighty)) == "57edf4a22be3c955ac49da2e2107b67a", "md5 of 80 digits, two blocks");
}

void tables_are_balanced() {
  const PhiloxKey key = parameter_key("tensor_sketch", 3, "w");
  for (const int64_t dim : {1, 7, 64}) {
    for (const int64_t length : {0, 1, 6, 7, 63, 64, 65, 200}) {
      const AxisTable table = balanced_buckets(key, Role::columns, length, dim);
      const std::vector<int32_t> entries = gather_table(table, dim);
      check_equal(int64_t(entries.size()), (length + dim - 1) / dim * dim, "entries of the gather table");
      for (int64_t first = 0; first < length; first += dim) {
        std::set<int32_t> seen;
        for (int64_t j = first; j < length && j < first + dim; ++j) {
          const int32_t bucket = table.bucket[size_t(j)];
          check(bucket >= 0 && bucket < dim && seen.insert(bucket).second, "a bucket twice in one run");
          const int32_t entry = entries[size_t(first + bucket)];
          check_equal(int64_t(entry >> 1), j, "index of an entry");
          check_equal(entry & 1 ? -1 : 1, int(table.sign[size_t(j)]), "sign of an entry");
        }
      }
    }
  }
  check_rejects([&] { balanced_buckets(key, Role::rows, -1, 4); }, "length", "a negative length");
  check_rejects([&] { balanced_buckets(key, Role::rows, 4, 0); }, "dim", "no buckets");
}

void sixteen_bit_numbers_are_exact() {
  check_equal(to_float(float16{0x3c00}), 1.f, "half 1");
  check_equal(to_float(float16{0x0001}), std::ldexp(1.f, -24), "smallest half");
  check_equal(to_float(float16{0x83ff}), -std::ldexp(1023.f, -24), "largest negative subnormal half");
  check_equal(to_float(float16{0xfbff}), -65504.f, "lowest half");
  check(std::isinf(to_float(float16{0x7c00})) && std::isnan(to_float(float16{0x7e01})), "half inf and NaN");
  check_equal(to_float(bfloat16{0xbf80}), -1.f, "bfloat16 -1");
  check(std::isinf(to_float(bfloat16{0x7f80})) && std::isnan(to_float(bfloat16{0x7fc0})), "bfloat16 inf and NaN");
}

}  // namespace
}  // namespace motive::test

int main() {
  motive::test::philox_known_answers();
  motive::test::md5_known_answers();
  motive::test::tables_are_balanced();
  motive::test::sixteen_bit_numbers_are_exact();
  return motive::test::report("test_tables");
}
