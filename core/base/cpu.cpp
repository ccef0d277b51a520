#include "core/base/cpu.hpp"

#include <fstream>
#include <sstream>
#include <string>

namespace sdpipe {

bool names_bfloat16(std::string_view cpuinfo) {
  std::istringstream words{std::string(cpuinfo)};
  for (std::string word; words >> word;) {
    if (word == "avx512_bf16" || word == "amx_bf16" || word == "bf16") return true;
  }
  return false;
}

bool multiplies_bfloat16() {
  std::ifstream file("/proc/cpuinfo");
  std::ostringstream text;
  text << file.rdbuf();
  return names_bfloat16(text.str());
}

}  // namespace sdpipe
