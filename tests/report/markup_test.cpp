#include "core/report/markup.hpp"

#include "tests/catch.h"

using namespace sdpipe;

TEST_CASE("base64 gives the test vectors of RFC 4648") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foob") == "Zm9vYg==");
  CHECK(base64("fooba") == "Zm9vYmE=");
  CHECK(base64("foobar") == "Zm9vYmFy");
}

TEST_CASE("base64 takes bytes above 127 and zero bytes, and uses all of its alphabet") {
  CHECK(base64(std::string("\xFF\x00\xFE", 3)) == "/wD+");
  CHECK(base64(std::string("\0\0", 2)) == "AAA=");
  CHECK(base64("\xFB\xEF\xBE\xFF\xFF\xFF") == "++++////");
}

TEST_CASE("every character with a meaning in markup is escaped, and no other") {
  CHECK(escape_markup("<script>alert('x' & \"y\")</script>") ==
        "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;");
  CHECK(escape_markup("E[x₀|xₜ]\t= 1\n") == "E[x₀|xₜ]\t= 1\n");
  CHECK(escape_markup("&lt;") == "&amp;lt;");
}

TEST_CASE("control characters become the replacement character") {
  CHECK(escape_markup(std::string("a\0b\x1B[31m\x7F", 9)) == "a\uFFFDb\uFFFD[31m\uFFFD");
}
