// Parameter schemas: descriptors written by hand, as a C plugin would.
#include "core/host/schema.hpp"

#include <cmath>

#include "core/base/error.hpp"
#include "core/config/document.hpp"
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

sdp_value value_of(int32_t type) {
  sdp_value v{};
  v.struct_size = sizeof v;
  v.type = type;
  return v;
}

sdp_param param_of(const char* key, int32_t type, const sdp_value* def) {
  sdp_param p{};
  p.struct_size = sizeof p;
  p.type = type;
  p.flags = def ? 0 : SDP_PF_REQUIRED;
  p.key = key;
  p.doc = p.unit = "";
  p.min = -HUGE_VAL;
  p.max = HUGE_VAL;
  p.def = def;
  return p;
}

std::vector<std::string> errors(std::vector<const sdp_param*> params) {
  sdp_descriptor d{};
  d.struct_size = sizeof d;
  d.n_params = static_cast<uint32_t>(params.size());
  d.params = params.data();
  return schema_errors(d);
}

using Sentences = std::vector<std::string>;

const Schema& stamp() { return examples().find(SDP_KIND_CORRUPTION, "stamp")->schema; }

Settings settings_of(const std::string& toml) {
  std::vector<Problem> problems;
  const Document document = parse_document(toml, "s.toml", problems);
  Settings settings = check_table(stamp(), document.root, "table \"stamp\"", {}, problems);
  REQUIRE(problems.empty());
  return settings;
}

}  // namespace

TEST_CASE("A schema is wrong where a parameter cannot be read") {
  sdp_value def = value_of(SDP_P_FLOAT);
  sdp_param p = param_of("a", SDP_P_FLOAT, &def);
  CHECK(errors({&p}).empty());
  CHECK(errors({nullptr}) == Sentences{"parameter 0 is NULL"});

  p.struct_size = 8;
  CHECK(errors({&p}) == Sentences{"parameter 0 has struct_size 8, but version 1.0 has 72"});
  p.struct_size = sizeof p;
  p.key = nullptr;
  CHECK(errors({&p}) == Sentences{"parameter 0 has no key"});
  p.key = "a";
  p.type = 10;
  CHECK(errors({&p}) == Sentences{"parameter \"a\" has the unknown type 10"});
  p.type = SDP_P_INT;
  CHECK(errors({&p}) == Sentences{"parameter \"a\" has a default of another type"});
  p.type = SDP_P_FLOAT;
  def.struct_size = 16;
  CHECK(errors({&p}) == Sentences{"parameter \"a\" has a default of an unknown, smaller struct"});
  p.def = nullptr;
  CHECK(errors({&p}) == Sentences{"parameter \"a\" has no default and is not marked as required"});
}

TEST_CASE("A schema is wrong where a list of a parameter is NULL") {
  sdp_value list = value_of(SDP_P_FLOATS);
  list.n = 2;
  const sdp_param p = param_of("a", SDP_P_FLOATS, &list);
  CHECK(errors({&p}) == Sentences{"parameter \"a\" has a default list that is NULL"});

  sdp_param choice = param_of("b", SDP_P_CHOICE, nullptr);
  choice.n_choices = 1;
  CHECK(errors({&choice}) == Sentences{"parameter \"b\" has a NULL choice"});

  sdp_descriptor d{};
  d.n_params = 1;
  CHECK(schema_errors(d) == Sentences{"the list of parameters is NULL"});
}

TEST_CASE("A schema is wrong where its names collide or are no TOML keys") {
  const sdp_param a = param_of("a_1", SDP_P_INT, nullptr), from = param_of("from", SDP_P_INT, nullptr),
                  upper = param_of("Std", SDP_P_INT, nullptr);
  CHECK(errors({&a, &a, &from, &upper}) ==
        Sentences{"parameter \"a_1\" is there twice",
                  "parameter \"from\" has a reserved name: type, from and to belong to the pipeline file",
                  "parameter \"Std\" must match [a-z][a-z0-9_]*"});
}

TEST_CASE("A schema is wrong where a default is outside what it allows") {
  sdp_value zero = value_of(SDP_P_FLOAT), word = value_of(SDP_P_CHOICE);
  sdp_param positive = param_of("a", SDP_P_FLOAT, &zero), choice = param_of("b", SDP_P_CHOICE, &word),
            none = param_of("c", SDP_P_CHOICE, nullptr), image = param_of("d", SDP_P_IMAGE, nullptr),
            empty = param_of("e", SDP_P_FLOAT, &zero), file = param_of("f", SDP_P_FILE, nullptr);
  const sdp_value no_image = value_of(SDP_P_IMAGE), no_file = value_of(SDP_P_FILE);
  const char* const words[] = {"x", "y"};
  positive.min = 0;
  positive.flags = SDP_PF_EXCLUSIVE_MIN;
  word.s = "z";
  choice.choices = words;
  choice.n_choices = 2;
  image.def = &no_image;
  image.flags = 0;
  file.def = &no_file;
  file.flags = 0;
  empty.min = 2;
  empty.max = 1;
  CHECK(errors({&positive, &choice, &none, &image, &empty, &file}) ==
        Sentences{"parameter \"a\" has the default 0.0, which is not > 0",
                  "parameter \"b\" has the default \"z\", which is not one of \"x\", \"y\"",
                  "parameter \"c\" is a choice without choices", "parameter \"d\" is an image and must be required",
                  "parameter \"e\" has an empty range, >= 2 and <= 1",
                  "parameter \"f\" is a file and must be required"});
}

TEST_CASE("A parameter describes itself in one line") {
  Sentences lines;
  for (const Param& param : stamp()) lines.push_back(param.key + ": " + param.describe());
  CHECK(lines == Sentences{"times: integer >= 1 and <= 9, required", "wrap: boolean, default false",
                           "strength: float > 0 and <= 1, default 0.5", "label: string, default \"a \\\"b\\\"\"",
                           "mode: \"add\" | \"replace\", default \"add\"",
                           "weights: list of floats >= 0 and <= 1, default [0.25, 1.0]",
                           "offsets: list of integers >= 0, px, default []", "mask: image, required"});
}

TEST_CASE("Values are written as TOML that reads back to the same value") {
  CHECK(toml_text(23.0) == "23.0");
  CHECK(toml_text(2e-4) == "0.0002");
  CHECK(toml_text(1e300) == "1e+300");
  CHECK(toml_text(0.1) == "0.1");
  CHECK(toml_text(int64_t{128000000}) == "128000000");
  CHECK(toml_text(std::string("a\\\"\n\t\x01é")) == "\"a\\\\\\\"\\n\\t\\u0001é\"");
  CHECK(toml_text(std::vector<double>{1, 0.5}) == "[1.0, 0.5]");
}

TEST_CASE("A checked table answers every parameter in the schema's order") {
  const Settings settings = settings_of("mask = \"m.png\"\nmode = \"replace\"\ntimes = 3\nstrength = 1\n");
  Sentences keys;
  for (const auto& entry : settings.entries()) keys.push_back(entry.key + (entry.is_set ? " set" : ""));
  CHECK(keys == Sentences{"times set", "wrap", "strength set", "label", "mode set", "weights", "offsets", "mask set"});
  CHECK(settings.integer("times") == 3);
  CHECK(settings.real("strength") == 1.0);
  CHECK(settings.text("mode") == "replace");
  CHECK(settings.at("strength").where.line == 4);
  CHECK_THROWS_AS(settings.at("nothing"), std::logic_error);
  CHECK(settings.find("strength") == &settings.at("strength"));
  CHECK(settings.find("nothing") == nullptr);
}

TEST_CASE("A plugin receives the checked values in the form of the ABI") {
  Settings settings = settings_of("mask = \"m.png\"\nmode = \"replace\"\ntimes = 3\nwrap = true\noffsets = [7, 8]\n");
  settings.entries().back().value = ImageSetting{"m.png", {3, 2, 5}, std::vector<float>(30, 0.5f)};
  const AbiValues abi(stamp(), settings);
  const sdp_value* const* v = abi.values();
  CHECK(v[0]->i == 3);
  CHECK(v[0]->is_set == 1);
  CHECK(v[1]->i == 1);
  CHECK(v[2]->f == 0.5);
  CHECK(v[2]->is_set == 0);
  CHECK(std::string(v[3]->s) == "a \"b\"");
  CHECK(v[4]->i == 1);
  CHECK(std::string(v[4]->s) == "replace");
  CHECK(v[5]->n == 2);
  CHECK(v[5]->fv[0] == 0.25);
  CHECK(v[6]->iv[1] == 8);
  const sdp_tensor& image = *v[7]->image;
  CHECK(std::vector<int64_t>(image.shape, image.shape + image.ndim) == std::vector<int64_t>{3, 2, 5});
  CHECK(std::vector<int64_t>(image.strides, image.strides + image.ndim) == std::vector<int64_t>{10, 5, 1});
  CHECK(static_cast<const float*>(image.data)[29] == 0.5f);
}

TEST_CASE("Defaults alone are settings only where nothing is required") {
  CHECK(default_settings(examples().find(SDP_KIND_CORRUPTION, "blur")->schema).real("std_max") == 23.0);
  CHECK_THROWS_WITH(default_settings(stamp()), "parameter \"times\" has no default: it must be given");
}
