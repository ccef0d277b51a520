#include "core/base/cpu.hpp"

#include "tests/catch.h"

using namespace sdpipe;

TEST_CASE("a CPU multiplies bfloat16 where it names one of the instructions that do, as a whole word") {
  CHECK(names_bfloat16("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 clzero\n"));
  CHECK(names_bfloat16("flags : fpu amx_bf16"));
  CHECK(names_bfloat16("Features : fp asimd bf16 i8mm\n"));
  CHECK_FALSE(names_bfloat16("flags : fpu avx512f avx512_vnni\n"));
  CHECK_FALSE(names_bfloat16("flags : avx512_bf16x"));
  CHECK_FALSE(names_bfloat16(""));
}
