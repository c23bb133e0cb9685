#include "md5.h"

#include <cmath>
#include <cstring>

namespace motive {
namespace {

constexpr int kShift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

uint32_t rotate(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

// floor(2^32 |sin(step + 1)|), the constants of the standard.
uint32_t sine(int step) { return uint32_t(std::floor(std::fabs(std::sin(double(step + 1))) * 4294967296.0)); }

void absorb(uint32_t (&state)[4], const uint8_t* block) {
  uint32_t word[16];
  for (int j = 0; j < 16; ++j) {
    const uint8_t* b = block + 4 * j;
    word[j] = uint32_t(b[0]) | uint32_t(b[1]) << 8 | uint32_t(b[2]) << 16 | uint32_t(b[3]) << 24;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (int step = 0; step < 64; ++step) {
    uint32_t mix = 0;
    int from = 0;
    switch (step / 16) {
      case 0:
        mix = (b & c) | (~b & d);
        from = step;
        break;
      case 1:
        mix = (d & b) | (~d & c);
        from = (5 * step + 1) % 16;
        break;
      case 2:
        mix = b ^ c ^ d;
        from = (3 * step + 5) % 16;
        break;
      default:
        mix = c ^ (b | ~d);
        from = (7 * step) % 16;
        break;
    }
    const uint32_t turned = b + rotate(a + mix + word[from] + sine(step), kShift[step / 16][step % 4]);
    a = d;
    d = c;
    c = b;
    b = turned;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

}  // namespace

std::array<uint8_t, 16> md5(const std::string& text) {
  std::string padded = text;
  padded.push_back(char(0x80));
  while (padded.size() % 64 != 56) padded.push_back('\0');
  const uint64_t bits = uint64_t(text.size()) * 8;
  for (int j = 0; j < 8; ++j) padded.push_back(char(bits >> (8 * j) & 0xff));

  uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
  for (size_t at = 0; at < padded.size(); at += 64) {
    absorb(state, reinterpret_cast<const uint8_t*>(padded.data()) + at);
  }
  std::array<uint8_t, 16> digest{};
  for (int j = 0; j < 16; ++j) digest[size_t(j)] = uint8_t(state[j / 4] >> (8 * (j % 4)) & 0xff);
  return digest;
}

}  // namespace motive
