// `sdpipe run` and `sdpipe ablate` on variants: trained side by side, compared cell by cell, whatever interrupts it.
#include "core/base/json.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Models in closed form, so that nothing takes long but the features of the scores.
const std::string pipeline = R"([run]
name = "exp"
threads = 1

[data]
type = "idx"
path = "data"
limit = 60

[corruption]
type = "heat_blur"
std_max = 2.0

[schedule]
type = "linear"

[noise]
type = "geometric"
saturation = 0.25

[model]
type = "wiener"

[sampler]
type = "ddim"

[sample]
steps = 4
count = 8

[[variant]]
name = "gauss"

[[variant]]
name = "exact"
model = { type = "empirical", count = 40 }

[[ablate]]
sampler = [{ type = "naive" }, { type = "churn", churn = 1.0 }]
sample.steps = [2, 3]
score = ["sliced_wasserstein", "nearest_neighbour"]
)";

void begin(const Workplace& place) { write_file(place / "exp.toml", pipeline); }

// The run that the tests compare with, made once.
const Workplace& finished() {
  static const Workplace place;
  static const Outcome outcome = [] {
    begin(place);
    return place.sdpipe({"run", "exp.toml"});
  }();
  if (outcome.code != 0) throw std::runtime_error(outcome.err);
  return place;
}

void copy_run(const Workplace& place) {
  begin(place);
  fs::copy(finished() / "runs", place / "runs", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// Every cell of ablation.json without its time.
Json cells_of(const Workplace& place, const std::string& run = "runs/exp") {
  Json cells = Json::parse(read_file(place / (run + "/ablation/ablation.json")))["cells"];
  for (Json& cell : cells) cell.erase("seconds");
  return cells;
}

}  // namespace

TEST_CASE("variants are trained in folders of their own, each with all that a run has") {
  const Workplace& place = finished();
  for (const std::string name : {"gauss", "exact"}) {
    const fs::path folder = place / ("runs/exp/variants/" + name);
    for (const char* file : {"resolved.toml", "manifest.json", "report.html", "samples/grid.png", "checkpoints/latest"})
      CHECK(fs::exists(folder / file));
    CHECK(contains(read_file(folder / "resolved.toml"), "name = \"exp." + name + "\""));
    CHECK(contains(read_file(place / "runs/exp/report.html"), "href=\"variants/" + name + "/report.html\""));
  }
  CHECK(contains(read_file(place / "runs/exp/report.html"), "href=\"ablation/report.html\""));
  CHECK(!fs::exists(place / "runs/exp/checkpoints"));
  CHECK(contains(read_file(place / "runs/exp/resolved.toml"), "[[ablate]]\nvariant = [\"gauss\", \"exact\"]\n"));
}

TEST_CASE("the cells are every variant, sampler and number of steps, in a table, CSV and JSON") {
  const Workplace& place = finished();
  const std::vector<std::string> rows = lines_of(read_file(place / "runs/exp/ablation/ablation.csv"));
  REQUIRE(rows.size() == 9);
  CHECK(contains(
      rows[0],
      "variant,sampler,parameters,steps,count,prior,prior_components,basis,spacing,t_min,clamp,nfe,sliced_wasserstein "
      "(pixels) mean,sliced_wasserstein (pixels) sd,sliced_wasserstein (pixels) n,"));
  CHECK(contains(rows[1], "gauss,naive,,2,8,mixture,0,dct,uniform,0.0,false,2,"));
  CHECK(contains(rows[8], "exact,churn,churn = 1.0,3,8,mixture,0,dct,uniform,0.0,false,4,"));
  const std::vector<std::string> each = lines_of(read_file(place / "runs/exp/ablation/cells.csv"));
  REQUIRE(each.size() == 9);
  CHECK(each[0] ==
        "variant,run_seed,sampler,parameters,steps,count,prior,prior_components,basis,spacing,t_min,seed,clamp,nfe,"
        "sliced_wasserstein "
        "(pixels),nearest_neighbour (pixels),seconds,failure\r");
  CHECK(contains(each[8], "exact,0,churn,churn = 1.0,3,8,mixture,0,dct,uniform,0.0,0,false,4,"));
  const Json cells = cells_of(place);
  REQUIRE(cells.size() == 8);
  CHECK(cells[7]["variant"] == Json("exact"));
  CHECK(cells[7]["sampler"] == Json({{"type", "churn"}, {"churn", 1.0}}));
  CHECK(cells[7]["nfe"] == Json(4));
  CHECK(cells[7]["scores"].size() == 2);
  // The exact model makes training images again.
  CHECK(cells[7]["scores"]["nearest_neighbour (pixels)"].get<double>() <
        cells[3]["scores"]["nearest_neighbour (pixels)"].get<double>());
  const Outcome again = place.sdpipe({"ablate", "runs/exp"});
  CHECK(again.code == 0);
  CHECK(again.err == "nothing to do: runs/exp/ablation is complete\n");
  const std::vector<std::string> table = lines_of(again.out);
  REQUIRE(table.size() == 29);
  CHECK(table[0] == "sliced_wasserstein (pixels), 8 samples a cell; 1 sample seed, 1 training seed");
  CHECK(table[1].starts_with("variant        sampler              steps  NFE  value "));
  CHECK(contains(table[1], "  against gauss, naive, 2  "));
  CHECK(contains(table[9], "exact          churn (churn = 1.0)      3    4  "));
  CHECK(contains(table[10], "8 real images "));
  CHECK(contains(table[10], "  floor, 3 parts"));  // of 30
  CHECK(table[12] == "nearest_neighbour (pixels), 8 samples a cell; 1 sample seed, 1 training seed");
  CHECK(table[24] ==
        "a difference without ± is of 1 sample seed: its error is not known, and it is not judged; sample.seed = [0, "
        "1, 2] "
        "gives one");
  CHECK(table[25] == "nearest_neighbour is not judged: far below the floor are copies");
  CHECK(table[26] == "1 training seed: differences between variants may be those of training");
  CHECK(table[27] == "runs/exp/ablation/ablation.csv");
  CHECK(Json::parse(place.sdpipe({"ablate", "runs/exp", "--json"}).out)["cells"].size() == 8);
}

TEST_CASE("the report draws each score, the same seeds of every cell, and the table") {
  const std::string report = read_file(finished() / "runs/exp/ablation/report.html");
  const auto count = [&](const std::string& part) {
    int n = 0;
    for (size_t at = report.find(part); at != std::string::npos; at = report.find(part, at + 1)) ++n;
    return n;
  };
  CHECK(count("<svg") == 2);
  CHECK(count(">sliced_wasserstein (pixels)</h3>") == 1);
  CHECK(count(">sliced_wasserstein (pixels), 8 samples a cell; 1 sample seed, 1 training seed</p>") == 1);
  CHECK(count(">exact, churn (churn = 1.0)</text>") == 2);
  CHECK(count("<img") == 8 * 8);
  CHECK(count("alt=\"churn (churn = 1.0), 4 NFE, 8\"") == 2);
  CHECK(count("<tr><td>exact</td>") == 2 * 4);
}

TEST_CASE("what is complete is not done again, and does not change") {
  const Workplace place;
  copy_run(place);
  const auto before = times(place / "runs");
  for (const Words& words : {Words{"run", "exp.toml"}, {"ablate", "exp.toml"}, {"ablate", "runs/exp"}}) {
    const Outcome outcome = place.sdpipe(words);
    CHECK(outcome.code == 0);
    CHECK(contains(outcome.err, "nothing to do: runs/exp/ablation is complete\n"));
  }
  CHECK(times(place / "runs") == before);
}

TEST_CASE("with half of the lines and a torn one, the rest is drawn again and is the same") {
  const Workplace place;
  copy_run(place);
  const fs::path file = place / "runs/exp/ablation/cells.jsonl";
  const std::vector<std::string> lines = lines_of(read_file(file));
  REQUIRE(lines.size() == 8);
  write_file(file, lines[0] + "\n" + lines[1] + "\n" + lines[2] + "\n" + lines[3] + "\n" + lines[4].substr(0, 50));
  const Outcome outcome = place.sdpipe({"ablate", "runs/exp"});
  CHECK(outcome.code == 0);
  CHECK(!contains(outcome.err, "cell 4/8 "));
  for (const char* cell : {"cell 5/8 exact naive 2 ", "cell 8/8 exact churn (churn = 1.0) 3 "})
    CHECK(contains(outcome.err, cell));
  CHECK(cells_of(place) == cells_of(finished()));
  CHECK(lines_of(read_file(file)).size() == 8);
  // The table is of the cells as they are now, with their own times.
  const Json table = Json::parse(read_file(place / "runs/exp/ablation/ablation.json"));
  for (const std::string& line : lines_of(read_file(file))) {
    const Json cell = Json::parse(line);
    int found = 0;
    for (const Json& row : table["cells"]) found += row["id"] == cell["id"] && row["seconds"] == cell["seconds"];
    CHECK(found == 1);
  }
}

TEST_CASE("fewer real images than samples are told as so many as there are") {
  const Workplace place;
  copy_run(place);
  const Words words = {"ablate",
                       "runs/exp",
                       "ablate.0.sampler={type=\"naive\"}",
                       "ablate.0.variant=exact",
                       "ablate.0.sample.steps=2",
                       "ablate.0.count=40"};
  const Outcome first = place.sdpipe(words), again = place.sdpipe(words);
  CHECK(first.code == 0);
  CHECK(contains(first.out, "\n30 real images "));  // half of 60
  CHECK(contains(first.out, ", 40 samples a cell; "));
  CHECK(again.err == "nothing to do: runs/exp/ablation is complete\n");
  CHECK(again.out == first.out);
  CHECK(contains(read_file(place / "runs/exp/ablation/report.html"), ">30 real images</text>"));
}

TEST_CASE("an ablation of data that the run was not trained on is refused, before anything is written") {
  const Workplace place;
  copy_run(place);
  write_pictures(place / "data", 50, 8);
  const auto before = contents(place / "runs");
  const Outcome outcome = place.sdpipe({"ablate", "runs/exp"});
  CHECK(outcome.code == 4);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "error: the data is not what runs/exp/variants/gauss began with (then: 60 "));
  CHECK(contains(outcome.err, "); put it back, or move the run aside with `sdpipe run --fresh`\n"));
  CHECK(contents(place / "runs") == before);
}

TEST_CASE("a table that is damaged is refused with what to do") {
  const Workplace place;
  copy_run(place);
  const fs::path file = place / "runs/exp/ablation/ablation.json";
  for (const char* content :
       {"{\"ids\": 3}", "{", "{\"ids\": [], \"cells\": [], \"features\": 3, \"real_images\": []}"}) {
    write_file(file, content);
    const Outcome outcome = place.sdpipe({"ablate", "runs/exp"});
    CHECK(outcome.code == 5);
    CHECK(outcome.err == "error: runs/exp/ablation/ablation.json is damaged: delete it, and it is written again\n");
  }
  fs::remove(file);
  CHECK(place.sdpipe({"ablate", "runs/exp"}).code == 0);
  CHECK(cells_of(place) == cells_of(finished()));
}

TEST_CASE("a signal between cells exits with 75, and the same command goes on to the same cells") {
  const Workplace place;
  copy_run(place);
  fs::remove(place / "runs/exp/ablation/cells.jsonl");
  const Words words = {"ablate", "runs/exp"};
  Process process(place.path(), words);
  REQUIRE(wait_until(process, [&] { return fs::exists(place / "runs/exp/ablation/cells.jsonl"); }));
  process.send(SIGTERM);
  const Outcome stopped = process.wait();
  if (stopped.code == 0) {
    WARN("the ablation was faster than the signal");
  } else {
    CHECK(stopped.code == 75);
    CHECK(stopped.out.empty());
    CHECK(contains(stopped.err, " of 8 cells; run the same command again to go on\n"));
  }
  CHECK(place.sdpipe(words).code == 0);
  CHECK(cells_of(place) == cells_of(finished()));
}

TEST_CASE("a variant that changed is refused with the keys, before anything is done") {
  const Workplace place;
  copy_run(place);
  fs::remove_all(place / "runs/exp/ablation");
  const auto before = contents(place / "runs");
  const std::string sentence = "error: runs/exp/variants/exact holds another run: model.count differs; ";
  const Outcome run = place.sdpipe({"run", "exp.toml", "variant.1.model.count=30"});
  CHECK(run.code == 2);
  CHECK(run.err == sentence + "give this one another name with run.name=..., or --fresh to move the old one aside\n");
  const Outcome ablate = place.sdpipe({"ablate", "exp.toml", "variant.1.model.count=30"});
  CHECK(ablate.code == 2);
  CHECK(ablate.err == sentence + "here only [sampler], [sample], [[ablate]], run.threads and run.device can change\n");
  const Outcome plain = place.sdpipe({"run", "exp.toml", "~variant", "~ablate"});
  CHECK(plain.code == 2);
  CHECK(plain.err ==
        "error: runs/exp holds variants, but this pipeline has none; give this one another name with run.name=..., or "
        "--fresh to move the old one aside\n");
  const Outcome compared = place.sdpipe({"ablate", "exp.toml", "~variant"});
  CHECK(compared.code == 2);
  CHECK(compared.err ==
        "error: runs/exp holds variants, but this pipeline has none; here only [sampler], [sample], [[ablate]], "
        "run.threads and run.device can change\n");
  CHECK(contents(place / "runs") == before);
}

TEST_CASE("other cells are asked for on the command line; one that fails is told with its reason") {
  const Workplace place;
  copy_run(place);
  const Outcome outcome = place.sdpipe({"ablate", "runs/exp", "ablate.0.sampler={type=\"naive\"}",
                                        "+ablate.0.sample.spacing=[\"uniform\", \"rho\"]", "ablate.0.variant=exact",
                                        "ablate.0.sample.steps=2"});
  CHECK(outcome.code == 0);
  const std::string reason = "sample.spacing = \"rho\" needs a sigma(t) that rises strictly; use spacing = \"uniform\"";
  CHECK(contains(outcome.err, "warning: exact, naive: " + reason + "\n"));
  CHECK(contains(outcome.out, "failed: naive, 2, rho: " + reason + "\n"));
  const Json cells = cells_of(place);
  REQUIRE(cells.size() == 2);
  CHECK(cells[0] == cells_of(finished())[4]);
  CHECK(cells[1]["failure"] == Json(reason));
  CHECK(contains(read_file(place / "runs/exp/ablation/cells.csv"), "\"sample.spacing = \"\"rho\"\" needs a sigma(t)"));
}

TEST_CASE("a run without variants is compared too, and its report leads to the comparison") {
  const Workplace place;
  begin(place);
  const Outcome outcome = place.sdpipe({"run", "exp.toml", "~variant", "run.name=one", "ablate.0.sample.steps=2"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "runs/one/samples/grid.png\nruns/one/report.html\n"));
  CHECK(cells_of(place, "runs/one").size() == 2);
  CHECK(!cells_of(place, "runs/one")[0].contains("variant"));
  CHECK(contains(read_file(place / "runs/one/report.html"), "href=\"ablation/report.html\""));
}

TEST_CASE("what cannot be compared or sampled is refused with what to do") {
  const Workplace place;
  copy_run(place);
  const auto refusal = [&](const Words& words, int code) {
    const Outcome outcome = place.sdpipe(words);
    CHECK(outcome.code == code);
    CHECK(outcome.out.empty());
    return outcome.err;
  };
  CHECK(refusal({"ablate", "runs/exp/variants/gauss"}, 2) ==
        "error: runs/exp/variants/gauss/resolved.toml has no [[ablate]], so there is nothing to compare; add one, or "
        "give it here: '+ablate=[{ sample.steps = [10, 50] }]'\n");
  CHECK(refusal({"ablate", "exp.toml", "run.name=none"}, 5) ==
        "error: runs/none is not there: `sdpipe run exp.toml` trains what is compared\n");
  CHECK(refusal({"ablate", "data"}, 5) == "error: data is no run's folder: it has no resolved.toml in it\n");
  CHECK(!fs::exists(place / "runs/none"));
  const std::string exp = fs::weakly_canonical(place / "runs/exp").string();
  CHECK(refusal({"sample", "runs/exp"}, 5) == "error: " + exp + " holds variants: name the folder of one of them, " +
                                                  exp + "/variants/...; there are exact, gauss\n");
  CHECK(place.sdpipe({"sample", "runs/exp/variants/gauss"}).code == 0);
}

TEST_CASE("check prints the variants and the cells with their evaluations, and creates nothing") {
  const Workplace place;
  begin(place);
  const Outcome outcome = place.sdpipe({"check", "exp.toml"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "variant   gauss: nothing in training\n"));
  CHECK(contains(outcome.out, "variant   exact: model.type\n"));
  CHECK(contains(outcome.out,
                 "ablate    8 cells, 64 images, 176 evaluations\n"
                 "          gauss, naive: NFE 2, 3\n"
                 "          gauss, churn (churn = 1.0): NFE 2, 4\n"
                 "          exact, naive: NFE 2, 3\n"
                 "          exact, churn (churn = 1.0): NFE 2, 4\n"));
  CHECK(outcome.err.empty());
  const Outcome one = place.sdpipe({"check", "exp.toml", "~variant", "~ablate", "+ablate=[{}]"});
  CHECK(one.code == 0);
  CHECK(contains(one.out, "ablate    1 cell, 8 images, 32 evaluations\n"));
  CHECK(contains(one.err,
                 "warning: exp.toml:29:9: table \"ablate\": \"frechet\" means nothing for 8 samples, which "
                 "sample.count gives: "));
  CHECK(!fs::exists(place / "runs"));
}

TEST_CASE("a score of too few samples is refused before anything is trained, drawn or written, unless it is forced") {
  const Workplace place;
  begin(place);
  const std::string sentence =
      "table \"ablate\": \"frechet\" means nothing for 8 samples, which sample.count gives: it fits a covariance of 64 "
      "features, which needs more samples than features; write count = 640 or more, or give --force to have the value "
      "printed as meaningless\n";
  const Outcome run = place.sdpipe({"run", "exp.toml", "ablate.0.score=frechet"});
  CHECK(run.code == 2);
  CHECK(run.err ==
        "error: exp.toml:29:9: " + sentence + "  29 | count = 8\n     |         ^\n\n1 problem in exp.toml\n");
  CHECK(!fs::exists(place / "runs"));
  copy_run(place);
  const auto before = contents(place / "runs");
  const Words words = {"ablate", "exp.toml", "ablate.0.score=frechet", "ablate.0.sample.steps=2"};
  CHECK(place.sdpipe(words).code == 2);
  const Outcome one = place.sdpipe({"ablate", "runs/exp", "ablate.0.count=2"});
  CHECK(one.code == 2);
  CHECK(contains(one.err,
                 "<command line>#1:1:16: table \"ablate\": \"count\" must be at least 4 samples a cell, not 2\n"));
  CHECK(contents(place / "runs") == before);
  Words forced = words;
  forced.push_back("--force");
  const Outcome outcome = place.sdpipe(forced);
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, " meaningless"));
  CHECK(cells_of(place).size() == 4);
}

TEST_CASE("a baseline that is no row is refused before anything is trained") {
  const Workplace place;
  begin(place);
  const Outcome outcome = place.sdpipe({"run", "exp.toml", "ablate.0.baseline={sample.steps=9}"});
  CHECK(outcome.code == 2);
  CHECK(contains(outcome.err,
                 "error: <command line>#1:1:19: table \"ablate\": \"baseline\" agrees with no row of the "
                 "table: "));
  CHECK(!fs::exists(place / "runs"));
}

TEST_CASE("seeds are rows with a spread, and another baseline is another table of the same cells") {
  const Workplace place;
  copy_run(place);
  const Words words = {"ablate", "runs/exp", "ablate.0.sample.steps=2", "+ablate.0.sample.seed=[0, 1, 2]"};
  const Outcome first = place.sdpipe(words);
  CHECK(first.code == 0);
  CHECK(contains(first.out, "; 3 sample seeds, 1 training seed\n"));
  CHECK(contains(first.out,
                 "\nvalue: mean ± standard deviation over sample seeds\nagainst: mean difference ± standard "
                 "error, paired by seed; better or worse at 95 % by Student's t, beyond 4.30 standard errors "
                 "for 3 pairs\n"));
  const Json cells = cells_of(place);
  CHECK(cells.size() == 12);
  const std::string drawn = read_file(place / "runs/exp/ablation/cells.jsonl");
  Words other = words;
  other.push_back("+ablate.0.baseline={ variant = \"exact\", sampler = { type = \"churn\" } }");
  const Outcome second = place.sdpipe(other);
  CHECK(second.code == 0);
  CHECK(contains(second.out, "against exact, churn (churn = 1.0), 2"));
  CHECK(!contains(second.err, "cell "));
  CHECK(read_file(place / "runs/exp/ablation/cells.jsonl") == drawn);
  CHECK(cells_of(place) == cells);
  CHECK(place.sdpipe(other).err == "nothing to do: runs/exp/ablation is complete\n");
  const Json table = Json::parse(read_file(place / "runs/exp/ablation/ablation.json"));
  CHECK(table["baseline"] == Json(3));
  CHECK(table["rows"].size() == 4);
  CHECK(contains(read_file(place / "runs/exp/ablation/report.html"), "class=\"bar\""));
}

TEST_CASE("cells that differ in what does not act are drawn once, and the table says so") {
  const Workplace place;
  copy_run(place);
  const Outcome outcome = place.sdpipe({"ablate", "runs/exp", "+ablate.0.sample.basis=[\"dct\", \"pixel\"]"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "\nsample.basis acts under prior = gaussian only\n"));
  CHECK(!contains(outcome.err, "cell "));  // they are those that there were
  CHECK(cells_of(place) == cells_of(finished()));
}

TEST_CASE("a table of a version without rows is written anew, from the cells that it has") {
  const Workplace place;
  copy_run(place);
  const fs::path file = place / "runs/exp/ablation/ablation.json";
  Json table = Json::parse(read_file(file));
  for (const char* key : {"rows", "baseline", "reference", "notes"}) table.erase(key);
  for (Json& real : table["real_images"]) real.erase("parts"), real.erase("sd");
  for (Json& cell : table["cells"]) cell.erase("run_seed");
  write_file(file, table.dump(1));
  const Outcome outcome = place.sdpipe({"ablate", "runs/exp"});
  CHECK(outcome.code == 0);
  CHECK(!contains(outcome.err, "cell "));
  CHECK(cells_of(place) == cells_of(finished()));
  CHECK(place.sdpipe({"ablate", "runs/exp"}).err == "nothing to do: runs/exp/ablation is complete\n");
}

TEST_CASE("a variant's seeds are trained in folders of their own, drawn from, and added to") {
  const Workplace place;
  write_file(place / "exp.toml", pipeline);
  const auto with = [&](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return place.sdpipe(words);
  };
  const Words few = {"ablate.0.sampler={type=\"naive\"}", "ablate.0.sample.steps=2"};
  Words first = {"run", "exp.toml", "+variant.1.seeds=[0, 1]"};
  CHECK(with(first, few).code == 0);
  for (const char* name : {"gauss", "exact.seed-0", "exact.seed-1"})
    CHECK(fs::exists(place / (std::string("runs/exp/variants/") + name) / "samples/grid.png"));
  CHECK(!fs::exists(place / "runs/exp/variants/exact"));
  const std::string trained = read_file(place / "runs/exp/variants/exact.seed-1/resolved.toml");
  CHECK(contains(trained, "name = \"exp.exact.seed-1\"\nseed = 1\n"));
  const Json manifest = Json::parse(read_file(place / "runs/exp/variants/exact.seed-1/manifest.json"));
  CHECK(manifest["seed"] == Json(1));
  Json table = Json::parse(read_file(place / "runs/exp/ablation/ablation.json"));
  REQUIRE(table["rows"].size() == 2);
  CHECK(table["rows"][1]["variant"] == Json("exact"));
  CHECK(table["rows"][1]["cells"].size() == 2);
  CHECK(table["cells"][2]["variant"] == Json("exact.seed-1"));
  CHECK(place.sdpipe({"sample", "runs/exp/variants/exact.seed-1"}).code == 0);
  // The run's own pipeline file is the same; a third seed trains that one alone.
  CHECK(contains(place.sdpipe({"ablate", "runs/exp"}).err, "nothing to do: runs/exp/ablation is complete\n"));
  const auto before = fs::last_write_time(place / "runs/exp/variants/exact.seed-0/samples/grid.png");
  Words more = {"run", "exp.toml", "+variant.1.seeds=[0, 1, 5]"};
  CHECK(with(more, few).code == 0);
  CHECK(fs::last_write_time(place / "runs/exp/variants/exact.seed-0/samples/grid.png") == before);
  table = Json::parse(read_file(place / "runs/exp/ablation/ablation.json"));
  CHECK(table["rows"][1]["scores"]["sliced_wasserstein (pixels)"]["trainings"] == Json(3));
  CHECK(contains(read_file(place / "runs/exp/report.html"), "href=\"variants/exact.seed-5/report.html\""));
}
