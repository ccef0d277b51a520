// What this machine's CPU can do beyond the common.
#pragma once

#include <string_view>

namespace sdpipe {

// Does the text of /proc/cpuinfo name instructions that multiply bfloat16 numbers (AVX512_BF16, AMX, or Arm's)?
bool names_bfloat16(std::string_view cpuinfo);
// The same of this machine. Without them bfloat16 is computed by way of float32, slower than float32 itself.
bool multiplies_bfloat16();

}  // namespace sdpipe
