// What the program does, done by a program that links the library: no process, no words, no signals.
#include "core/run/experiment_run.hpp"
#include "core/run/export_weights.hpp"
#include "core/run/import_weights.hpp"
#include "core/run/restoration_run.hpp"
#include "core/run/sample_run.hpp"
#include "tests/run/place.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

namespace sdpipe::testing {
namespace {

std::vector<std::string> names(const std::vector<RestorationRow>& rows) {
  std::vector<std::string> all;
  for (const RestorationRow& row : rows) all.push_back(row.name);
  return all;
}

}  // namespace

TEST_CASE("A program trains, samples, compares and restores through the library, and is told where the results are") {
  Place place;
  const std::string grid = "+ablate=[{ sample.steps = [2, 3], count = 4, score = \"sliced_wasserstein\" }]";
  const ExperimentRun run = run_experiment(place.workspace, place.load({grid}), false, true);
  CHECK(run.folder == place / "runs/tiny");
  CHECK(run.report == place / "runs/tiny/report.html");
  CHECK(fs::exists(run.report));
  REQUIRE(run.grid);
  CHECK(fs::exists(*run.grid));
  REQUIRE(run.ablation);
  CHECK(run.ablation->is_new);
  REQUIRE(run.ablation->ablation.results.size() == 2);
  CHECK(run.ablation->ablation.results[1].nfe == 3);
  CHECK(fs::exists(run.ablation->csv_file));

  const AblationRun again = ablate_trained(place.workspace, run.folder, {}, true);
  CHECK_FALSE(again.is_new);

  const fs::path samples = sample_run(place.workspace, run.folder, {"sampler.type=ddim"}, "");
  CHECK(samples == place / "runs/tiny/samples-ddim-4/grid.png");
  CHECK(fs::exists(samples));

  RestorationRequest request;
  request.files = {run.folder / "samples/sample-0000.png", run.folder / "samples/sample-0001.png"};
  request.clean = true;
  request.method = "projection";
  const Restoration restored = restore_run(place.workspace, run.folder, {}, request);
  CHECK(restored.what == "2 images");
  CHECK(restored.corruption == "heat_blur");
  CHECK(restored.is_measured);
  CHECK(names(restored.rows) == std::vector<std::string>{"observed", "pseudo-inverse", "linear", "projection"});
  CHECK(restored.rows[3].nfe == 5);  // 4 steps, and one evaluation for the start
  CHECK(fs::exists(restored.grid));
}

TEST_CASE("A program that sets the flag gets its state saved, and the same call goes on to the same weights") {
  Place whole;
  run_experiment(whole.workspace, whole.load(), false, false);

  Place place;
  place.stop_at("train");
  CHECK_THROWS_AS(run_experiment(place.workspace, place.load(), false, false), Stopped);
  CHECK(fs::exists(place / "runs/tiny/checkpoints/000000008"));  // one step of 8 images
  place.stop = false;
  run_experiment(place.workspace, place.load(), false, false);

  const std::string last = "checkpoints/000000128/ema.safetensors";
  CHECK(read_file(place / "runs/tiny" / last) == read_file(whole / "runs/tiny" / last));
  CHECK(read_file(place / "runs/tiny/samples/grid.png") == read_file(whole / "runs/tiny/samples/grid.png"));
}

TEST_CASE("A run that cannot begin moves no older one aside and makes no folder") {
  Place place;
  const ExperimentRun run = run_experiment(place.workspace, place.load(), false, false);
  const auto before = contents(run.folder);
  write_pictures(place / "few", 12, 8);
  CHECK_THROWS_AS(run_experiment(place.workspace, place.load({"data.path=" + (place / "few").string()}), true, false),
                  UsageError);
  CHECK_THROWS_AS(run_experiment(place.workspace,
                                 place.load({"data.path=" + (place / "few").string(), "run.name=other"}), false, false),
                  UsageError);
  CHECK_THROWS_AS(run_experiment(place.workspace, place.load({"data.path=none"}), true, false), DataError);
  CHECK(contents(run.folder) == before);
  CHECK(std::distance(fs::directory_iterator(place / "runs"), fs::directory_iterator()) == 1);
}

TEST_CASE("Weights that a program exports begin another run with the same samples") {
  Place place;
  const ExperimentRun run = run_experiment(place.workspace, place.load(), false, false);
  export_weights(place.workspace, {.run = run.folder, .output = place / "weights.safetensors"});
  const fs::path begun = import_weights(place.workspace, place.load({"run.name=second"}),
                                        {.source = place / "weights.safetensors", .raw = false, .fresh = false});
  CHECK(begun == place / "runs/second");
  CHECK(fs::exists(begun / "checkpoints/000000000"));
  CHECK(read_file(sample_run(place.workspace, begun, {}, "")) ==
        read_file(sample_run(place.workspace, run.folder, {}, "")));
}

}  // namespace sdpipe::testing
