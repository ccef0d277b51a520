// resolved.toml, and which changes make another run.
#include "core/config/resolved.hpp"

#include <filesystem>

#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

using Keys = std::vector<std::string>;

Keys differences(const Keys& overrides) { return identity_differences(parse(kExample), parse(kExample, overrides)); }

void check_round_trip(const Pipeline& pipeline, const Registry& registry) {
  const std::string text = to_toml(pipeline);
  const Pipeline again = parse_pipeline(text, "/elsewhere/resolved.toml", {}, registry);
  CHECK(to_toml(again) == text);
  CHECK(identity_differences(pipeline, again).empty());
}

}  // namespace

TEST_CASE("The resolved form holds every value") {
  CHECK(to_toml(parse(kExample)) == R"([run]
name = "a"
seed = 1
threads = 0
device = "auto"
precision = "float32"
deterministic = true
synchronous = false

[data]
type = "idx"
path = "train-images"
split = "train"
channels = 0
resize = 0
flip = false
limit = 0
held_out = 0
on_bad_file = "error"
workers = 2

[corruption]
type = "blur"
std_max = 8.0

[schedule]
type = "levels"

[noise]
type = "sigmas"

[model]
type = "net"
channels = 32

[train]
images = 1000
batch = 10
accumulate = 1
learning_rate = 0.0002
warmup_images = 0
decay = "constant"
betas = [0.9, 0.999]
clip_norm = 1.0
weight = "inverse_sigma"
loss_at = "clean"
next_step = 0.25
clean_weight = 0.0
parametrisation = "residual"
t_min = 0.001
times = "uniform"
ema_decay = 0.9999
on_nonfinite = "stop"
checkpoint_every_images = 100
keep_checkpoints = 2
log_every = 20

[sampler]
type = "step"
eta = 0.5
order = 1

[sample]
steps = 5
count = 64
prior = "mixture"
prior_components = 0
basis = "dct"
spacing = "uniform"
t_min = 0.0
seed = 1
batch = 64
clamp = false
)");
}

TEST_CASE("The resolved form reads back to the same pipeline") {
  check_round_trip(parse(kExample), examples());
  check_round_trip(parse(kExample, {"data.type=folder", "data.crop={size=128, center=[121, 89]}", "sample.seed=9",
                                    "train.learning_rate=1e-7", "data.path='a \"b\" \\ é'"}),
                   examples());
  check_round_trip(parse(kExample, {"schedule.type=coupled", "noise=false", "model.type=oracle", "~train"}),
                   examples());
  check_round_trip(parse(kExample, {"corruption=[{type=\"blur\", to=0.3}, {type=\"stamp\", times=2, mask=\"m.png\", "
                                    "label=\"\\u0007\", weights=[], offsets=[3]}]"}),
                   examples());
}

TEST_CASE("Every shipped pipeline is valid and reads back to the same pipeline") {
  const std::filesystem::path root = SDPIPE_SOURCE_DIR;
  const Registry registry(PluginSearch{{}, {std::filesystem::path(SDPIPE_BUILD_DIR) / "plugins"}});
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root / "pipelines")) {
    if (entry.path().extension() != ".toml") continue;
    INFO(entry.path().string());
    const Experiment experiment = load_experiment(entry.path(), {}, registry);
    check_round_trip(experiment.base, registry);
    const std::string text = to_toml(experiment);
    CHECK(to_toml(parse_experiment(text, "/elsewhere/resolved.toml", {}, registry)) == text);
    ++seen;
  }
  CHECK(seen > 0);
}

TEST_CASE(
    "A resolved form of before means what it meant: it spells out the loss, and keys that came later are at rest") {
  const std::string old =
      edited(kExample, "batch = 10\n",
             "batch = 10\nweight = \"inverse_variance\"\nloss_at = \"corrupted\"\nnext_step = 0.25\nt_min = 0.001\n");
  const Pipeline before = parse(old);
  CHECK(before.train->text("weight") == "inverse_variance");
  CHECK(before.train->text("loss_at") == "corrupted");
  const Keys today = {"train.weight=inverse_variance", "train.loss_at=corrupted", "train.clean_weight=0",
                      "train.parametrisation=residual"};
  CHECK(identity_differences(before, parse(kExample, today)).empty());
  CHECK(identity_differences(before, parse(kExample)) == Keys{"train.weight", "train.loss_at"});
}

TEST_CASE("The same pipeline is the same run") { CHECK(differences({}).empty()); }

TEST_CASE("What the weights do not depend on makes no other run") {
  CHECK(differences({"sampler.type=churned", "sample.steps=9", "run.threads=1", "data.workers=4", "train.log_every=1",
                     "train.checkpoint_every_images=3", "train.keep_checkpoints=5", "train.accumulate=2"})
            .empty());
}

TEST_CASE("Every other change makes another run and is named") {
  CHECK(differences({"run.seed=2"}) == Keys{"run.seed"});
  CHECK(differences({"train.batch=20", "corruption.std_max=9", "data.flip=true"}) ==
        Keys{"data.flip", "corruption.std_max", "train.batch"});
  CHECK(identity_differences(parse(kExample, {"data.type=folder"}),
                             parse(kExample, {"data.type=folder", "data.crop={size=4}"})) == Keys{"data.crop"});
  CHECK(differences({"run.precision=float64"}) == Keys{"run.precision"});
}

TEST_CASE("Another plugin or table is one difference, not one for each key") {
  CHECK(differences({"corruption={type=\"stamp\", times=1, mask=\"m\"}"}) == Keys{"corruption.type"});
  CHECK(differences({"schedule.type=coupled", "noise=false"}) == Keys{"schedule.type", "noise"});
  CHECK(differences({"model.type=oracle", "~train"}) == Keys{"model.type", "train"});
  CHECK(differences({"corruption=[{type=\"blur\"}, {type=\"blur\"}]"}) == Keys{"corruption"});
}

TEST_CASE("Crops that differ are named by what differs in them") {
  const Pipeline a = parse(kExample, {"data.type=folder", "data.crop={size=4}"});
  const Pipeline b = parse(kExample, {"data.type=folder", "data.crop={size=4, center=[1, 2]}"});
  CHECK(identity_differences(a, b) == Keys{"data.crop.center"});
}

TEST_CASE("More images go on with a run only under a constant learning rate") {
  CHECK(differences({"train.images=2000"}).empty());
  CHECK(differences({"train.images=500"}) == Keys{"train.images"});
  CHECK(differences({"train.images=2000", "train.decay=cosine"}) == Keys{"train.images", "train.decay"});
  const Pipeline a = parse(kExample, {"train.decay=cosine"});
  const Pipeline b = parse(kExample, {"train.decay=cosine", "train.images=2000"});
  CHECK(identity_differences(a, b) == Keys{"train.images"});
}
