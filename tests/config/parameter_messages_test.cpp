// Parameters that are wrong: the whole message for each; every case damages one place of the example.
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
    {"an unknown parameter close to a known one", "std_max = 8.0", "std_mx = 8.0",
     R"(a.toml:10:1: table "blur": unknown parameter "std_mx"; did you mean "std_max"?
  10 | std_mx = 8.0
     | ^

1 problem in a.toml)"},

    {"an unknown parameter close to none", "std_max = 8.0", "radius = 8.0",
     R"(a.toml:10:1: table "blur": unknown parameter "radius"; known: std_max
  10 | radius = 8.0
     | ^

1 problem in a.toml)"},

    {"a parameter of a plugin that has none", "type = \"levels\"", "type = \"levels\"\npower = 2",
     R"(a.toml:14:1: table "levels": unknown parameter "power"; it has none
  14 | power = 2
     | ^

1 problem in a.toml)"},

    {"an unknown key of a host table", "seed = 1", "sede = 1",
     R"(a.toml:2:1: table "run": unknown parameter "sede"; did you mean "seed"?
  2 | sede = 1
    | ^

1 problem in a.toml)"},

    {"a string where a float is meant", "std_max = 8.0", "std_max = \"8\"",
     R"(a.toml:10:11: table "blur": parameter "std_max" must be a float, not a string
  10 | std_max = "8"
     |           ^

1 problem in a.toml)"},

    {"a float where an integer is meant", "batch = 10", "batch = 10.5",
     R"(a.toml:23:9: table "train": parameter "batch" must be an integer, not a float
  23 | batch = 10.5
     |         ^

1 problem in a.toml)"},

    {"a boolean where an integer is meant", "seed = 1", "seed = true",
     R"(a.toml:2:8: table "run": parameter "seed" must be an integer, not a boolean
  2 | seed = true
    |        ^

1 problem in a.toml)"},

    {"an integer where a boolean is meant", "path = \"train-images\"", "path = \"train-images\"\nflip = 1",
     R"(a.toml:7:8: table "data": parameter "flip" must be a boolean, not an integer
  7 | flip = 1
    |        ^

1 problem in a.toml)"},

    {"a table where a number is meant", "batch = 10", "batch = { size = 10 }",
     R"(a.toml:23:9: table "train": parameter "batch" must be an integer, not a table
  23 | batch = { size = 10 }
     |         ^

1 problem in a.toml)"},

    {"a number below its range", "std_max = 8.0", "std_max = 0",
     R"(a.toml:10:11: table "blur": parameter "std_max" must be > 0, not 0
  10 | std_max = 0
     |           ^

1 problem in a.toml)"},

    {"a number above its range", "eta = 0.5", "eta = 1.5",
     R"(a.toml:27:7: table "step": parameter "eta" must be >= 0 and <= 1, not 1.5
  27 | eta = 1.5
     |       ^

1 problem in a.toml)"},

    {"a number that is not finite", "std_max = 8.0", "std_max = inf",
     R"(a.toml:10:11: table "blur": parameter "std_max" must be finite, not inf
  10 | std_max = inf
     |           ^

1 problem in a.toml)"},

    {"a word that is not among the choices", "batch = 10", "weight = \"inverse_varianc\"",
     R"(a.toml:23:10: table "train": parameter "weight" must be one of "inverse_sigma", "inverse_variance", "uniform", not "inverse_varianc"; did you mean "inverse_variance"?
  23 | weight = "inverse_varianc"
     |          ^

1 problem in a.toml)"},

    {"a number instead of a choice", "batch = 10", "loss_at = 0",
     R"(a.toml:23:11: table "train": parameter "loss_at" must be a string, not an integer
  23 | loss_at = 0
     |           ^

1 problem in a.toml)"},

    {"required parameters that are missing", "type = \"blur\"\nstd_max = 8.0", "type = \"stamp\"",
     R"(a.toml:8:1: table "stamp": parameter "times" is missing (integer >= 1 and <= 9, required)
  8 | [corruption]
    | ^

a.toml:8:1: table "stamp": parameter "mask" is missing (image, required)
  8 | [corruption]
    | ^

2 problems in a.toml)"},

    {"lists with wrong elements", "type = \"blur\"\nstd_max = 8.0",
     "type = \"stamp\"\n"
     "times = 1\n"
     "mask = \"m.png\"\n"
     "weights = [0.5, 2.0]\n"
     "offsets = [1, \"2\"]",
     R"(a.toml:12:17: table "stamp": parameter "weights" element 2 must be >= 0 and <= 1, not 2
  12 | weights = [0.5, 2.0]
     |                 ^

a.toml:13:15: table "stamp": parameter "offsets" must be an array of integers, but element 2 is a string
  13 | offsets = [1, "2"]
     |               ^

2 problems in a.toml)"},

    {"a scalar where a list is meant, and an image that is no path", "type = \"blur\"\nstd_max = 8.0",
     "type = \"stamp\"\ntimes = 1\nmask = 3\nweights = 0.5",
     R"(a.toml:11:8: table "stamp": parameter "mask" must be a string, the path of an image, not an integer
  11 | mask = 3
     |        ^

a.toml:12:11: table "stamp": parameter "weights" must be an array of floats, not a float
  12 | weights = 0.5
     |           ^

2 problems in a.toml)"},

    {"a NUL character in a string", "type = \"blur\"\nstd_max = 8.0",
     "type = \"stamp\"\ntimes = 1\nmask = \"m.png\"\nlabel = \"a\\u0000b\"",
     R"(a.toml:12:9: table "stamp": parameter "label" must not hold a NUL character
  12 | label = "a\u0000b"
     |         ^

1 problem in a.toml)"},

    {"no number of images", "images = 1000\n", "",
     R"(a.toml:21:1: table "train": parameter "images" is missing (integer >= 1, images, required)
  21 | [train]
     | ^

1 problem in a.toml)"},

    {"fewer images than a batch", "images = 1000", "images = 9",
     R"(a.toml:22:10: table "train": parameter "images" must be at least one batch of 10, not 9
  22 | images = 9
     |          ^

1 problem in a.toml)"},

    {"more parts than a batch has images", "batch = 10", "batch = 10\naccumulate = 11",
     R"(a.toml:24:14: table "train": parameter "accumulate" is the number of parts of a batch, and a batch of 10 has at most 10, not 11
  24 | accumulate = 11
     |              ^

1 problem in a.toml)"},

    {"betas that are not two", "batch = 10", "betas = [0.9]",
     R"(a.toml:23:9: table "train": parameter "betas" must have 2 elements, the decays of Adam's two moments
  23 | betas = [0.9]
     |         ^

1 problem in a.toml)"},

    {"no steps", "steps = 5", "steps = 0",
     R"(a.toml:30:9: table "sample": parameter "steps" must be >= 1, not 0
  30 | steps = 0
     |         ^

1 problem in a.toml)"},

    {"a run name that leaves its folder", "seed = 1", "name = \"../blur\"",
     R"(a.toml:2:8: table "run": parameter "name" must be a plain folder name (no "/", no "." or "-" in front, at most 200 bytes), not "../blur"
  2 | name = "../blur"
    |        ^

1 problem in a.toml)"},

    {"two channels", "type = \"idx\"", "type = \"folder\"\nchannels = 2",
     R"(a.toml:6:12: table "data": parameter "channels" must be 0, 1 or 3, not 2
  6 | channels = 2
    |            ^

1 problem in a.toml)"},

    {"a crop that is no table", "type = \"idx\"", "type = \"folder\"\ncrop = 140",
     R"(a.toml:6:8: table "data": parameter "crop" must be a table, for example { size = 140, center = "image" }, not an integer
  6 | crop = 140
    |        ^

1 problem in a.toml)"},

    {"keys that only folders have", "type = \"idx\"", "type = \"idx\"\nchannels = 3\nresize = 32\ncrop = { size = 20 }",
     R"(a.toml:6:12: table "data": parameter "channels" has no meaning where type = "idx"; only folder has it
  6 | channels = 3
    |            ^

a.toml:7:10: table "data": parameter "resize" has no meaning where type = "idx"; only folder has it
  7 | resize = 32
    |          ^

a.toml:8:1: table "data": parameter "crop" has no meaning where type = "idx"; only folder has it
  8 | crop = { size = 20 }
    | ^

3 problems in a.toml)"},

    {"a part of a data set that has none", "type = \"idx\"", "type = \"folder\"\nsplit = \"test\"",
     R"(a.toml:6:9: table "data": parameter "split" has no meaning where type = "folder"; only idx and cifar have it
  6 | split = "test"
    |         ^

1 problem in a.toml)"},

    {"a crop without size, and a centre that is no pair", "type = \"idx\"",
     "type = \"folder\"\n"
     "crop = { center = \"middle\", centre = [1, 2] }",
     R"(a.toml:6:8: table "data.crop": parameter "size" is missing (integer >= 1, px, required)
  6 | crop = { center = "middle", centre = [1, 2] }
    |        ^

a.toml:6:19: table "data.crop": parameter "center" must be "image" or [x, y] in px from the upper left corner
  6 | crop = { center = "middle", centre = [1, 2] }
    |                   ^

a.toml:6:29: table "data.crop": unknown parameter "centre"; did you mean "center"?
  6 | crop = { center = "middle", centre = [1, 2] }
    |                             ^

3 problems in a.toml)"},

    {"a tab and an accent before the mistake", "eta = 0.5\n\n[sample]\n",
     "\n[sample]\n\tcount = \"é\"\nspacing = \"é\" #",
     R"(a.toml:29:10: table "sample": parameter "count" must be an integer, not a string
  29 | 	count = "é"
     | 	        ^

a.toml:30:11: table "sample": parameter "spacing" must be one of "uniform", "rho", "log_sigma", not "é"
  30 | spacing = "é" #steps = 5
     |           ^

2 problems in a.toml)"},
};

}  // namespace

TEST_CASE("A wrong parameter is refused with its place, its line and what to do") {
  for (const Case& c : kCases) {
    INFO(c.what);
    CHECK(errors_of(edited(kExample, c.from, c.to)) == c.message);
  }
}

TEST_CASE("The example is valid, so that each message below is about its damage alone") {
  CHECK(errors_of(kExample) == "");
}
