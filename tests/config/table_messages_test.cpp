// Tables and plugins that are wrong: the whole message for each; every case damages one place of the example.
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

struct Case {
  const char* what;
  const char *from, *to;  // the example's text, and what stands there instead
  const char* message;
};

const Case kCases[] = {
    {"an unknown plugin close to a known one", "type = \"blur\"", "type = \"blurr\"",
     R"(a.toml:9:8: no corruption named "blurr"; known: blur, stamp; did you mean "blur"?
  9 | type = "blurr"
    |        ^

1 problem in a.toml)"},

    {"an unknown plugin close to none", "type = \"step\"\neta = 0.5", "type = \"heun\"",
     R"(a.toml:26:8: no sampler named "heun"; known: churned, step
  26 | type = "heun"
     |        ^

1 problem in a.toml)"},

    {"a plugin of another kind", "type = \"levels\"", "type = \"blur\"",
     R"(a.toml:13:8: "blur" is a corruption, not a schedule; known: coupled, levels
  13 | type = "blur"
     |        ^

1 problem in a.toml)"},

    {"a plugin table without a type", "type = \"step\"\neta = 0.5", "eta = 0.5",
     R"(a.toml:25:1: table "sampler": "type" is missing, the name of a sampler; known: churned, step
  25 | [sampler]
     | ^

1 problem in a.toml)"},

    {"a type that is no string", "type = \"net\"", "type = 3",
     R"(a.toml:19:8: table "model": "type" must be a string, not an integer
  19 | type = 3
     |        ^

1 problem in a.toml)"},

    {"an unknown table close to one that is missing", "[sampler]", "[sampel]",
     R"(a.toml: table "sampler" is missing: add [sampler] with type = "..."; known: churned, step

a.toml:25:2: unknown table "sampel"; did you mean "sampler"?
  25 | [sampel]
     |  ^

2 problems in a.toml)"},

    {"an unknown table close to none", "[sample]\n", "[evaluation]\nscore = 1\n\n[sample]\n",
     R"(a.toml:29:2: unknown table "evaluation"; known: run, data, corruption, schedule, noise, model, train, sampler, sample
  29 | [evaluation]
     |  ^

1 problem in a.toml)"},

    {"a key before the first table", "[run]\n", "threads = 2\n[run]\n",
     R"(a.toml:1:1: key "threads" stands outside the tables; known: run, data, corruption, schedule, noise, model, train, sampler, sample
  1 | threads = 2
    | ^

1 problem in a.toml)"},

    {"a missing table of the host", "[data]\ntype = \"idx\"\npath = \"train-images\"\n", "",
     R"(a.toml: table "data" is missing: add [data] with type and path of the images

1 problem in a.toml)"},

    {"a missing table that chooses a plugin", "[corruption]\ntype = \"blur\"\nstd_max = 8.0\n", "",
     R"(a.toml: table "corruption" is missing: add [corruption] with type = "..."; known: blur, stamp

1 problem in a.toml)"},

    {"a scalar where a table is meant", "[run]\nseed = 1\n", "run = 1\n",
     R"(a.toml:1:1: "run" must be a table, not an integer
  1 | run = 1
    | ^

1 problem in a.toml)"},

    {"a list where one table is meant", "[sampler]", "[[sampler]]",
     R"(a.toml:25:3: "sampler" must be a table, not an array
  25 | [[sampler]]
     |   ^

1 problem in a.toml)"},

    {"a date", "seed = 1", "seed = 2022-09-12",
     R"(a.toml:2:8: a pipeline file has no dates or times: put the value in quotes
  2 | seed = 2022-09-12
    |        ^

1 problem in a.toml)"},

    {"a schedule that fills both beside [noise]", "type = \"levels\"", "type = \"coupled\"",
     R"(a.toml:15:1: schedule "coupled" fills sigma as well as levels: remove [noise]
  15 | [noise]
     | ^

1 problem in a.toml)"},

    {"a schedule that fills sigma in the place of levels", "type = \"levels\"", "type = \"sigmas\"",
     R"(a.toml:13:8: schedule "sigmas" fills sigma, not levels: it belongs in [noise]; known: coupled, levels
  13 | type = "sigmas"
     |        ^

1 problem in a.toml)"},

    {"a schedule that fills levels in the place of sigma", "type = \"sigmas\"", "type = \"levels\"",
     R"(a.toml:16:8: schedule "levels" fills levels, not sigma: it belongs in [schedule]; known: coupled, sigmas
  16 | type = "levels"
     |        ^

1 problem in a.toml)"},

    {"a schedule that fills both in the place of sigma", "type = \"sigmas\"", "type = \"coupled\"",
     R"(a.toml:15:1: schedule "coupled" fills levels as well as sigma: put it in [schedule] and remove [noise]
  15 | [noise]
     | ^

1 problem in a.toml)"},

    {"levels without sigma", "[noise]\ntype = \"sigmas\"\n", "",
     R"(a.toml:12:1: schedule "levels" fills levels only: add [noise] with a schedule that fills sigma; known: coupled, sigmas
  12 | [schedule]
     | ^

1 problem in a.toml)"},

    {"a window outside a composition", "std_max = 8.0", "std_max = 8.0\nfrom = 0.2\nto = 0.8",
     R"(a.toml:11:1: table "blur": "from" belongs to an operator of a composition, a list of [[corruption]] tables: remove it
  11 | from = 0.2
     | ^

a.toml:12:1: table "blur": "to" belongs to an operator of a composition, a list of [[corruption]] tables: remove it
  12 | to = 0.8
     | ^

2 problems in a.toml)"},

    {"windows of a composition that are empty or outside 0 to 1", "[corruption]\ntype = \"blur\"\nstd_max = 8.0",
     "[[corruption]]\n"
     "type = \"blur\"\n"
     "from = 0.5\n"
     "to = 0.5\n"
     "\n"
     "[[corruption]]\n"
     "type = \"blur\"\n"
     "to = 2",
     R"(a.toml:11:6: table "blur": "from" must be smaller than "to", but they are 0.5 and 0.5
  11 | to = 0.5
     |      ^

a.toml:15:6: table "blur": "to" must be a float >= 0 and <= 1, not 2
  15 | to = 2
     |      ^

2 problems in a.toml)"},

    {"an operator of a composition without a type", "[corruption]\ntype = \"blur\"\nstd_max = 8.0",
     "[[corruption]]\ntype = \"blur\"\n\n[[corruption]]\nstd_max = 2",
     R"(a.toml:11:1: table "corruption.1": "type" is missing, the name of a corruption; known: blur, stamp
  11 | [[corruption]]
     | ^

1 problem in a.toml)"},

    {"a trained model without [train]", "[train]\nimages = 1000\nbatch = 10\n", "",
     R"(a.toml:18:1: model "net" is trained: add [train] with images = N
  18 | [model]
     | ^

1 problem in a.toml)"},

    {"a fitted model with [train]", "type = \"net\"", "type = \"oracle\"",
     R"(a.toml:21:1: model "oracle" is fitted, not trained: remove [train]
  21 | [train]
     | ^

1 problem in a.toml)"},

    {"an exact run with a plugin that has float32 alone",
     "[run]\n"
     "seed = 1\n"
     "\n"
     "[data]\n"
     "type = \"idx\"\n"
     "path = \"train-images\"\n"
     "\n"
     "[corruption]\n"
     "type = \"blur\"\n"
     "std_max = 8.0",
     "[run]\n"
     "precision = \"float64\"\n"
     "\n"
     "[data]\n"
     "type = \"idx\"\n"
     "path = \"train-images\"\n"
     "\n"
     "[corruption]\n"
     "type = \"stamp\"\n"
     "times = 1\n"
     "mask = \"m.png\"",
     R"(a.toml:8:1: corruption "stamp" cannot be used with run.precision = "float64": it does not offer float64
  8 | [corruption]
    | ^

1 problem in a.toml)"},

    {"parameters in bfloat16 that the model cannot use", "seed = 1", "precision = \"bfloat16\"",
     R"(a.toml:18:1: model "net" cannot be used with run.precision = "bfloat16": it does not offer bfloat16; remove run.precision to compute in float32
  18 | [model]
     | ^

1 problem in a.toml)"},

    {"a device that a trained model cannot use, though corruptions and samplers can", "seed = 1", "device = \"cuda\"",
     R"(a.toml:18:1: model "net" cannot be used with run.device = "cuda": it does not offer CUDA; set run.device = "cpu"
  18 | [model]
     | ^

1 problem in a.toml)"},

    {"a device that there is not", "seed = 1", "device = \"cuda:x\"",
     R"(a.toml:2:10: table "run": parameter "device" must be "auto", "cpu", "cuda" or "cuda:N" with the number N of a GPU, not "cuda:x"
  2 | device = "cuda:x"
    |          ^

1 problem in a.toml)"},

    {"tables in tables beyond all measure", "seed = 1",
     "seed = 1\n"
     "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1",
     R"(a.toml:3:63: tables are nested deeper than 32 levels
  3 | a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1
    |                                                               ^

1 problem in a.toml)"},
};

}  // namespace

TEST_CASE("A wrong table is refused with its place, its line and what to do") {
  for (const Case& c : kCases) {
    INFO(c.what);
    CHECK(errors_of(edited(kExample, c.from, c.to)) == c.message);
  }
}

TEST_CASE("All problems are told at once, from top to bottom") {
  const std::string twice = edited(edited(kExample, "std_max = 8.0", "std_max = -1"), "\"step\"", "\"stp\"");
  CHECK(errors_of(edited(twice, "seed = 1", "seeds = 1")) ==
        R"(a.toml:2:1: table "run": unknown parameter "seeds"; did you mean "seed"?
  2 | seeds = 1
    | ^

a.toml:10:11: table "blur": parameter "std_max" must be > 0, not -1
  10 | std_max = -1
     |           ^

a.toml:26:8: no sampler named "stp"; known: churned, step; did you mean "step"?
  26 | type = "stp"
     |        ^

3 problems in a.toml)");
}

TEST_CASE("A file that is not TOML is told that alone") {
  const std::string message = errors_of(edited(kExample, "\"blur\"", "\"blur"));
  CHECK(message.substr(0, message.find("not TOML: ")) == "a.toml:9:13: ");
  CHECK(message.substr(message.rfind('\n') + 1) == "1 problem in a.toml");
}

TEST_CASE("The errors carry the exit code of a usage error and each problem by itself") {
  try {
    parse(kExample, {"train.batch=0", "run.seed=-1"});
    FAIL("two mistakes were accepted");
  } catch (const PipelineErrors& errors) {
    CHECK(errors.code() == Exit::usage);
    REQUIRE(errors.problems.size() == 2);
    CHECK(errors.problems[1].text == "table \"run\": parameter \"seed\" must be >= 0, not -1");
  }
}
