// What is warned of: whole messages with their places, and silence where there is nothing to say.
#include "core/config/warnings.hpp"

#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

using Words = std::vector<std::string>;

Words warnings(const std::string& text, const Words& overrides = {}) {
  Words rendered;
  for (const Problem& warning : warnings_of(parse_experiment(text, "a.toml", overrides, examples())))
    rendered.push_back(warning.render());
  return rendered;
}

std::string about(const std::string& loss_at) {
  return "sample.clamp = true with train.loss_at = \"" + loss_at +
         "\": clamp changes what the loss left free into what the sampler uses; set sample.clamp = false";
}

// The example with a loss and, in [sample], clamp = true.
std::string clamped(const std::string& loss_at) {
  return edited(kExample, "batch = 10\n", "batch = 10\nloss_at = \"" + loss_at + "\"\n") + "clamp = true\n";
}

}  // namespace

TEST_CASE("clamp is warned of under every loss that compares under an operator, where it stands") {
  for (const std::string loss_at : {"corrupted", "next"})
    CHECK(warnings(clamped(loss_at)) ==
          Words{"a.toml:32:9: " + about(loss_at) + "\n  32 | clamp = true\n     |         ^"});
}

TEST_CASE("clamp is not warned of where the whole of x0_hat is asked for, or nothing is clamped or trained") {
  CHECK(warnings(clamped("clean")).empty());
  CHECK(warnings(clamped("corrupted"), {"sample.clamp=false"}).empty());
  CHECK(warnings(clamped("corrupted"), {"~sample.clamp"}).empty());
  CHECK(warnings(clamped("corrupted"), {"model.type=oracle", "~train"}).empty());
  CHECK(warnings(kExample).empty());
}

TEST_CASE("clamp is warned of once a place, also where it comes from the command line or a variant") {
  CHECK(warnings(kExample, {"train.loss_at=next", "sample.clamp=true"}) ==
        Words{"<command line>#2:1:14: " + about("next") + "\n  1 | sample.clamp=true\n    |              ^"});
  const std::string two =
      "[[variant]]\nname = \"a\"\ntrain.loss_at = \"corrupted\"\n[[variant]]\nname = \"b\"\ntrain.loss_at = \"next\"\n";
  CHECK(warnings(kExample + two).empty());
  CHECK(warnings(kExample + two + "sample.clamp = true\n") ==
        Words{"a.toml:37:16: " + about("next") + "\n  37 | sample.clamp = true\n     |                ^"});
  // One key of the file that both variants take over, and a base that is not trained.
  CHECK(warnings(kExample + "clamp = true\n" + two).size() == 1);
  CHECK(warnings(clamped("corrupted") + "[[variant]]\nname = \"a\"\ntrain.loss_at = \"clean\"\n").empty());
}

TEST_CASE("clamp as a value of an ablation is warned of for the variants that are compared") {
  const std::string variants =
      "[[variant]]\nname = \"paper\"\ntrain.loss_at = \"corrupted\"\n[[variant]]\nname = \"clean\"\n";
  const std::string grid = "[[ablate]]\nsample.clamp = [false, true]\n";
  CHECK(
      warnings(kExample + variants + grid) ==
      Words{"a.toml:37:16: " + about("corrupted") + "\n  37 | sample.clamp = [false, true]\n     |                ^"});
  CHECK(warnings(kExample + variants + grid + "variant = \"clean\"\n").empty());
  CHECK(warnings(kExample + variants + "[[ablate]]\nsample.clamp = false\n").empty());
  CHECK(warnings(kExample + grid).empty());
  CHECK(warnings(kExample + grid, {"train.loss_at=next"}).size() == 1);
}
