// Variants and ablations that are right: what they become, and that resolved.toml reads back to the same.
#include "core/config/experiment.hpp"

#include <algorithm>

#include "core/config/resolved.hpp"
#include "core/config/tables.hpp"
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

using Words = std::vector<std::string>;

Experiment experiment(const std::string& tables, const Words& overrides = {}) {
  return parse_experiment(kExample + tables, "/pipelines/a.toml", overrides, examples());
}

const std::string kVariants = R"(
[[variant]]
name = "paper_loss"
train.loss_at = "corrupted"

[[variant]]
name = "both"
schedule = { type = "coupled" }
noise = false
corruption.std_max = 3.0
run.seed = 7
)";

// What reading back must not change: the whole of every pipeline, and of every grid.
void check_round_trip(const Experiment& given) {
  const std::string text = to_toml(given);
  const Experiment again = parse_experiment(text, "/elsewhere/resolved.toml", {}, examples());
  CHECK(to_toml(again) == text);
  REQUIRE(again.variants.size() == given.variants.size());
  for (size_t i = 0; i < given.variants.size(); ++i) {
    CHECK(again.variants[i].name == given.variants[i].name);
    CHECK(again.variants[i].family == given.variants[i].family);
    CHECK(to_toml(again.variants[i].pipeline) == to_toml(given.variants[i].pipeline));
  }
}

}  // namespace

TEST_CASE("A file without variants and ablations is its pipeline") {
  const Experiment plain = experiment("");
  CHECK(to_toml(plain) == to_toml(plain.base));
  CHECK(plain.variants.empty());
  CHECK(plain.grids.empty());
  CHECK(&plain.pipeline("") == &plain.base);
}

TEST_CASE("A variant is the file's pipeline with its own keys") {
  const Experiment e = experiment(kVariants);
  REQUIRE(e.variants.size() == 2);
  CHECK(identity_differences(e.base, e.pipeline("paper_loss")) == Words{"run.name", "train.loss_at"});
  CHECK(e.pipeline("paper_loss").run.text("name") == "a.paper_loss");
  CHECK(e.pipeline("paper_loss").train->text("loss_at") == "corrupted");
  const Pipeline& both = e.pipeline("both");
  CHECK(both.schedule.plugin->id() == "coupled");
  CHECK(!both.noise);
  CHECK(both.corruption[0].plugin->id() == "blur");
  CHECK(both.corruption[0].settings.real("std_max") == 3.0);
  CHECK(e.base.noise);
}

TEST_CASE("All variants draw their samples with the same seed, whatever their training's is") {
  const Experiment e = experiment(kVariants);
  CHECK(e.pipeline("both").run.integer("seed") == 7);
  CHECK(e.pipeline("both").sample.integer("seed") == 1);
  CHECK(experiment(kVariants + "sample.seed = 5\n").pipeline("both").sample.integer("seed") == 5);
}

TEST_CASE("The command line changes what the variants begin from") {
  const Experiment e = experiment(kVariants, {"train.batch=20", "corruption.std_max=5", "train.loss_at=next"});
  CHECK(e.pipeline("paper_loss").train->integer("batch") == 20);
  CHECK(e.pipeline("paper_loss").train->text("loss_at") == "corrupted");
  CHECK(e.pipeline("paper_loss").corruption[0].settings.real("std_max") == 5.0);
  CHECK(e.pipeline("both").corruption[0].settings.real("std_max") == 3.0);
}

TEST_CASE("The command line changes variants and ablations by their index, and removes them") {
  const Words overrides = {"variant.0.train.loss_at=next", "variant.1.schedule={type=\"coupled\"}",
                           "+ablate=[{sample.steps=[2]}]", "ablate.0.count=8"};
  const Experiment e = experiment(kVariants, overrides);
  CHECK(e.pipeline("paper_loss").train->text("loss_at") == "next");
  REQUIRE(e.grids.size() == 1);
  CHECK(e.grids[0].count == 8);
  CHECK(experiment(kVariants, {"~variant"}).variants.empty());
  CHECK(experiment(kVariants, {"~variant.0"}).variants[0].name == "both");
}

TEST_CASE("In a variant a table with a type replaces the file's, also where the command line gives it") {
  const std::string stamp =
      "\n[[variant]]\nname = \"v\"\ncorruption = { type = \"stamp\", times = 2, mask = \"m.png\" }\n";
  CHECK(experiment(stamp).pipeline("v").corruption[0].settings.integer("times") == 2);
  const Experiment e = experiment(stamp, {"variant.0.corruption={type=\"blur\"}"});
  CHECK(e.pipeline("v").corruption[0].plugin->id() == "blur");
  CHECK(e.pipeline("v").corruption[0].settings.real("std_max") ==
        parse(edited(kExample, "std_max = 8.0\n", "")).corruption[0].settings.real("std_max"));
}

TEST_CASE("A variant changes an operator of a composition by its index, or the whole list") {
  const std::string two = edited(kExample, "[corruption]\ntype = \"blur\"\nstd_max = 8.0\n",
                                 "[[corruption]]\ntype = \"blur\"\nto = 0.5\n[[corruption]]\ntype = \"blur\"\n");
  const auto variant = [&](const std::string& keys) {
    return parse_experiment(two + "[[variant]]\nname = \"v\"\n" + keys, "a.toml", {}, examples()).variants[0].pipeline;
  };
  const Pipeline changed = variant("corruption.0.std_max = 2.0\n");
  REQUIRE(changed.corruption.size() == 2);
  CHECK(changed.corruption[0].settings.real("std_max") == 2.0);
  CHECK(changed.corruption[0].to == 0.5);
  CHECK(!variant("corruption = { type = \"blur\" }\n").composed());
  CHECK(variant("corruption = [{ type = \"blur\" }, { type = \"blur\" }, { type = \"blur\" }]\n").corruption.size() ==
        3);
}

TEST_CASE("A fitted model stands beside a trained one") {
  const Experiment e = experiment("[[variant]]\nname = \"exact\"\nmodel = { type = \"oracle\" }\ntrain = false\n");
  CHECK(e.pipeline("exact").fitted());
  check_round_trip(e);
  const std::string fitted = edited(edited(kExample, "[train]\nimages = 1000\nbatch = 10\n", ""), "net", "oracle");
  const std::string trained = "[[variant]]\nname = \"net\"\nmodel = { type = \"net\" }\ntrain.images = 500\n";
  const Experiment other = parse_experiment(fitted + trained, "a.toml", {}, examples());
  CHECK(other.pipeline("net").train->integer("images") == 500);
  check_round_trip(other);
}

TEST_CASE("An ablation has a list of values for each key, and one value is a list of one") {
  const Experiment e = experiment(R"(
[[ablate]]
sampler = { type = "churned" }
sample.prior = "gaussian"
sample.steps = [5, 10]
score = ["frechet", "recall", "frechet"]
count = 100
)");
  REQUIRE(e.grids.size() == 1);
  const AblationGrid& grid = e.grids[0];
  CHECK(grid.variants.empty());
  REQUIRE(grid.samplers.size() == 1);
  CHECK(grid.samplers[0].plugin->id() == "churned");
  REQUIRE(grid.axes.size() == 2);
  CHECK(grid.axes[0].key == "steps");
  CHECK(grid.axes[0].values == std::vector<Setting>{int64_t{5}, int64_t{10}});
  CHECK(grid.axes[1].key == "prior");
  CHECK(grid.axes[1].values == std::vector<Setting>{std::string("gaussian")});
  CHECK(grid.scores == Words{"frechet", "recall"});
  CHECK(grid.count == 100);
}

TEST_CASE("An empty ablation is every variant with the pipeline's own sampler, judged by frechet") {
  const AblationGrid grid = experiment(kVariants + "\n[[ablate]]\n").grids.at(0);
  CHECK(grid.variants == Words{"paper_loss", "both"});
  CHECK(grid.samplers.empty());
  CHECK(grid.axes.empty());
  CHECK(grid.scores == Words{"frechet"});
  CHECK(grid.count == 0);
  CHECK(experiment(kVariants + "\n[[ablate]]\nvariant = \"both\"\n").grids.at(0).variants == Words{"both"});
}

TEST_CASE("The resolved form of an experiment holds what each variant changes") {
  const std::string text = to_toml(experiment(kVariants + R"(
[[ablate]]
sampler = [{ type = "step" }, { type = "churned" }]
sample.steps = [5, 10]
)"));
  CHECK(text.substr(text.find("\n[[variant]]")) == R"(
[[variant]]
name = "paper_loss"
train.loss_at = "corrupted"

[[variant]]
name = "both"
noise = false
run.seed = 7

[variant.corruption]
type = "blur"
std_max = 3.0

[variant.schedule]
type = "coupled"

[[ablate]]
variant = ["paper_loss", "both"]
sampler = [{ type = "step", eta = 0.0, order = 1 }, { type = "churned", churn = 0.0 }]
sample.steps = [5, 10]
score = ["frechet"]
count = 0
)");
}

TEST_CASE("The resolved form reads back to the same experiment") {
  check_round_trip(experiment(kVariants));
  check_round_trip(experiment(kVariants + "sample.seed = 5\nsample.prior = \"noise\"\ntrain.images = 2000\n"));
  check_round_trip(experiment(R"(
[[variant]]
name = "composed"
corruption = [{ type = "blur", to = 0.5 }, { type = "stamp", times = 2, mask = "m.png" }]
sampler = { type = "churned" }
model.channels = 64

[[ablate]]
sample = { steps = [1, 2], spacing = ["uniform", "rho"], clamp = [true, false] }
score = "recall"
count = 9

[[ablate]]
variant = "composed"
)"));
}

TEST_CASE("A variant with seeds is one training for each, which differ in run.seed and in the name alone") {
  const Experiment e = experiment("[[variant]]\nname = \"a\"\ntrain.batch = 20\nseeds = [3, 0]\n" + kVariants);
  REQUIRE(e.variants.size() == 4);
  CHECK(e.variants[0].name == "a.seed-3");
  CHECK(e.variants[1].name == "a.seed-0");
  CHECK(e.variants[2].name == "paper_loss");
  for (size_t i : {0, 1}) {
    CHECK(e.variants[i].family == "a");
    CHECK(e.variants[i].is_seeded());
    CHECK(e.variants[i].pipeline.train->integer("batch") == 20);
    CHECK(e.variants[i].pipeline.run.text("name") == "a." + e.variants[i].name);
  }
  CHECK(e.variants[0].pipeline.run.integer("seed") == 3);
  CHECK(e.variants[1].pipeline.run.integer("seed") == 0);
  CHECK(identity_differences(e.variants[0].pipeline, e.variants[1].pipeline) == Words{"run.name", "run.seed"});
  CHECK(e.variants[2].family == "paper_loss");
  CHECK(!e.variants[2].is_seeded());
}

TEST_CASE("All trainings of a variant draw with the same sample.seed, so that they can be paired with others") {
  const std::string variant = "[[variant]]\nname = \"a\"\nseeds = [3, 0]\n";
  for (const Variant& v : experiment(variant).variants) CHECK(v.pipeline.sample.integer("seed") == 1);
  for (const Variant& v : experiment(variant + "sample.seed = 8\n").variants)
    CHECK(v.pipeline.sample.integer("seed") == 8);
}

TEST_CASE("An ablation names a variant for all of its seeds") {
  const std::string variants = "[[variant]]\nname = \"a\"\nseeds = [3, 0]\n[[variant]]\nname = \"b\"\n";
  CHECK(experiment(variants + "[[ablate]]\n").grids.at(0).variants == Words{"a", "b"});
  CHECK(experiment(variants + "[[ablate]]\nvariant = \"a\"\n").grids.at(0).variants == Words{"a"});
}

TEST_CASE("The resolved form of seeds and of a baseline is what the file says, and reads back to the same") {
  const std::string tables = R"(
[[variant]]
name = "a"
seeds = [3, 0]
train.batch = 20

[[variant]]
name = "b"
run.seed = 7

[[ablate]]
variant = ["a"]
sampler = [{ type = "churned", churn = 1.0 }, { type = "step" }]
sample.steps = [2, 3]
baseline = { variant = "a", sampler = { type = "churned", churn = 1.0 }, sample = { steps = 3, clamp = false } }
)";
  const Experiment e = experiment(tables);
  const std::string text = to_toml(e);
  CHECK(text.substr(text.find("\n[[variant]]")) == R"(
[[variant]]
name = "a"
seeds = [3, 0]
train.batch = 20

[[variant]]
name = "b"
run.seed = 7

[[ablate]]
variant = ["a"]
sampler = [{ type = "churned", churn = 1.0 }, { type = "step", eta = 0.0, order = 1 }]
sample.steps = [2, 3]
score = ["frechet"]
count = 0
baseline = { variant = "a", sampler = { type = "churned", churn = 1.0 }, sample = { steps = 3, clamp = false } }
)");
  check_round_trip(e);
  check_round_trip(experiment("[[ablate]]\nbaseline = {}\n"));
  check_round_trip(experiment("[[ablate]]\nbaseline = { sampler = { type = \"step\" } }\n"));
}

TEST_CASE("A baseline is a variant by its name, or a table of what its row has") {
  const std::string variants = "[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\n";
  CHECK(!experiment(variants + "[[ablate]]\n").grids[0].baseline);
  const auto baseline = [&](const std::string& value) {
    return *experiment(variants + "[[ablate]]\nbaseline = " + value + "\n").grids[0].baseline;
  };
  CHECK(baseline("\"b\"").variant == "b");
  CHECK(!baseline("\"b\"").sampler);
  const RowPattern row = baseline("{ sampler = { type = \"step\", eta = 0.5 }, sample.steps = 3 }");
  CHECK(row.variant.empty());
  CHECK(row.sampler->plugin->id() == "step");
  CHECK(row.sampler->settings.at("eta").is_set);
  CHECK(!row.sampler->settings.at("order").is_set);
  CHECK(row.sample.entries().size() == 1);
  CHECK(row.sample.integer("steps") == 3);
}

TEST_CASE("A key acts where the one that it depends on has its value, and every condition is about keys that exist") {
  Settings sample = experiment("").base.sample;
  CHECK(sentence(*idle_condition("sample", "basis", sample)) == "sample.basis acts under prior = gaussian only");
  sample.find("prior")->value = std::string("gaussian");
  CHECK(!idle_condition("sample", "basis", sample));
  CHECK(!idle_condition("sample", "steps", sample));
  CHECK(sentence(*idle_condition("train", "next_step", *experiment("").base.train)) ==
        "train.next_step acts under loss_at = next only");
  for (const Condition& condition : conditions()) {
    const Schema& schema = condition.table == "sample" ? sample_schema() : train_schema();
    const auto param = [&](std::string_view key) {
      return std::find_if(schema.begin(), schema.end(), [&](const Param& p) { return p.key == key; });
    };
    INFO(sentence(condition));
    REQUIRE(param(condition.key) != schema.end());
    CHECK(param(condition.key)->def);
    const auto under = param(condition.under);
    REQUIRE(under != schema.end());
    CHECK(std::count(under->choices.begin(), under->choices.end(), condition.value) == 1);
  }
}
