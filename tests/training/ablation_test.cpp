// The cells of an ablation: which there are, what makes two the same, and that they are drawn once.
#include "core/evaluation/ablation.hpp"

#include <set>

#include "core/config/resolved.hpp"
#include "core/config/tables.hpp"
#include "core/training/tensors.hpp"
#include "tests/training/training.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;
namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;

const std::string kPipeline = R"(
[run]
precision = "float64"
seed = 3
[data]
type = "idx"
path = "none"
[corruption]
type = "heat_blur"
std_max = 2.0
[schedule]
type = "linear"
[noise]
type = "geometric"
sigma_min = 0.05
sigma_max = 0.5
[model]
type = "empirical"
count = 20
[sampler]
type = "ddim"
[sample]
steps = 4
count = 6
)";

Experiment experiment(const std::string& tables, const std::vector<std::string>& overrides = {}) {
  return parse_experiment(kPipeline + tables, "/pipelines/test.toml", overrides, with_breaking());
}

const std::string kGrid = R"(
[[ablate]]
sampler = [{ type = "naive" }, { type = "momentum" }]
sample.steps = [2, 3]
)";

// "variant, sampler, steps, prior"
Strings described(const std::vector<Cell>& cells) {
  Strings words;
  for (const Cell& cell : cells) {
    words.push_back(cell.variant + " " + cell.pipeline.sampler.plugin->id() + " " +
                    std::to_string(cell.pipeline.sample.integer("steps")) + " " + cell.pipeline.sample.text("prior"));
  }
  return words;
}

// A trained model, and a score that is easy to foresee: the mean of all bytes.
struct Laboratory {
  explicit Laboratory(const std::string& tables, const std::vector<std::string>& overrides = {})
      : experiment(::experiment(tables, overrides)), cells(cells_of(experiment)) {
    train(experiment.base, folder / "run");
    for (const Cell& cell : cells) ids.push_back(cell_id(cell, "weights", "features"));
  }

  CellHooks hooks() {
    CellHooks hooks;
    hooks.open = [this](const std::string& variant) {
      opened.push_back(variant);
      const StoredCheckpoint checkpoint = *newest_checkpoint(folder / "run/checkpoints");
      std::unique_ptr<OpenedModel> it(new OpenedModel{make_model(experiment.base, {1, 4, 4}), nullptr});
      it->trained = load_trained(experiment.base, checkpoint, it->model);
      return it;
    };
    hooks.score = [this](const std::vector<ByteImage>& images, const Strings& names) {
      drawn.push_back(images);
      double sum = 0;
      for (const ByteImage& image : images) {
        for (const uint8_t byte : image.pixels) sum += byte;
      }
      return std::vector<Score>(names.size(), {"mean", sum, static_cast<int64_t>(images.size())});
    };
    return hooks;
  }

  void run(CellStore& store) { run_cells(cells, ids, store, hooks()); }
  std::string lines() const { return read_file(folder / "cells/cells.jsonl"); }

  TemporaryFolder folder;
  Experiment experiment;
  std::vector<Cell> cells;
  Strings ids, opened;
  std::vector<std::vector<ByteImage>> drawn;
};

std::vector<std::vector<uint8_t>> pixels(const std::vector<ByteImage>& images) {
  std::vector<std::vector<uint8_t>> all;
  for (const ByteImage& image : images) all.push_back(image.pixels);
  return all;
}

}  // namespace

TEST_CASE("the cells of a grid are its variants, samplers and values crossed, in the order of the file") {
  CHECK(described(cells_of(experiment(kGrid))) ==
        Strings{" naive 2 mixture", " naive 3 mixture", " momentum 2 mixture", " momentum 3 mixture"});
  const std::string variants = "[[variant]]\nname = \"b\"\n[[variant]]\nname = \"a\"\nsample.prior = \"noise\"\n";
  CHECK(described(cells_of(experiment(variants + "[[ablate]]\nsample.steps = [3, 2]\n"))) ==
        Strings{"b ddim 3 mixture", "b ddim 2 mixture", "a ddim 3 noise", "a ddim 2 noise"});
  CHECK(described(cells_of(experiment(variants + "[[ablate]]\nvariant = \"a\"\n[[ablate]]\nsample.steps = 9\n"))) ==
        Strings{"b ddim 9 mixture", "a ddim 4 noise", "a ddim 9 noise"});
}

TEST_CASE("a pipeline file can ask for every score that there is, and for no other") {
  CHECK(ablate_schema().at(0).key == "score");
  CHECK(ablate_schema().at(0).choices == score_names());
}

TEST_CASE("a cell that two grids have is there once, and count sets its number of samples") {
  CHECK(cells_of(experiment(kGrid + kGrid)).size() == 4);
  const std::vector<Cell> cells = cells_of(experiment(kGrid + kGrid + "count = 7\n"));
  REQUIRE(cells.size() == 8);
  CHECK(cells[0].pipeline.sample.integer("count") == 6);
  CHECK(cells[4].pipeline.sample.integer("count") == 7);
}

TEST_CASE("cells that differ in keys alone that do not act are one, and it is told which") {
  const std::string bases = "sample.basis = [\"dct\", \"pixel\", \"low_rank\"]\n";
  const auto cells = [](const std::string& tables) { return cells_of(experiment(tables)).size(); };
  const auto idle = [](const std::string& tables) { return idle_settings(experiment(tables)); };
  const Strings told = {"sample.basis acts under prior = gaussian only"};
  CHECK(cells("[[ablate]]\n" + bases) == 1);
  CHECK(idle("[[ablate]]\n" + bases) == told);
  CHECK(cells("[[ablate]]\nsample.prior = [\"empirical\", \"gaussian\", \"noise\"]\n" + bases) == 5);
  CHECK(idle("[[ablate]]\nsample.prior = [\"empirical\", \"gaussian\", \"noise\"]\n" + bases) == told);
  CHECK(cells("[[ablate]]\nsample.prior = \"gaussian\"\n" + bases) == 3);
  CHECK(idle("[[ablate]]\nsample.prior = \"gaussian\"\n" + bases).empty());
  CHECK(idle("[[ablate]]\nsample.basis = \"pixel\"\n").empty());  // nothing is compared by it
  // Two grids that set it differently, and a seed, which acts under every sampler because the start is drawn by it.
  CHECK(cells("[[ablate]]\nsample.basis = \"dct\"\n[[ablate]]\nsample.basis = \"pixel\"\n") == 1);
  CHECK(cells("[[ablate]]\nsampler = { type = \"ddim\" }\nsample.seed = [0, 1]\n") == 2);
}

TEST_CASE("a cell has one id whatever its keys hold that do not act, and it is that of the default") {
  const auto id = [](const std::string& tables, const std::string& own = "") {
    const Experiment e = parse_experiment(kPipeline + own + tables, "/pipelines/test.toml", {}, with_breaking());
    return cell_id(cells_of(e).at(0), "weights", "features");
  };
  const std::string same = id("[[ablate]]\n");
  CHECK(id("[[ablate]]\nsample.basis = \"pixel\"\n") == same);
  CHECK(id("[[ablate]]\n", "basis = \"low_rank\"\n") == same);
}

TEST_CASE("a training key that does not act is told where a variant sets it") {
  const auto idle = [](const std::string& keys) {
    const std::string text = to_toml(training()) + "\n[[variant]]\nname = \"a\"\n" + keys + "\n[[ablate]]\n";
    return idle_settings(parse_experiment(text, "/pipelines/test.toml", {}, with_breaking()));
  };
  CHECK(idle("train.next_step = 0.5\n") == Strings{"train.next_step acts under loss_at = next only"});
  CHECK(idle("train.next_step = 0.5\ntrain.loss_at = \"next\"\n").empty());
  CHECK(idle("train.loss_at = \"clean\"\n").empty());
}

TEST_CASE("each seed of a variant has cells of its own, of one family") {
  const std::string variants = "[[variant]]\nname = \"b\"\nseeds = [4, 2]\n[[variant]]\nname = \"a\"\n";
  const std::vector<Cell> cells = cells_of(experiment(variants + "[[ablate]]\nvariant = [\"a\", \"b\"]\n"));
  REQUIRE(cells.size() == 3);
  const std::vector<std::pair<std::string, std::string>> names = {{"b.seed-4", "b"}, {"b.seed-2", "b"}, {"a", "a"}};
  for (size_t i = 0; i < 3; ++i) {
    CHECK(cells[i].variant == names[i].first);
    CHECK(cells[i].family == names[i].second);
  }
  CHECK(cells[0].pipeline.run.integer("seed") == 4);
  CHECK(cells[1].pipeline.run.integer("seed") == 2);
}

TEST_CASE("what a cell's result depends on is its identity, and what it does not is not") {
  const Cell cell = cells_of(experiment(kGrid))[0];
  const auto id = [](const std::string& grid, const std::string& pipeline = kPipeline) {
    const Experiment e = parse_experiment(pipeline + grid, "/pipelines/test.toml", {}, with_breaking());
    return cell_id(cells_of(e)[0], "weights", "features");
  };
  const std::string same = cell_id(cell, "weights", "features");
  CHECK(same.size() == 32);
  CHECK(id(kGrid) == same);
  CHECK(id("[[variant]]\nname = \"a\"\n" + kGrid) == same);
  std::set<std::string> others = {same, cell_id(cell, "other weights", "features"),
                                  cell_id(cell, "weights", "other features")};
  for (const char* line : {"count = 7\n", "score = \"recall\"\n", "score = [\"frechet\", \"recall\"]\n",
                           "sample.prior = \"noise\"\n", "sample.seed = 9\n", "sample.clamp = true\n"})
    others.insert(id(kGrid + line));
  CHECK(others.size() == 9);
  const std::string gaussian = kGrid + "sample.prior = \"gaussian\"\n";
  CHECK(id(gaussian + "sample.basis = \"pixel\"\n") != id(gaussian));
  CHECK(id(kGrid, kPipeline + "batch = 2\n") != same);  // by which a sampler may choose its steps
  std::string corrupted = kPipeline;
  corrupted.replace(corrupted.find("2.0"), 3, "2.5");
  CHECK(id(kGrid, corrupted) != same);
  CHECK(id("[[ablate]]\nsampler = { type = \"churn\", churn = 0.5 }\n") !=
        id("[[ablate]]\nsampler = { type = \"churn\", churn = 0.25 }\n"));
}

TEST_CASE("cells are drawn with common random numbers: image by image as sdpipe draws them, seed by seed") {
  Laboratory lab("[[ablate]]\nsampler = [{ type = \"ddim\" }, { type = \"ancestral\" }]\nsample.seed = [3, 4]\n");
  CellStore store(lab.folder / "cells");
  lab.run(store);
  REQUIRE(lab.drawn.size() == 4);
  const StoredCheckpoint checkpoint = *newest_checkpoint(lab.folder / "run/checkpoints");
  const Model model = make_model(lab.experiment.base, {1, 4, 4});
  const auto trained = load_trained(lab.experiment.base, checkpoint, model);
  for (size_t i = 0; i < 4; ++i) {
    const Pipeline& pipeline = lab.cells[i].pipeline;
    const SampleSet alone = draw_samples(pipeline, model, *trained, pipeline.sampler, {6, nullptr, {}});
    CHECK(pixels(alone.images) == pixels(lab.drawn[i]));
    CHECK(store.find(lab.ids[i])->nfe == 4);
  }
  CHECK(pixels(lab.drawn[0]) != pixels(lab.drawn[1]));
}

TEST_CASE("cells of one seed start alike, whatever their sampler") {
  // One step is a lone denoise of x_1.
  Laboratory lab(
      "[[ablate]]\nsampler = [{ type = \"ddim\" }, { type = \"ancestral\" }]\nsample.steps = 1\nsample.seed = [3, "
      "4]\n");
  CellStore store(lab.folder / "cells");
  lab.run(store);
  REQUIRE(lab.drawn.size() == 4);
  CHECK(pixels(lab.drawn[0]) == pixels(lab.drawn[2]));
  CHECK(pixels(lab.drawn[1]) == pixels(lab.drawn[3]));
  CHECK(pixels(lab.drawn[0]) != pixels(lab.drawn[1]));
}

TEST_CASE("cells of one seed have the same noise, whatever their variant and its place") {
  // So much noise that the last estimate is no single image of the model's, but depends on all that was drawn.
  Laboratory lab(
      "[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\n"
      "[[ablate]]\nvariant = \"a\"\nsampler = [{ type = \"ddim\" }, { type = \"ancestral\" }]\n"
      "[[ablate]]\nvariant = \"b\"\nsampler = { type = \"ancestral\" }\n",
      {"noise.sigma_min=2", "noise.sigma_max=20", "+noise.saturation=1"});
  CellStore store(lab.folder / "cells");
  lab.run(store);
  // The two of ancestral are one cell but for the variant, whose weights these ids do not tell apart.
  CHECK(lab.ids[1] == lab.ids[2]);
  lab.ids[2] = "of b";
  lab.run(store);
  REQUIRE(lab.drawn.size() == 3);
  CHECK(pixels(lab.drawn[1]) == pixels(lab.drawn[2]));
  CHECK(pixels(lab.drawn[0]) != pixels(lab.drawn[1]));
}

TEST_CASE("what is done is not done again, after a torn line too") {
  Laboratory lab(kGrid);
  {
    CellStore store(lab.folder / "cells");
    lab.run(store);
  }
  CHECK(lab.drawn.size() == 4);
  CHECK(lab.opened == Strings{""});
  const std::string whole = lab.lines();
  size_t second = whole.find('\n', whole.find('\n') + 1) + 1;
  write_file(lab.folder / "cells/cells.jsonl", whole.substr(0, second) + whole.substr(second, 40));
  CellStore store(lab.folder / "cells");
  CHECK(store.find(lab.ids[1]));
  CHECK(!store.find(lab.ids[2]));
  lab.run(store);
  CHECK(lab.drawn.size() == 6);
  CHECK(pixels(lab.drawn[4]) == pixels(lab.drawn[2]));
  CHECK(pixels(lab.drawn[5]) == pixels(lab.drawn[3]));
  CHECK(lab.lines().substr(0, second) == whole.substr(0, second));
  CHECK(lab.lines().size() > second + 40);
  lab.run(store);
  CHECK(lab.drawn.size() == 6);
  CHECK(lab.opened == Strings{"", ""});
}

TEST_CASE("a damaged line costs its own cell, with a warning, and no other") {
  Laboratory lab(kGrid);
  {
    CellStore store(lab.folder / "cells");
    lab.run(store);
  }
  const std::string whole = lab.lines();
  const size_t second = whole.find('\n') + 1, third = whole.find('\n', second) + 1;
  const std::string rest = whole.substr(0, second) + whole.substr(third);
  const std::string file = (lab.folder / "cells/cells.jsonl").string();
  for (const std::string line : {"{\"id\": 3}", "[1]", "{\"id\": \"a", "{\"id\": \"a\", \"scores\": 5}"}) {
    INFO(line);
    write_file(file, whole.substr(0, second) + line + '\n' + whole.substr(third));
    Capture capture;
    const CellStore store(lab.folder / "cells");
    CHECK(capture.text() ==
          "warning: " + file + " had 1 damaged line: it is dropped, and what it held is drawn again\n");
    CHECK(!store.find(lab.ids[1]));
    for (const int i : {0, 2, 3}) CHECK(store.find(lab.ids[i]));
    CHECK(lab.lines() == rest);
  }
}

TEST_CASE("a cell that cannot be kept ends the drawing") {
  const TemporaryFolder folder;
  CellStore store(folder / "cells");
  fs::create_symlink("/dev/full", folder / "cells/cells.jsonl");
  CHECK_THROWS_WITH(store.add({"a", 1, 0, {}, ""}, {}),
                    (folder / "cells/cells.jsonl").string() + " cannot be written; is the disk full?");
}

TEST_CASE("results are read back as they were") {
  const TemporaryFolder folder;
  const CellResult done{"a", 7, 0.125, {{"frechet (features 1)", 1.0 / 3, 500}, {"recall", std::nan(""), 8}}, ""};
  const CellResult failed{"b", 0, 0, {}, "the sampler says \"no\""};
  {
    CellStore store(folder / "cells");
    store.add(done, {});
    store.add(failed, {});
  }
  const CellStore store(folder / "cells");
  const CellResult& read = *store.find("a");
  CHECK(read.nfe == 7);
  CHECK(read.seconds == 0.125);
  REQUIRE(read.scores.size() == 2);
  CHECK(read.scores[0].name == "frechet (features 1)");
  CHECK(read.scores[0].value == 1.0 / 3);
  CHECK(read.scores[0].samples == 500);
  CHECK(std::isnan(read.scores[1].value));
  CHECK(read.failure.empty());
  CHECK(store.find("b")->failure == "the sampler says \"no\"");
  CHECK(!store.find("c"));
}

TEST_CASE("the first images of a cell are kept as they were") {
  Laboratory lab("[[ablate]]\ncount = 12\n");
  CellStore store(lab.folder / "cells");
  lab.run(store);
  const auto kept = pixels(store.strip(lab.ids[0], {1, 4, 4}));
  auto first = pixels(lab.drawn[0]);
  first.resize(10);
  CHECK(kept == first);
  CHECK(store.strip("nothing", {1, 4, 4}).empty());
}

TEST_CASE("a cell that fails is recorded with the reason, not tried again, and the rest goes on") {
  Laboratory lab("[[ablate]]\nsample.steps = [2, 3]\n");
  auto hooks = lab.hooks();
  int asked = 0;
  hooks.score = [&](const std::vector<ByteImage>&, const Strings& names) -> std::vector<Score> {
    if (++asked == 1) throw RunError("the sampler is out of order");
    return {{names[0], 1, 6}};
  };
  CellStore store(lab.folder / "cells");
  run_cells(lab.cells, lab.ids, store, hooks);
  CHECK(store.find(lab.ids[0])->failure == "the sampler is out of order");
  CHECK(store.find(lab.ids[0])->scores.empty());
  CHECK(store.strip(lab.ids[0], {1, 4, 4}).empty());
  CHECK(store.find(lab.ids[1])->failure.empty());
  run_cells(lab.cells, lab.ids, store, hooks);
  CHECK(asked == 2);
}

TEST_CASE("bad data is no fault of a cell: it ends the drawing, and nothing is recorded") {
  Laboratory lab("[[ablate]]\nsample.steps = [2, 3]\n");
  auto hooks = lab.hooks();
  hooks.score = [](const std::vector<ByteImage>&, const Strings&) -> std::vector<Score> {
    throw DataError("the image is damaged");
  };
  CellStore store(lab.folder / "cells");
  CHECK_THROWS_AS(run_cells(lab.cells, lab.ids, store, hooks), DataError);
  CHECK(!store.find(lab.ids[0]));
}

TEST_CASE("a request to stop keeps what is done and records nothing of the cell that was under way") {
  Laboratory lab(kGrid);
  std::atomic<bool> cancel{false};
  CellHooks hooks = lab.hooks();
  hooks.cancel = &cancel;
  hooks.progress = [&](size_t cell, int64_t) { cancel = cell == 2; };
  CellStore store(lab.folder / "cells");
  CHECK_THROWS_AS(run_cells(lab.cells, lab.ids, store, hooks), Cancelled);
  CHECK(store.find(lab.ids[1]));
  CHECK(!store.find(lab.ids[2]));
}

TEST_CASE("two processes do not write one ablation") {
  const TemporaryFolder folder;
  const CellStore store(folder / "cells");
  CHECK_THROWS_WITH(CellStore(folder / "cells"),
                    (folder / "cells").string() + " is in use by another sdpipe; wait for it");
}
