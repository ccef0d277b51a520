// Variants and ablations that are wrong: the whole message for each; every case adds tables to the example.
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

struct Case {
  const char* what;
  const char* tables;  // after the example, whose last line is 29
  const char* message;
};

const Case kCases[] = {
    {"a variant that is a table", "[variant]\nname = \"a\"\n",
     R"(a.toml:31:2: "variant" must be a list of tables, each written [[variant]], not a table
  31 | [variant]
     |  ^

1 problem in a.toml)"},
    {"a variant without a name", "[[variant]]\ntrain.batch = 5\n",
     R"(a.toml:31:1: table "variant": "name" is missing, which its folder has under variants/
  31 | [[variant]]
     | ^

1 problem in a.toml)"},
    {"a variant whose name is no string", "[[variant]]\nname = 3\n",
     R"(a.toml:32:8: table "variant": "name" must be a string, not an integer
  32 | name = 3
     |        ^

1 problem in a.toml)"},
    {"a variant whose name is no folder", "[[variant]]\nname = \"a/b\"\n",
     R"(a.toml:32:8: table "variant": "name" must be a plain folder name (no "/", no "." or "-" in front, with run.name at most 199 bytes), not "a/b"
  32 | name = "a/b"
     |        ^

1 problem in a.toml)"},
    {"two variants of one name", "[[variant]]\nname = \"a\"\n[[variant]]\nname = \"a\"\n",
     R"(a.toml:34:8: table "variant": "a" is the name of an earlier variant
  34 | name = "a"
     |        ^

1 problem in a.toml)"},
    {"a variant of the data", "[[variant]]\nname = \"a\"\ndata.limit = 5\n",
     R"(a.toml:33:1: variant "a": [data] is the same for all variants, so that their samples can be compared
  33 | data.limit = 5
     | ^

1 problem in a.toml)"},
    {"a variant of the device", "[[variant]]\nname = \"a\"\nrun = { seed = 2, device = \"cuda\" }\n",
     R"(a.toml:33:19: variant "a": of [run] a variant may change seed and threads alone, not "device"
  33 | run = { seed = 2, device = "cuda" }
     |                   ^

1 problem in a.toml)"},
    {"an unknown table in a variant", "[[variant]]\nname = \"a\"\ntrian.batch = 5\n",
     R"(a.toml:33:1: variant "a": unknown table "trian"; did you mean "train"?
  33 | trian.batch = 5
     | ^

1 problem in a.toml)"},
    {"an unknown key in a variant", "[[variant]]\nname = \"a\"\ntrain.bacth = 5\n",
     R"(a.toml:33:7: variant "a": table "train": unknown parameter "bacth"; did you mean "batch"?
  33 | train.bacth = 5
     |       ^

1 problem in a.toml)"},
    {"a value out of range in a variant", "[[variant]]\nname = \"a\"\ntrain.batch = 0\n",
     R"(a.toml:33:15: variant "a": table "train": parameter "batch" must be >= 1, not 0
  33 | train.batch = 0
     |               ^

1 problem in a.toml)"},
    {"a key of the replaced plugin in a variant",
     "[[variant]]\nname = \"a\"\nsampler = { type = \"churned\", eta = 1.0 }\n",
     R"(a.toml:33:31: variant "a": table "churned": unknown parameter "eta"; known: churn
  33 | sampler = { type = "churned", eta = 1.0 }
     |                               ^

1 problem in a.toml)"},
    {"a combination that is wrong in a variant", "[[variant]]\nname = \"a\"\nschedule = { type = \"coupled\" }\n",
     R"(a.toml:31:1: variant "a": schedule "coupled" fills sigma as well as levels: remove [noise] with noise = false
  31 | [[variant]]
     | ^

1 problem in a.toml)"},
    {"a fitted model beside the file's [train]", "[[variant]]\nname = \"a\"\nmodel = { type = \"oracle\" }\n",
     R"(a.toml:31:1: variant "a": model "oracle" is fitted, not trained: remove [train] with train = false
  31 | [[variant]]
     | ^

1 problem in a.toml)"},
    {"noise = true in a variant", "[[variant]]\nname = \"a\"\nnoise = true\n",
     R"(a.toml:33:1: variant "a": "noise" must be a table, not a boolean
  33 | noise = true
     | ^

1 problem in a.toml)"},
    {"an unknown key in an ablation", "[[ablate]]\nsmapler = [{ type = \"step\" }]\n",
     R"(a.toml:32:1: table "ablate": unknown parameter "smapler"; did you mean "sampler"?
  32 | smapler = [{ type = "step" }]
     | ^

1 problem in a.toml)"},
    {"a key of [sample] directly in an ablation", "[[ablate]]\nsteps = [5, 10]\n",
     R"(a.toml:32:1: table "ablate": unknown parameter "steps"; did you mean "sample.steps"?
  32 | steps = [5, 10]
     | ^

1 problem in a.toml)"},
    {"an unknown key of [sample] in an ablation", "[[ablate]]\nsample.stpes = [5, 10]\n",
     R"(a.toml:32:8: table "ablate.sample": unknown parameter "stpes"; did you mean "steps"?
  32 | sample.stpes = [5, 10]
     |        ^

1 problem in a.toml)"},
    {"a number of samples that varies", "[[ablate]]\nsample.count = [5, 10]\n",
     R"(a.toml:32:8: table "ablate": "sample.count" cannot vary, because scores of few samples are biased: write count = N
  32 | sample.count = [5, 10]
     |        ^

1 problem in a.toml)"},
    {"a batch that varies", "[[ablate]]\nsample.batch = [5, 10]\n",
     R"(a.toml:32:8: table "ablate": "sample.batch" cannot vary, because it is no setting to compare: set it in [sample]
  32 | sample.batch = [5, 10]
     |        ^

1 problem in a.toml)"},
    {"a variant with too few samples",
     "[[variant]]\nname = \"a\"\nsample.count = 3\n[[variant]]\nname = \"b\"\n[[ablate]]\n",
     R"(a.toml:36:1: table "ablate": add count = N, at least 4 samples a cell; sample.count of variant "a" is 3
  36 | [[ablate]]
     | ^

1 problem in a.toml)"},
    {"an empty list of samplers", "[[ablate]]\nsampler = []\n",
     R"(a.toml:32:11: table "ablate": "sampler" must not be an empty list: leave it out for the pipeline's own
  32 | sampler = []
     |           ^

1 problem in a.toml)"},
    {"an empty list of steps", "[[ablate]]\nsample.steps = []\n",
     R"(a.toml:32:16: table "ablate": "sample.steps" must not be an empty list: leave it out for the pipeline's own
  32 | sample.steps = []
     |                ^

1 problem in a.toml)"},
    {"an empty list of scores", "[[ablate]]\nscore = []\n",
     R"(a.toml:32:9: table "ablate": "score" must not be an empty list: leave it out for frechet
  32 | score = []
     |         ^

1 problem in a.toml)"},
    {"a sampler by its name alone", "[[ablate]]\nsampler = [\"step\"]\n",
     R"(a.toml:32:12: table "ablate": "sampler" must hold tables, for example [{ type = "ddim" }], not a string
  32 | sampler = ["step"]
     |            ^

1 problem in a.toml)"},
    {"an unknown sampler", "[[ablate]]\nsampler = [{ type = \"step\" }, { type = \"stpe\" }]\n",
     R"(a.toml:32:40: no sampler named "stpe"; known: churned, step; did you mean "step"?
  32 | sampler = [{ type = "step" }, { type = "stpe" }]
     |                                        ^

1 problem in a.toml)"},
    {"a sampler without a type", "[[ablate]]\nsampler = { eta = 1.0 }\n",
     R"(a.toml:32:11: table "ablate.sampler": "type" is missing, the name of a sampler; known: churned, step
  32 | sampler = { eta = 1.0 }
     |           ^

1 problem in a.toml)"},
    {"an unknown key of a sampler", "[[ablate]]\nsampler = [{ type = \"step\", eat = 1.0 }]\n",
     R"(a.toml:32:29: table "step": unknown parameter "eat"; did you mean "eta"?
  32 | sampler = [{ type = "step", eat = 1.0 }]
     |                             ^

1 problem in a.toml)"},
    {"a value of the wrong type", "[[ablate]]\nsample.steps = [5, 2.5]\n",
     R"(a.toml:32:20: table "ablate.sample": parameter "steps" must be an integer, not a float
  32 | sample.steps = [5, 2.5]
     |                    ^

1 problem in a.toml)"},
    {"[sample] that is no table", "[[ablate]]\nsample = 5\n",
     R"(a.toml:32:1: table "ablate": "sample" must be a table, for example sample.steps = [10, 50], not an integer
  32 | sample = 5
     | ^

1 problem in a.toml)"},
    {"an unknown score", "[[ablate]]\nscore = [\"frechet\", \"fid\"]\n",
     R"(a.toml:32:21: table "ablate": parameter "score" must be one of "frechet", "sliced_wasserstein", "precision", "recall", "nearest_neighbour", not "fid"
  32 | score = ["frechet", "fid"]
     |                     ^

1 problem in a.toml)"},
    {"a variant where there are none", "[[ablate]]\nvariant = \"a\"\n",
     R"(a.toml:32:1: table "ablate": "variant" is given, but the file has no [[variant]]: remove it
  32 | variant = "a"
     | ^

1 problem in a.toml)"},
    {"an unknown variant", "[[variant]]\nname = \"clean\"\n[[ablate]]\nvariant = [\"claen\", 3]\n",
     R"(a.toml:34:12: table "ablate": no variant named "claen"; known: clean; did you mean "clean"?
  34 | variant = ["claen", 3]
     |            ^

a.toml:34:21: table "ablate": "variant" must hold names of variants, not an integer
  34 | variant = ["claen", 3]
     |                     ^

2 problems in a.toml)"},
    {"an empty list of variants", "[[variant]]\nname = \"clean\"\n[[ablate]]\nvariant = []\n",
     R"(a.toml:34:11: table "ablate": "variant" must not be an empty list: leave it out for all of them
  34 | variant = []
     |           ^

1 problem in a.toml)"},
    {"seeds that are no list", "[[variant]]\nname = \"a\"\nseeds = 3\n",
     R"(a.toml:33:9: variant "a": "seeds" must be a list of seeds, for example [0, 1, 2], not an integer
  33 | seeds = 3
     |         ^

1 problem in a.toml)"},
    {"an empty list of seeds", "[[variant]]\nname = \"a\"\nseeds = []\n",
     R"(a.toml:33:9: variant "a": "seeds" must be a list of seeds, for example [0, 1, 2], not an empty list: leave it out for run.seed alone
  33 | seeds = []
     |         ^

1 problem in a.toml)"},
    {"seeds that are none, below 0, and twice the same", "[[variant]]\nname = \"a\"\nseeds = [0, 1.5, -1, 0]\n",
     R"(a.toml:33:13: variant "a": "seeds" must hold integers, not a float
  33 | seeds = [0, 1.5, -1, 0]
     |             ^

a.toml:33:18: variant "a": "seeds" must be >= 0, not -1
  33 | seeds = [0, 1.5, -1, 0]
     |                  ^

a.toml:33:22: variant "a": "seeds" holds 0 twice: each is one training
  33 | seeds = [0, 1.5, -1, 0]
     |                      ^

3 problems in a.toml)"},
    {"seeds beside a run.seed", "[[variant]]\nname = \"a\"\nseeds = [0]\nrun.seed = 4\n",
     R"(a.toml:34:5: variant "a": "seeds" gives run.seed of each training: remove one of the two
  34 | run.seed = 4
     |     ^

1 problem in a.toml)"},
    {"a folder that seeds make and another variant has",
     "[[variant]]\nname = \"a.seed-1\"\n[[variant]]\nname = \"a\"\nseeds = [0, 1]\n",
     R"(a.toml:35:9: table "variant": "a.seed-1" is the name of an earlier variant
  35 | seeds = [0, 1]
     |         ^

1 problem in a.toml)"},
    {"a mistyped key of a variant", "[[variant]]\nname = \"a\"\nseed = [0, 1]\n",
     R"(a.toml:33:1: variant "a": unknown table "seed"; did you mean "seeds"?
  33 | seed = [0, 1]
     | ^

1 problem in a.toml)"},
    {"a baseline that is no variant", "[[variant]]\nname = \"clean\"\n[[ablate]]\nbaseline = \"claen\"\n",
     R"(a.toml:34:12: table "ablate": no variant named "claen"; known: clean; did you mean "clean"?
  34 | baseline = "claen"
     |            ^

1 problem in a.toml)"},
    {"a baseline of another type", "[[variant]]\nname = \"clean\"\n[[ablate]]\nbaseline = 1\n",
     R"(a.toml:34:12: table "ablate": "baseline" must be a variant's name, or a table, for example { sampler = { type = "ddim" } }, not an integer
  34 | baseline = 1
     |            ^

1 problem in a.toml)"},
    {"a variant as the baseline where there are none", "[[ablate]]\nbaseline = \"clean\"\n",
     R"(a.toml:32:12: table "ablate": "baseline" names a variant, but the file has no [[variant]]: write a table, for example { sampler = { type = "ddim" } }
  32 | baseline = "clean"
     |            ^

1 problem in a.toml)"},
    {"unknown keys of a baseline", "[[ablate]]\nbaseline = { samplr = 1, steps = 3, colour = 0 }\n",
     R"(a.toml:32:14: table "ablate": unknown parameter "samplr" of "baseline"; did you mean "sampler"?
  32 | baseline = { samplr = 1, steps = 3, colour = 0 }
     |              ^

a.toml:32:26: table "ablate": unknown parameter "steps" of "baseline"; did you mean "sample.steps"?
  32 | baseline = { samplr = 1, steps = 3, colour = 0 }
     |                          ^

a.toml:32:37: table "ablate": unknown parameter "colour" of "baseline"; known: variant, sampler, sample
  32 | baseline = { samplr = 1, steps = 3, colour = 0 }
     |                                     ^

3 problems in a.toml)"},
    {"a baseline's sampler and sample that are no tables",
     "[[ablate]]\nbaseline = { sampler = \"step\", sample = 3 }\n",
     R"(a.toml:32:24: table "ablate": "sampler" of "baseline" must be a table, for example { type = "ddim" }, not a string
  32 | baseline = { sampler = "step", sample = 3 }
     |                        ^

a.toml:32:41: table "ablate": "sample" of "baseline" must be a table, for example sample.steps = 10, not an integer
  32 | baseline = { sampler = "step", sample = 3 }
     |                                         ^

2 problems in a.toml)"},
    {"a seed and a wrong value in a baseline", "[[ablate]]\nbaseline = { sample.seed = 1, sample.steps = 0 }\n",
     R"(a.toml:32:21: table "ablate": "sample.seed" is no part of "baseline": a row is the mean over the seeds
  32 | baseline = { sample.seed = 1, sample.steps = 0 }
     |                     ^

a.toml:32:46: table "ablate.baseline.sample": parameter "steps" must be >= 1, not 0
  32 | baseline = { sample.seed = 1, sample.steps = 0 }
     |                                              ^

2 problems in a.toml)"},
    {"two baselines", "[[ablate]]\nbaseline = {}\n[[ablate]]\nbaseline = {}\n",
     R"(a.toml:34:12: table "ablate": an earlier [[ablate]] gives "baseline" already: all of them are one table, which has one
  34 | baseline = {}
     |            ^

1 problem in a.toml)"},
    {"too few samples for a score", "[[ablate]]\ncount = 3\n",
     R"(a.toml:32:9: table "ablate": "count" must be at least 4 samples a cell, not 3
  32 | count = 3
     |         ^

1 problem in a.toml)"},
    {"a count of the wrong type", "[[ablate]]\ncount = [8]\n",
     R"(a.toml:32:9: table "ablate": parameter "count" must be an integer, not an array
  32 | count = [8]
     |         ^

1 problem in a.toml)"},
};

}  // namespace

TEST_CASE("Each mistake in variants and ablations has its sentence and its place") {
  for (const Case& c : kCases) {
    INFO(c.what);
    CHECK(errors_of(kExample + c.tables) == c.message);
  }
}

TEST_CASE("Lists that are none are refused where the command line gives them") {
  CHECK(errors_of(kExample, {"+variant=[]"}) ==
        R"(<command line>#1:1:2: "variant" must be a list of tables, each written [[variant]], not an empty array
  1 | +variant=[]
    |  ^

1 problem in a.toml)");
  CHECK(
      errors_of(kExample, {"+ablate=[{count=9}, 3]"}) ==
      R"(<command line>#1:1:2: "ablate" must be a list of tables, each written [[ablate]], not an array that holds something else
  1 | +ablate=[{count=9}, 3]
    |  ^

1 problem in a.toml)");
}

TEST_CASE("Too few samples of a file without variants are its own") {
  CHECK(errors_of(kExample, {"sample.count=2", "+ablate=[{}]"}) ==
        R"(<command line>#2:1:10: table "ablate": add count = N, at least 4 samples a cell; sample.count is 2
  1 | +ablate=[{}]
    |          ^

1 problem in a.toml)");
}

TEST_CASE("An operator of a composition that is not there is refused in a variant") {
  const std::string two = edited(kExample, "[corruption]\ntype = \"blur\"\nstd_max = 8.0\n",
                                 "[[corruption]]\ntype = \"blur\"\n[[corruption]]\ntype = \"blur\"\n");
  CHECK(
      errors_of(two + "[[variant]]\nname = \"a\"\ncorruption.2.std_max = 2.0\n") ==
      R"(a.toml:34:12: variant "a": "corruption" is a list of 2: say which one by its index from 0, or give another list, or a table with "type"
  34 | corruption.2.std_max = 2.0
     |            ^

1 problem in a.toml)");
}

TEST_CASE("What is wrong with the file itself is not said again for its variants") {
  CHECK(errors_of(edited(kExample, "batch = 10", "batch = 0") + "[[variant]]\nname = \"a\"\ntrain.images = 0\n") ==
        R"(a.toml:23:9: table "train": parameter "batch" must be >= 1, not 0
  23 | batch = 0
     |         ^

a.toml:33:16: variant "a": table "train": parameter "images" must be >= 1, not 0
  33 | train.images = 0
     |                ^

2 problems in a.toml)");
}

TEST_CASE("Too few samples are refused of what is compared alone") {
  const std::string variants =
      "[[variant]]\nname = \"a\"\nsample.count = 64\n[[variant]]\nname = \"b\"\nsample.count = 3\n";
  const std::string few = edited(kExample, "steps = 5\n", "steps = 5\ncount = 2\n") + variants;
  CHECK(errors_of(few + "[[ablate]]\nvariant = \"a\"\n") == "");
  CHECK(errors_of(few + "[[ablate]]\ncount = 4\n") == "");
  CHECK(errors_of(few + "[[ablate]]\n") ==
        R"(a.toml:38:1: table "ablate": add count = N, at least 4 samples a cell; sample.count of variant "b" is 3
  38 | [[ablate]]
     | ^

1 problem in a.toml)");
}

TEST_CASE("What the command line does to variants and ablations is placed there") {
  const std::string variant = "[[variant]]\nname = \"a\"\n";
  CHECK(errors_of(kExample + variant, {"variant.0.train.batch=0", "sample.count=2", "+ablate=[{}]"}) ==
        R"(<command line>#1:1:11: there is no table "variant.0.train" in the file; +variant.0.train.batch=0 adds it
  1 | variant.0.train.batch=0
    |           ^

<command line>#3:1:10: table "ablate": add count = N, at least 4 samples a cell; sample.count of variant "a" is 2
  1 | +ablate=[{}]
    |          ^

2 problems in a.toml)");
}
