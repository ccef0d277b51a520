#include "core/base/value.hpp"

#include "tests/catch.h"

using namespace sdpipe;

namespace {

Position at(const std::string& line, uint32_t column, uint32_t number = 1) {
  auto source = std::make_shared<SourceText>();
  source->name = "blur.toml";
  source->lines.resize(number);
  source->lines[number - 1] = line;
  return {source, number, column};
}

std::string render(Position where, std::string text) {
  const Problem problem{std::move(where), std::move(text)};
  return problem.render();
}

}  // namespace

TEST_CASE("a problem shows its place, its line and a caret under its column") {
  CHECK(render(at("std_max = -1", 11), "must be > 0") ==
        "blur.toml:1:11: must be > 0\n"
        "  1 | std_max = -1\n"
        "    |           ^");
}

TEST_CASE("the caret's line is as far in as the number of the source line is long") {
  CHECK(render(at("x", 1, 120), "no") ==
        "blur.toml:120:1: no\n"
        "  120 | x\n"
        "      | ^");
}

TEST_CASE("tabs stay tabs under the line, so that the caret stands where the terminal shows the column") {
  CHECK(render(at("\tkey\t= 1", 6), "no") ==
        "blur.toml:1:6: no\n"
        "  1 | \tkey\t= 1\n"
        "    | \t   \t^");
}

TEST_CASE("columns count code points, not bytes") {
  CHECK(render(at("n = \"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82\" # x", 11), "no") ==
        "blur.toml:1:11: no\n"
        "  1 | n = \"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82\" # x\n"
        "    |           ^");
}

TEST_CASE("a column behind the line's end points just behind it") {
  CHECK(render(at("ab", 3), "no") == "blur.toml:1:3: no\n  1 | ab\n    |   ^");
  CHECK(render(at("ab", 30), "no") == "blur.toml:1:30: no\n  1 | ab\n    |   ^");
}

TEST_CASE("a problem without a line names the file, one without a file only itself") {
  CHECK(render({at("", 0).source, 0, 0}, "no table \"model\"") == "blur.toml: no table \"model\"");
  CHECK(render({}, "nothing") == "nothing");
  CHECK(render({at("", 0).source, 9, 4}, "beyond") == "blur.toml:9:4: beyond");
}

TEST_CASE("a table finds its entries and lists its keys in the order of the file") {
  Table table;
  table.entries.push_back({"b", {}, {int64_t{1}, {}}});
  table.entries.push_back({"a", {}, {2.5, {}}});
  CHECK(table.keys() == std::vector<std::string>{"b", "a"});
  REQUIRE(table.find("a"));
  CHECK(*table.find("a")->value.get_if<double>() == 2.5);
  CHECK_FALSE(table.find("a")->value.get_if<int64_t>());
  CHECK_FALSE(table.find("c"));
}

TEST_CASE("a value says what it is") {
  CHECK(Value{true, {}}.type_name() == "a boolean");
  CHECK(Value{int64_t{1}, {}}.type_name() == "an integer");
  CHECK(Value{1.0, {}}.type_name() == "a float");
  CHECK(Value{std::string("s"), {}}.type_name() == "a string");
  CHECK(Value{Array(), {}}.type_name() == "an array");
  CHECK(Value{Table(), {}}.type_name() == "a table");
}
