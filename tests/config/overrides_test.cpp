// Changes from the command line.
#include "core/config/overrides.hpp"

#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

const std::string kComposition = edited(kExample, "[corruption]\ntype = \"blur\"\nstd_max = 8.0\n",
                                        "[[corruption]]\ntype = \"blur\"\nto = 0.5\n\n"
                                        "[[corruption]]\ntype = \"blur\"\nstd_max = 3.0\n");
const std::string kCoupled = edited(edited(kExample, "[noise]\ntype = \"sigmas\"\n", ""), "\"levels\"", "\"coupled\"");

// The message for one argument, without the closing count.
std::string refusal(const std::string& argument, const std::string& text = kExample) {
  const std::string errors = errors_of(text, {argument});
  return errors.substr(0, errors.rfind("\n\n"));
}

}  // namespace

TEST_CASE("A value is TOML, else a string") {
  CHECK(parse(kExample, {"train.batch=20"}).train->integer("batch") == 20);
  CHECK(parse(kExample, {"corruption.std_max=3"}).corruption[0].settings.real("std_max") == 3.0);
  CHECK(parse(kExample, {"train.betas=[0.5, 0.6]"}).train->get<std::vector<double>>("betas")[1] == 0.6);
  CHECK(parse(kExample, {"data.path=/data/a b=c#d"}).data.text("path") == "/data/a b=c#d");
  CHECK(parse(kExample, {"data.path=2020-01-01"}).data.text("path") == "2020-01-01");
  CHECK(parse(kExample, {"data.path=\"3\""}).data.text("path") == "3");
  CHECK(parse(kExample, {"data.path="}).data.text("path").empty());
  CHECK(parse(kExample, {"train.weight=uniform"}).train->text("weight") == "uniform");
}

TEST_CASE(
    "A parameter at its default is set like one of the file, and a table that always exists like one that is there") {
  CHECK(parse(kExample, {"sampler.order=2"}).sampler.settings.integer("order") == 2);
  CHECK(parse(edited(kExample, "[run]\nseed = 1\n", ""), {"run.seed=7"}).run.integer("seed") == 7);
}

TEST_CASE("A table value is merged into a host's table") {
  const Pipeline pipeline = parse(kExample, {"train={batch=20, clip_norm=2}"});
  CHECK(pipeline.train->integer("images") == 1000);
  CHECK(pipeline.train->integer("batch") == 20);
  CHECK(pipeline.train->real("clip_norm") == 2.0);
}

TEST_CASE("A plugin's table is merged without a type and replaced with one") {
  const Pipeline merged = parse(kExample, {"sampler={order=3}"});
  CHECK(merged.sampler.settings.real("eta") == 0.5);
  CHECK(merged.sampler.settings.integer("order") == 3);
  const Pipeline replaced = parse(kExample, {"sampler={type=\"step\", order=3}"});
  CHECK(replaced.sampler.settings.real("eta") == 0.0);
  CHECK(replaced.sampler.settings.integer("order") == 3);
}

TEST_CASE("Another type drops the file's parameters, not those of the command line") {
  CHECK(parse(kExample, {"sampler.type=churned"}).sampler.plugin->id() == "churned");
  CHECK(parse(kExample, {"sampler.type=step"}).sampler.settings.real("eta") == 0.5);
  const Pipeline before = parse(kExample, {"sampler.churn=2", "sampler.type=churned"});
  const Pipeline after = parse(kExample, {"sampler.type=churned", "sampler.churn=2"});
  CHECK(before.sampler.settings.real("churn") == 2.0);
  CHECK(after.sampler.settings.real("churn") == 2.0);
}

TEST_CASE("noise=false removes [noise]") {
  CHECK_FALSE(parse(kExample, {"schedule.type=coupled", "noise=false"}).noise);
  CHECK_FALSE(parse(kCoupled, {"noise=false"}).noise);
}

TEST_CASE("Plus adds a table, tilde removes a table or a key") {
  const Pipeline added = parse(kCoupled, {"+noise.type=sigmas", "schedule.type=levels"});
  CHECK(added.noise->plugin->id() == "sigmas");
  CHECK(parse(kCoupled, {"+noise={type=\"sigmas\"}", "schedule.type=levels"}).noise);
  CHECK(parse(kExample, {"~train", "model.type=oracle"}).fitted());
  CHECK(parse(kExample, {"~sampler.eta"}).sampler.settings.real("eta") == 0.0);
  CHECK(parse(kExample, {"data.type=folder", "+data.crop.size=20"}).crop->size == 20);
}

TEST_CASE("An operator of a composition is meant by its index") {
  const Pipeline set = parse(kComposition, {"corruption.0.std_max=4", "corruption.1={to=0.9}"});
  CHECK(set.corruption[0].settings.real("std_max") == 4.0);
  CHECK(set.corruption[0].to == 0.5);
  CHECK(set.corruption[1].settings.real("std_max") == 3.0);
  CHECK(set.corruption[1].to == 0.9);
  CHECK(parse(kComposition, {"+corruption.2={type=\"blur\"}"}).corruption.size() == 3);
  CHECK(parse(kComposition, {"~corruption.0"}).corruption[0].settings.real("std_max") == 3.0);
  CHECK(parse(kComposition, {"corruption={type=\"blur\", std_max=2}"}).corruption.size() == 1);
  CHECK(parse(kExample, {"corruption=[{type=\"blur\"}, {type=\"blur\", from=0.5}]"}).corruption[1].from == 0.5);
}

TEST_CASE("The window of an operator stays when its type changes") {
  const Pipeline pipeline =
      parse(kComposition, {"corruption.0.type=stamp", "corruption.0.times=2", "corruption.0.mask=m.png"});
  CHECK(pipeline.corruption[0].to == 0.5);
}

TEST_CASE("A mistake in an override is shown at the argument") {
  CHECK(refusal("corruption.std_mx=16") ==
        R"(<command line>#1:1:12: table "blur": unknown parameter "std_mx"; did you mean "std_max"?
  1 | corruption.std_mx=16
    |            ^)");
  CHECK(refusal("train.batch=0") == R"(<command line>#1:1:13: table "train": parameter "batch" must be >= 1, not 0
  1 | train.batch=0
    |             ^)");
  CHECK(refusal("train={batch=1, bach=2}") ==
        R"(<command line>#1:1:17: table "train": unknown parameter "bach"; did you mean "batch"?
  1 | train={batch=1, bach=2}
    |                 ^)");
  CHECK(refusal("sampler.type=churnd") ==
        R"(<command line>#1:1:14: no sampler named "churnd"; known: churned, step; did you mean "churned"?
  1 | sampler.type=churnd
    |              ^)");
}

TEST_CASE("What an override cannot reach is named") {
  CHECK(
      refusal("samplr.order=2") ==
      R"(<command line>#1:1:1: there is no table "samplr" in the file; did you mean "sampler"?; +samplr.order=2 adds it
  1 | samplr.order=2
    | ^)");
  CHECK(refusal("noise.power=2", kCoupled) ==
        R"(<command line>#1:1:1: there is no table "noise" in the file; +noise.power=2 adds it
  1 | noise.power=2
    | ^)");
  CHECK(refusal("noise={type=\"sigmas\"}", kCoupled) ==
        R"(<command line>#1:1:1: there is no table "noise" in the file; +noise={type="sigmas"} adds it
  1 | noise={type="sigmas"}
    | ^)");
  CHECK(refusal("~train.bach") ==
        R"(<command line>#1:1:8: nothing to remove: "train.bach" is not in the file; did you mean "batch"?
  1 | ~train.bach
    |        ^)");
  CHECK(refusal("train.batch.size=2") == R"(<command line>#1:1:7: "train.batch" is an integer, not a table
  1 | train.batch.size=2
    |       ^)");
  CHECK(refusal("corruption.std_max=2", kComposition) ==
        R"(<command line>#1:1:12: "corruption" is a list of 2: say which one, for example corruption.0.std_max
  1 | corruption.std_max=2
    |            ^)");
  CHECK(refusal("corruption={std_max=2}", kComposition) ==
        R"(<command line>#1:1:1: "corruption" is a list of 2: say which one, for example corruption.0={std_max=2}
  1 | corruption={std_max=2}
    | ^)");
  CHECK(refusal("corruption.2.std_max=2", kComposition) ==
        R"(<command line>#1:1:12: there is no corruption.2: the list "corruption" holds 2, counted from 0
  1 | corruption.2.std_max=2
    |            ^)");
  CHECK(refusal("corruption=[]") ==
        R"(<command line>#1:1:12: "corruption" must be a table or a list of tables, not an empty array
  1 | corruption=[]
    |            ^)");
}

TEST_CASE("An argument that is no override is refused") {
  CHECK(refusal("train.batch") == R"(<command line>#1:1:1: an override is key=value, +key=value or ~key
  1 | train.batch
    | ^)");
  CHECK(refusal("~train.batch=2") == R"(<command line>#1:1:1: ~key takes no value
  1 | ~train.batch=2
    | ^)");
  CHECK(refusal("train..batch=2") == R"(<command line>#1:1:7: a key is missing here
  1 | train..batch=2
    |       ^)");
  CHECK(refusal("=2") == R"(<command line>#1:1:1: a key is missing here
  1 | =2
    | ^)");
  const std::string broken = refusal("sampler={type=\"step\"");
  CHECK(broken.substr(0, broken.find("not TOML: ")) == "<command line>#1:1:21: ");
}

TEST_CASE("Problems of the file come before those of the command line") {
  CHECK(errors_of(edited(kExample, "seed = 1", "seed = -1"), {"train.batch=0", "train.clip_norm=-1"}) ==
        R"(a.toml:2:8: table "run": parameter "seed" must be >= 0, not -1
  2 | seed = -1
    |        ^

<command line>#1:1:13: table "train": parameter "batch" must be >= 1, not 0
  1 | train.batch=0
    |             ^

<command line>#2:1:17: table "train": parameter "clip_norm" must be >= 0, not -1
  1 | train.clip_norm=-1
    |                 ^

3 problems in a.toml)");
}
