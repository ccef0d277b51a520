#include <map>
#include <set>

#include "core/host/conformance.hpp"
#include "tests/broken_plugins/broken.hpp"
#include "tests/catch.h"

using namespace sdpipe;
using sdpipe::testing::broken_plugin;

namespace {

using Laws = std::set<std::string>;

std::vector<LawResult> results_of(const Plugin& plugin) {
  return check_laws(plugin, default_settings(plugin.schema), {1, 4, 3});
}

// "corruption.adjoint.float32" and "... .float64" are one law.
std::string without_dtype(const std::string& id) {
  const size_t at = id.find(".float");
  return id.substr(0, at);
}

Laws broken_laws(const Plugin& plugin) {
  Laws broken;
  for (const LawResult& law : results_of(plugin)) {
    if (!law.holds) broken.insert(without_dtype(law.id));
  }
  return broken;
}

// Each plugin of the file against the laws that it must break; "sound" breaks none.
void require_broken(const std::string& file, const std::map<std::string, Laws>& expected) {
  const std::vector<Plugin> plugins = load_library(broken_plugin(file));
  CHECK(plugins.size() == expected.size());
  for (const Plugin& plugin : plugins) {
    INFO(plugin.id());
    CHECK(broken_laws(plugin) == expected.at(plugin.id()));
  }
}

std::string detail(const std::string& file, const std::string& id, const std::string& law) {
  for (const Plugin& plugin : load_library(broken_plugin(file))) {
    if (plugin.id() != id) continue;
    for (const LawResult& result : results_of(plugin)) {
      if (result.id == law) return result.detail;
    }
  }
  return "no such law";
}

}  // namespace

TEST_CASE("a corruption that is wrong in one way breaks the law of that way") {
  const std::string linearity = "corruption.linearity", adjoint = "corruption.adjoint",
                    identity = "corruption.identity_at_zero", single = "corruption.batch_equals_single",
                    repeatable = "corruption.repeatable";
  require_broken("broken_corruptions", {{"sound", {}},
                                        {"wrong_adjoint", {adjoint}},
                                        {"not_linear", {linearity, adjoint}},  // what is not linear has no adjoint
                                        {"not_identity_at_zero", {identity}},
                                        {"batch_dependent", {single}},
                                        {"writes_input", {repeatable}},
                                        {"not_repeatable", {repeatable}},
                                        {"not_finite", {linearity, adjoint, single, repeatable}},
                                        {"throws", {linearity, adjoint, identity, single, repeatable}},
                                        {"no_create", {"corruption.create"}}});
}

TEST_CASE("a schedule that is wrong in one way breaks the law of that way") {
  const std::string monotone = "schedule.monotone_with_right_ends";
  require_broken("broken_schedules", {{"sound", {}},
                                      {"falls", {monotone}},
                                      {"wrong_end", {monotone}},
                                      {"wrong_start", {monotone}},
                                      {"negative_sigma", {monotone}},
                                      {"fails_for_two", {"schedule.any_length"}},
                                      {"not_repeatable", {"schedule.repeatable"}},
                                      {"fills_nothing", {"schedule.fills_something"}}});
}

TEST_CASE("a model that is wrong in one way breaks the law of that way") {
  require_broken("broken_models", {{"sound", {}},
                                   {"equal_names", {"model.create"}},
                                   {"wrong_input_gradient", {"model.vjp_of_input", "model.vjp_in_training"}},
                                   {"wrong_parameter_gradient", {"model.vjp_of_parameters"}},
                                   {"accumulates", {"model.vjp_of_parameters"}},
                                   {"one_saved_for_all", {"model.vjp_after_another_forward"}},
                                   {"works_once", {"model.vjp_twice"}},
                                   {"batch_dependent", {"model.batch_equals_single"}},
                                   {"writes_input", {"model.repeatable"}},
                                   {"forgets_training", {"model.vjp_in_training"}},
                                   {"infinite_at_zero", {"model.finite_at_zero"}},
                                   {"wrong_in_bfloat16", {"model.forward_in_bfloat16"}}});
}

TEST_CASE("a sampler that is wrong in one way breaks the law of that way") {
  require_broken("broken_samplers", {{"sound", {}},
                                     {"misses_the_image", {"sampler.reaches_a_known_image"}},
                                     {"swallows_errors", {"sampler.passes_on_errors"}},
                                     {"swallows_corruption_errors", {"sampler.passes_on_errors_of_the_corruption"}},
                                     {"asks_again", {"sampler.stops_when_told"}},
                                     {"batch_dependent", {"sampler.batch_equals_single"}},
                                     {"not_repeatable", {"sampler.repeatable"}}});
}

TEST_CASE("a law that fails says what it saw") {
  CHECK(detail("broken_corruptions", "throws", "corruption.adjoint.float64") ==
        "plugin \"throws\": apply failed: never works (parameter \"strength\")");
  CHECK(detail("broken_corruptions", "no_create", "corruption.create") ==
        "plugin \"no_create\": create failed: cannot be made with this strength (parameter \"strength\")");
  CHECK(detail("broken_corruptions", "not_identity_at_zero", "corruption.identity_at_zero.float64") ==
        "0.5, at most 1e-12");
  CHECK(detail("broken_corruptions", "writes_input", "corruption.repeatable.float32") == "apply wrote into its input");
  CHECK(detail("broken_corruptions", "not_repeatable", "corruption.repeatable.float32") ==
        "apply gave different values for equal inputs");
  CHECK(detail("broken_schedules", "falls", "schedule.monotone_with_right_ends") ==
        "plugin \"falls\": level must be finite, not negative and never fall, but is 0.1 at t = 0.5");
  CHECK(detail("broken_schedules", "fills_nothing", "schedule.fills_something") ==
        "it sets neither SDP_CAP_FILLS_LEVEL nor SDP_CAP_FILLS_SIGMA");
  CHECK(detail("broken_models", "equal_names", "model.create") ==
        "plugin \"equal_names\": its parameter \"gain\" shares its name with another");
  CHECK(detail("broken_models", "one_saved_for_all", "model.vjp_after_another_forward") ==
        "the gradient of A changes when B runs between A's forward and its vjp");
  CHECK(detail("broken_models", "works_once", "model.vjp_twice") == "a second vjp of one forward differs");
  CHECK(detail("broken_samplers", "swallows_errors", "sampler.passes_on_errors") ==
        "plugin \"swallows_errors\": step went on as if nothing were wrong after this error: it fails on purpose");
  CHECK(detail("broken_samplers", "asks_again", "sampler.stops_when_told") ==
        "told to stop, it asked the network again");
}
