#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

Model network(const std::string& toml, const SampleShape& sample) {
  return Model(plugin("ncsnpp"), settings(plugin("ncsnpp"), toml), sample);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// A score_sde configuration as our table. What the network does not depend on is left out; what would make it another
// network is refused.
std::string table_of(const Fixture& fixture) {
  const std::vector<std::string> ours = {
      "nf",         "ch_mult",       "num_res_blocks", "attn_resolutions",    "dropout",      "resamp_with_conv",
      "fir",        "fir_kernel",    "conditional",    "progressive",         "skip_rescale", "progressive_input",
      "sigma_min",  "sigma_max",     "embedding_type", "progressive_combine", "init_scale",   "nonlinearity",
      "num_scales", "fourier_scale", "scale_by_sigma", "resblock_type"};
  const std::vector<std::string> of_the_process = {"beta_min", "beta_max", "ema_rate", "name"};
  const Json only = {{"attention_type", "ddpm"}, {"normalization", "GroupNorm"}, {"conv_size", 3}};
  const auto among = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::string toml = "centered = " + fixture.data.at("centered").dump() + "\n";
  for (const auto& [key, value] : fixture.config.items()) {
    if (among(ours, key))
      toml += key + " = " + (value.is_string() ? lower(value.dump()) : value.dump()) + "\n";
    else if (!among(of_the_process, key) && !(only.contains(key) && only[key] == value))
      throw std::runtime_error(fixture.name + ": this network knows no " + key + " = " + value.dump());
  }
  return toml;
}

// A way to tell the network its condition, as users of such a network would.
struct Route {
  std::string toml;
  Points at;
};

std::vector<Route> routes(const Fixture& fixture) {
  const std::vector<double> condition = numbers(fixture.at("input.condition"));
  const auto at = [&](std::vector<double> Points::*which, const std::vector<double>& values) {
    Points p = points(std::vector<double>(condition.size(), 0.5), 0.5);
    p.t.assign(condition.size(), 0.5);
    p.*which = values;
    return p;
  };
  if (lower(fixture.config.at("embedding_type").get<std::string>()) == "fourier")
    return {{"condition = \"sigma\"", at(&Points::sigma, condition)}};
  std::vector<Route> all = {{"condition = \"level\"\ncondition_scale = 1", at(&Points::level, condition)}};
  std::vector<double> times, sigmas;
  for (const double c : condition) times.push_back(c / 999);
  if (fixture.continuous) {
    all.push_back({"condition = \"t\"\ncondition_scale = 999", at(&Points::t, times)});
    return all;
  }
  const std::vector<double> table = numbers(fixture.at("buffer.sigmas"));
  for (const double c : condition) sigmas.push_back(table.at(static_cast<size_t>(c)));
  all.push_back({"condition = \"sigma\"", at(&Points::sigma, sigmas)});
  return all;
}

void require_parity(const Fixture& fixture, at::ScalarType dtype, double bound) {
  const std::string toml = table_of(fixture);
  for (const Route& route : routes(fixture)) {
    const Deviation d = deviation(network(toml + route.toml, fixture.sample()), fixture, route.at, dtype);
    INFO(fixture.name << " with " << route.toml << "\nworst gradient: " << d.worst);
    CHECK(d.output <= bound);
    CHECK(d.input_gradient <= bound);
    CHECK(d.norms <= bound);
    CHECK(d.projections <= bound);
  }
}

}  // namespace

TEST_CASE("ncsnpp computes what score_sde computes with the same weights, and the same gradients") {
  REQUIRE_FALSE(fixture_files().empty());
  for_every_fixture(fixture_files(), require_parity);
}

TEST_CASE("ncsnpp computes what its equations, written down a second time, give in forms that are rarely published") {
  const auto files = fixture_files("SDPIPE_PARITY_DIR_NCSNPP", "ncsnpp");
  REQUIRE_FALSE(files.empty());
  for_every_fixture(files, require_parity);
}

TEST_CASE("ncsnpp lists the tensors of score_sde's published networks") {
  const std::pair<std::string, std::string> networks[] = {
      {"celeba_ncsnpp", ""},
      {"cifar10_ncsnpp_continuous", "embedding_type = \"fourier\"\n"},
      {"cifar10_ddpmpp_continuous", "fir = false\nprogressive_input = \"none\"\n"}};
  for (const auto& [name, toml] : networks) {
    INFO(name);
    const int64_t pixels = name.starts_with("celeba") ? 64 : 32;
    const Published ours = listed(network(toml, {3, pixels, pixels})), theirs = published("ncsnpp_shapes.json", name);
    CHECK(ours.params == theirs.params);
    CHECK(ours.shapes == theirs.shapes);
  }
}
