#include "core/training/diffusers_config.hpp"

#include "core/base/error.hpp"
#include "tests/message_of.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Sentences = std::vector<std::string>;

// A model that offers these alone.
Settings model() {
  Settings settings;
  settings.add({"freq_shift", int64_t{1}, true, {}});
  settings.add({"dropout", 0.5, true, {}});
  settings.add({"down_block_types", std::string("DownBlock2D, AttnDownBlock2D"), true, {}});
  return settings;
}

Sentences differences(const std::string& config) { return config_differences(config, model(), {3, 8, 8}); }

std::string refusal(const std::string& config) {
  return message_of<CheckpointError>([&] { differences(config); });
}

}  // namespace

TEST_CASE("a key that config.json leaves out is compared by its default in diffusers") {
  const std::string types = R"("down_block_types": ["UNetResDownBlock2D", "AttnDownBlock2D"])";
  CHECK(differences("{" + types + "}") == Sentences{"freq_shift: 0 by diffusers' default, 1 in [model]"});
  CHECK(differences("{" + types + R"(, "freq_shift": 1, "dropout": 0.1, "sample_size": 99})") == Sentences{});
  CHECK(differences("{" + types + R"(, "freq_shift": 1, "act_fn": "mish"})") ==
        Sentences{"act_fn: \"mish\" in config.json, which this model does not offer"});
}

TEST_CASE("values of a type that diffusers does not write are refused by file and key") {
  CHECK(refusal(R"({"_class_name": null})") == "config.json: \"_class_name\" must be a string, not null");
  const std::string mixed = R"({"down_block_types": ["DownBlock2D", 2]})";
  const std::string sentence = "config.json: \"down_block_types\" must hold strings alone, not number";
  CHECK(refusal(mixed) == sentence);
  Param types;
  types.key = "down_block_types";
  types.type = ParamType::string;
  CHECK(message_of<CheckpointError>([&] { model_table(mixed, "unet2d", {types}); }) == sentence);
  CHECK(message_of<CheckpointError>([] { meaning_lines(R"({"prediction_type": null})"); }) ==
        "scheduler_config.json: \"prediction_type\" must be a string, not null");
}

TEST_CASE("only what is offered is suggested for the meaning of the output") {
  CHECK(meaning_lines(R"({"prediction_type": "sample"})") ==
        "output = \"clean\"  # scheduler_config.json: prediction_type = \"sample\"\nprocess = \"vp\"\n");
  CHECK(meaning_lines(R"({"prediction_type": "epsilon", "beta_schedule": "linear"})") ==
        "output = \"epsilon\"  # scheduler_config.json: prediction_type = \"epsilon\"\n"
        "process = \"vp\"  # beta_schedule = \"linear\": [schedule] type = \"vp\", path = \"linear_beta\"\n");
  CHECK(meaning_lines(R"({"prediction_type": "v_prediction"})") ==
        "# scheduler_config.json: prediction_type = \"v_prediction\", which is not offered\n");
  CHECK(meaning_lines("") ==
        "# config.json does not say what the output means; of most published networks:\n"
        "# output = \"epsilon\"\n# process = \"vp\"\n");
}

TEST_CASE("what config.json implies is written out for [model]") {
  const auto table = [](const std::string& config) { return model_table(config, "unet2d", {}); };
  const std::string head = "[model]\ntype = \"unet2d\"\n";
  CHECK(table(R"({"in_channels": 3, "out_channels": 3, "time_embedding_type": "positional"})") == head);
  CHECK(table(R"({"in_channels": 3, "out_channels": 6})") == head + "learn_sigma = true\n");
  CHECK(table(R"({"time_embedding_type": "fourier"})") == head + "condition = \"sigma\"\n");
  CHECK(table(R"({"time_embedding_type": "learned", "num_train_timesteps": 40})") == head + "condition_scale = 39\n");
  Settings twice = model();
  twice.add({"learn_sigma", true, true, {}});
  CHECK(config_differences(R"({"in_channels": 3, "out_channels": 6, "freq_shift": 1,
                               "down_block_types": ["DownBlock2D", "AttnDownBlock2D"]})",
                           twice, {3, 8, 8}) == Sentences{});
  CHECK(config_differences(R"({"in_channels": 3, "out_channels": 6, "freq_shift": 1,
                               "down_block_types": ["DownBlock2D", "AttnDownBlock2D"]})",
                           model(), {3, 8, 8}) == Sentences{"out_channels: 6 in config.json, 3 by data and [model]"});
}
