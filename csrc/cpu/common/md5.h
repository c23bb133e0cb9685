// MD5 (RFC 1321), used to turn names into generator keys; nothing here relies on it being hard to invert.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace motive {

std::array<uint8_t, 16> md5(const std::string& text);

}  // namespace motive
