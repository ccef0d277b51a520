// TOML text as values that know their place.
#include "core/config/document.hpp"

#include <filesystem>
#include <fstream>

#include "core/base/error.hpp"
#include "tests/catch.h"

using namespace sdpipe;

namespace {

Document parsed(const std::string& text) {
  std::vector<Problem> problems;
  Document document = parse_document(text, "d.toml", problems);
  for (const Problem& problem : problems) UNSCOPED_INFO(problem.render());
  REQUIRE(problems.empty());
  return document;
}

std::string place(const Position& where) { return std::to_string(where.line) + ":" + std::to_string(where.column); }

std::string first_problem(const std::string& text) {
  std::vector<Problem> problems;
  parse_document(text, "d.toml", problems);
  return problems.empty() ? "" : problems[0].render();
}

}  // namespace

TEST_CASE("Keys come in the order of the file, with the places of key and value") {
  const Document d = parsed("[b]\nz = 1\na = [ 2.5,\n  true]\n[a]\n");
  CHECK(d.root.keys() == std::vector<std::string>{"b", "a"});
  const Table& b = *d.root.find("b")->value.get_if<Table>();
  CHECK(b.keys() == std::vector<std::string>{"z", "a"});
  CHECK(place(b.where) == "1:1");
  CHECK(place(b.find("z")->key_where) == "2:1");
  CHECK(place(b.find("z")->value.where) == "2:5");
  const Array& list = *b.find("a")->value.get_if<Array>();
  CHECK(*list[0].get_if<double>() == 2.5);
  CHECK(place(list[1].where) == "4:3");
}

TEST_CASE("Lines that end in CR LF count and print like others") {
  const Document d = parsed("a = 1\r\nb = \"x\"\r\n");
  CHECK(place(d.root.find("b")->value.where) == "2:5");
  CHECK(d.source->lines == std::vector<std::string>{"a = 1", "b = \"x\""});
  CHECK(*d.root.find("b")->value.get_if<std::string>() == "x");
}

TEST_CASE("Columns count characters, not bytes") {
  const Document d = parsed("x = { \"é\" = \"ü\", b = 1 }\n");
  CHECK(place(d.root.find("x")->value.get_if<Table>()->find("b")->key_where) == "1:18");
}

TEST_CASE("An empty text is an empty document") {
  CHECK(parsed("").root.entries.empty());
  CHECK(parsed("\xEF\xBB\xBF# a byte order mark and a comment\n").root.entries.empty());
}

// The sentences are the parser's own and differ between its versions; place and form are ours.
TEST_CASE("Text that is not TOML is refused at the place where the parser stopped") {
  const std::pair<const char*, const char*> cases[] = {
      {"a = 1\nb = \n", "d.toml:2:5: not TOML: "},
      {"a = 1\n\n[b\n", "d.toml:3:3: not TOML: "},
      {"a = 1\na = 2\n", "d.toml:2:"},
      {"[a]\n[b]\n[a]\n", "d.toml:3:1: not TOML: "},
      {"a = \"x\n", "d.toml:1:7: not TOML: "},
      {"a = 99999999999999999999\n", "d.toml:1:"},
      {"a = \"\xFF\"\n", "d.toml:1:"},
      {"= 1", "d.toml:1:1: not TOML: "},
      {"a b = 1", "d.toml:1:3: not TOML: "},
      {"a = [1, 2", "d.toml:1:10: not TOML: "},
  };
  for (const auto& [text, begin] : cases) {
    INFO(text);
    CHECK(first_problem(text).substr(0, std::string(begin).size()) == begin);
    CHECK(first_problem(text).find("not TOML: ") != std::string::npos);
  }
}

TEST_CASE("Neither long lines nor deep nesting end the program") {
  std::string deep = "a";
  for (int i = 0; i < 4000; ++i) deep += ".a";
  CHECK(first_problem(deep + " = 1\n").find("tables are nested deeper than 32 levels") != std::string::npos);
  CHECK(first_problem(deep + deep + " = 1\n") == "d.toml: line 1 is longer than 8192 bytes: break it up");
  CHECK(first_problem("a = " + std::string(4000, '[')).find("not TOML: ") != std::string::npos);
}

TEST_CASE("What is no file is refused in a sentence") {
  std::vector<Problem> problems;
  CHECK_THROWS_WITH(read_document("/nowhere/a.toml", problems),
                    "cannot read the pipeline file: /nowhere/a.toml: No such file or directory");
  CHECK_THROWS_WITH(read_document("/", problems), "/ is not a file: name a pipeline file (.toml)");
  CHECK_THROWS_WITH(read_document("/dev/zero", problems), "/dev/zero is not a file: name a pipeline file (.toml)");

  const auto large = std::filesystem::temp_directory_path() / "sdpipe_large.toml";
  std::ofstream(large) << std::string((1 << 20) + 1, '#');
  CHECK_THROWS_WITH(read_document(large, problems),
                    large.string() + " holds 1048577 bytes: a pipeline file has at most 1048576");
  std::filesystem::remove(large);
}
