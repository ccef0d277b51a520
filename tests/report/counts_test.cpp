// How many samples an ablation's scores need.
#include "core/evaluation/counts.hpp"

#include "core/evaluation/scores.hpp"
#include "tests/message_of.hpp"
#include "tests/report/compared.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

std::string refusal(const std::string& tables, const std::vector<std::string>& overrides = {}) {
  const Experiment e = parse_experiment(kExample + tables, "a.toml", overrides, examples());
  return message_of<PipelineErrors>([&] { require_enough_samples(e, false); });
}

std::vector<std::string> warnings(const std::string& tables) { return judge_counts(experiment_of(tables)).warnings; }

}  // namespace

TEST_CASE("A frechet of no more samples than features is refused where its number stands") {
  CHECK(
      refusal("[[ablate]]\ncount = 64\n") ==
      R"(a.toml:32:9: table "ablate": "frechet" means nothing for 64 samples: it fits a covariance of 64 features, which needs more samples than features; write count = 640 or more, or give --force to have the value printed as meaningless
  32 | count = 64
     |         ^

1 problem in a.toml)");
  CHECK(refusal("[[ablate]]\ncount = 65\n") == "no such error");
  CHECK(refusal("[[ablate]]\ncount = 64\nscore = [\"recall\", \"sliced_wasserstein\"]\n") == "no such error");
}

TEST_CASE("A number that the command line gives is refused there") {
  CHECK(refusal("[[ablate]]\ncount = 640\n", {"ablate.0.count=12"}).starts_with("<command line>#1:1:16: table"));
  CHECK(refusal("[[ablate]]\n", {"sample.count=12"}).starts_with("<command line>#1:1:14: table"));
}

TEST_CASE("A number that [sample] gives is refused there, and the default where the table begins") {
  const std::string given = edited(kExample, "steps = 5\n", "steps = 5\ncount = 30\n") + "[[ablate]]\n";
  const Experiment e = parse_experiment(given, "a.toml", {}, examples());
  CHECK(
      message_of<PipelineErrors>([&] { require_enough_samples(e, false); }) ==
      R"(a.toml:31:9: table "ablate": "frechet" means nothing for 30 samples, which sample.count gives: it fits a covariance of 64 features, which needs more samples than features; write count = 640 or more, or give --force to have the value printed as meaningless
  31 | count = 30
     |         ^

1 problem in a.toml)");
  CHECK(refusal("[[ablate]]\nscore = \"frechet\"\n").starts_with("a.toml:31:1: table \"ablate\": \"frechet\" means "));
  const std::string variants =
      "[[variant]]\nname = \"a\"\nseeds = [0, 1]\nsample.count = 70\n"
      "[[variant]]\nname = \"b\"\nseeds = [0, 1]\nsample.count = 8\n";
  const std::string text = refusal(variants + "[[ablate]]\n");
  CHECK(
      text.starts_with("a.toml:38:16: table \"ablate\": \"frechet\" means nothing for 8 samples, which sample.count of "
                       "variant \"b\" gives: "));
  CHECK(text.ends_with("\n1 problem in a.toml"));
  CHECK(refusal(variants + "[[ablate]]\nvariant = \"a\"\n") == "no such error");
  // Of variants that leave it as it is, the file's number is told once.
  const std::string plain = "[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\n[[ablate]]\n";
  for (const std::string& once : {refusal(plain), refusal(plain, {"sample.count=12"})}) {
    CHECK(once.find("samples, which sample.count gives: ") != std::string::npos);
    CHECK(once.ends_with("\n1 problem in a.toml"));
  }
}

TEST_CASE("Every number that is too small is told at once, and force lets them pass") {
  const std::string two = "[[ablate]]\ncount = 8\n[[ablate]]\ncount = 9\n";
  CHECK(refusal(two).ends_with("\n2 problems in a.toml"));
  CHECK_NOTHROW(require_enough_samples(experiment_of(two), true));
}

TEST_CASE("Few samples are warned of, by what each score needs") {
  const std::string grid =
      "[[ablate]]\nscore = [\"frechet\", \"precision\", \"recall\", \"nearest_neighbour\"]\ncount = ";
  CHECK(warnings(grid + "639\n") ==
        std::vector<std::string>{"\"frechet\" of 639 samples is rough: 640 or more are advised",
                                 "\"precision\" of 639 samples is rough: 1000 or more are advised",
                                 "\"recall\" of 639 samples is rough: 1000 or more are advised"});
  CHECK(warnings(grid + "640\n").size() == 2);
  CHECK(warnings(grid + "1000\n").empty());
}

TEST_CASE("A score is known by the file's name and by the one that is shown") {
  for (const std::string& name : score_names()) CHECK(score_kind(name).name == name);
  CHECK(&score_kind("recall (features 1a2b3c4d)") == &score_kind("recall"));
  CHECK_THROWS_AS(score_kind("fid"), std::out_of_range);
}
