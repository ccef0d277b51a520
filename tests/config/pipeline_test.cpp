// A valid pipeline, and what is filled in.
#include "core/config/pipeline.hpp"

#include <filesystem>
#include <fstream>

#include "core/config/example.hpp"
#include "core/config/tables.hpp"
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

TEST_CASE("A valid file becomes a complete pipeline") {
  const Pipeline p = parse(kExample);
  CHECK(p.source == "/pipelines/a.toml");
  CHECK(p.run.text("name") == "a");
  CHECK(p.run.integer("seed") == 1);
  CHECK(p.data.text("path") == "train-images");
  CHECK_FALSE(p.crop);
  REQUIRE(p.corruption.size() == 1);
  CHECK(p.corruption[0].plugin == examples().find(SDP_KIND_CORRUPTION, "blur"));
  CHECK(p.corruption[0].settings.real("std_max") == 8.0);
  CHECK(p.schedule.plugin->id() == "levels");
  CHECK(p.noise->plugin->id() == "sigmas");
  CHECK(p.model.settings.integer("channels") == 32);
  CHECK(p.train->integer("batch") == 10);
  CHECK(p.train->text("loss_at") == "clean");
  CHECK(p.train->text("weight") == "inverse_sigma");
  CHECK(p.train->real("clean_weight") == 0);
  CHECK(p.sampler.settings.real("eta") == 0.5);
  CHECK(p.sample.integer("steps") == 5);
  CHECK_FALSE(p.composed());
  CHECK_FALSE(p.fitted());
}

TEST_CASE("Defaults that depend on something else are filled in") {
  CHECK(parse(kExample).sample.integer("seed") == 1);
  CHECK(parse(kExample, {"sample.seed=3"}).sample.integer("seed") == 3);
  CHECK(parse(kExample, {"run.name=b c"}).run.text("name") == "b c");
  CHECK(parse(kExample).train->integer("checkpoint_every_images") == 100);
  CHECK(parse(kExample, {"train.batch=500"}).train->integer("checkpoint_every_images") == 500);
  CHECK(parse(kExample, {"train.checkpoint_every_images=7"}).train->integer("checkpoint_every_images") == 7);
}

TEST_CASE("A crop is centred in the image or on a point") {
  CHECK_FALSE(parse(kExample, {"data.type=folder", "+data.crop.size=140"}).crop->center);
  CHECK_FALSE(parse(kExample, {"data.type=folder", "data.crop={size=140, center=\"image\"}"}).crop->center);
  const Pipeline p = parse(kExample, {"data.type=folder", "data.crop={size=128, center=[121, 89]}"});
  CHECK(p.crop->size == 128);
  CHECK(*p.crop->center == std::array<int64_t, 2>{121, 89});
}

TEST_CASE("A composition keeps order and windows, and a list of one is a single operator") {
  const Pipeline p = parse(kExample, {"corruption=[{type=\"blur\", std_max=1, to=0.5}, {type=\"blur\", from=0.5}]"});
  REQUIRE(p.composed());
  CHECK(p.corruption[0].settings.real("std_max") == 1.0);
  CHECK(p.corruption[0].from == 0.0);
  CHECK(p.corruption[0].to == 0.5);
  CHECK(p.corruption[1].from == 0.5);
  CHECK(p.corruption[1].to == 1.0);
  CHECK_FALSE(parse(kExample, {"corruption=[{type=\"blur\"}]"}).composed());
}

TEST_CASE("An image is looked for beside the pipeline file") {
  const auto mask = [](const std::string& path) {
    const Pipeline p = parse(kExample, {"corruption={type=\"stamp\", times=1, mask=\"" + path + "\"}"});
    return p.corruption[0].settings.get<ImageSetting>("mask").path;
  };
  CHECK(mask("m.png") == "/pipelines/m.png");
  CHECK(mask("../m.png") == "/m.png");
  CHECK(mask("/data/m.png") == "/data/m.png");
}

TEST_CASE("A file is looked for beside the pipeline file and reaches the plugin as a path from the root") {
  const auto file = [](const std::string& path) {
    const Pipeline p = parse(kExample, {"model={type=\"traced\", file=\"" + path + "\"}"});
    return std::string(AbiValues(p.model.plugin->schema, p.model.settings).values()[0]->s);
  };
  CHECK(file("net.pt") == "/pipelines/net.pt");
  CHECK(file("../net.pt") == "/net.pt");
  CHECK(file("/data/net.pt") == "/data/net.pt");
  CHECK(errors_of(kExample, {"model={type=\"traced\", file=\"\"}"}) ==
        "<command line>#1:1:28: table \"traced\": parameter \"file\" must name a file\n"
        "  1 | model={type=\"traced\", file=\"\"}\n"
        "    |                            ^\n\n1 problem in a.toml");
  CHECK(example_settings(*examples().find(SDP_KIND_MODEL, "traced")).text("file").empty());
}

TEST_CASE("A plugin's complaint about a parameter finds its place") {
  const Pipeline p = parse(kExample, {"corruption.std_max=3"});
  CHECK(Problem{position_of(p.sampler, "eta"), "x"}.render() ==
        "/pipelines/a.toml:27:7: x\n  27 | eta = 0.5\n     |       ^");
  CHECK(position_of(p.sampler, "order").line == 25);
  CHECK(position_of(p.corruption[0], "std_max").source->name == "<command line>#1");
}

TEST_CASE("A fitted model needs no [train]") {
  const Pipeline p = parse(edited(kExample, "[train]\nimages = 1000\nbatch = 10\n", ""), {"model.type=oracle"});
  CHECK(p.fitted());
}

TEST_CASE("A file is read from disk and names itself in messages") {
  const auto file = std::filesystem::temp_directory_path() / "sdpipe_blur.toml";
  std::ofstream(file) << kExample;
  const Pipeline p = load_pipeline(file, {"run.seed=5"}, examples());
  CHECK(p.run.text("name") == "sdpipe_blur");
  CHECK(p.run.integer("seed") == 5);
  CHECK_THROWS_WITH(load_pipeline(file, {"run.seed=x"}, examples()),
                    "<command line>#1:1:10: table \"run\": parameter \"seed\" must be an integer, not a string\n"
                    "  1 | run.seed=x\n    |          ^\n\n1 problem in " +
                        file.string());
  std::filesystem::remove(file);
}

TEST_CASE("The host's own schemas obey the rules of schemas") {
  for (const Schema* schema : {&run_schema(), &data_schema(), &crop_schema(), &train_schema(), &sample_schema()}) {
    for (const Param& param : *schema) {
      INFO(param.key);
      CHECK_FALSE(param.doc.empty());
      CHECK((param.type == ParamType::choice) == !param.choices.empty());
      if (!param.required() && param.type == ParamType::real) CHECK(param.contains(std::get<double>(*param.def)));
      if (!param.required() && param.type == ParamType::integer) {
        CHECK(param.contains(static_cast<double>(std::get<int64_t>(*param.def))));
      }
    }
  }
}
