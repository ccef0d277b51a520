#include "core/base/text.hpp"

#include "tests/catch.h"

using namespace sdpipe;

TEST_CASE("the nearest word is the one with the fewest insertions, deletions, replacements and swaps") {
  const std::vector<std::string> words = {"std_max", "std_min", "seed", "steps"};
  CHECK(nearest("std_mx", words) == "std_max");
  CHECK(nearest("std_maxx", words) == "std_max");
  CHECK(nearest("sdt_min", words) == "std_min");
  CHECK(nearest("sede", words) == "seed");
}

TEST_CASE("of equally near words the first is taken") {
  CHECK(nearest("std_m_x", {"std_max", "std_mix"}) == "std_max");
  CHECK(nearest("std_m_x", {"std_mix", "std_max"}) == "std_mix");
}

TEST_CASE("no word is offered that differs in more than a third of the letters or in more than three") {
  CHECK(nearest("abcdef", {"abXYef"}) == "abXYef");                    // 2 of 6
  CHECK_FALSE(nearest("abcdef", {"abXYZf"}));                          // 3 of 6
  CHECK(nearest("abcdefghijkl", {"XYZdefghijkl"}) == "XYZdefghijkl");  // 3 of 12
  CHECK_FALSE(nearest("abcdefghijklmno", {"WXYZefghijklmno"}));        // 4 of 15
  CHECK(nearest("to", {"t"}) == "t");                                  // one is always allowed
  CHECK_FALSE(nearest("to", {"from"}));
  CHECK_FALSE(nearest("word", {}));
}

TEST_CASE("the question of what was meant is part of a sentence, or nothing") {
  CHECK(did_you_mean("sampel", {"train", "sample"}) == "; did you mean \"sample\"?");
  CHECK(did_you_mean("quite_other", {"train", "sample"}) == "");
}

TEST_CASE("words are joined with commas unless told otherwise") {
  CHECK(join({}) == "");
  CHECK(join({"a"}) == "a");
  CHECK(join({"a", "b", "c"}) == "a, b, c");
  CHECK(join({"a", "b"}, "; ") == "a; b");
}
