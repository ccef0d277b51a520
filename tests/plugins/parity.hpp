// What another program's network computed, to compare ours with: safetensors files of weight.*, input.x, .condition and
// .gy, output.y and grad.x, whose metadata holds the configuration and, for every parameter's gradient g, its Euclidean
// norm and sum_i g_i cos(i).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "core/training/tensors.hpp"
#include "tests/plugins/support.hpp"

namespace sdpipe::testing {

struct Fixture {
  std::string name;
  NamedTensors tensors;
  Json config, data, gradients;
  bool continuous = false;

  at::Tensor at(const std::string& tensor) const;  // float64
  SampleShape sample() const;
};

// Every fixture of the folder that an environment variable names, by default of one in tests/parity.
std::vector<std::filesystem::path> fixture_files(const char* variable = "SDPIPE_PARITY_DIR",
                                                 const std::string& folder = "");
Fixture read_fixture(const std::filesystem::path& file);

// check(fixture, dtype, bound) of every fixture, with the bounds that networks are held to.
template <class F>
void for_every_fixture(const std::vector<std::filesystem::path>& files, F check) {
  for (const auto& file : files) {
    const Fixture fixture = read_fixture(file);
    check(fixture, at::kDouble, 1e-9);
    check(fixture, at::kFloat, 1e-4);
  }
}

// Names and shapes of a network's published tensors, from a JSON file in tests/parity.
struct Published {
  int64_t params;  // elements
  std::map<std::string, std::vector<int64_t>> shapes;
};
Published published(const std::string& file, const std::string& network);
Published listed(const Model& model);

// The largest relative errors of a network against a fixture, and the parameter with the worst gradient.
struct Deviation {
  double output, input_gradient, norms, projections;
  std::string worst;
};
// `model` with the fixture's weights, at the fixture's input, in `dtype`. Names what is missing, extra or misshapen.
Deviation deviation(const Model& model, const Fixture& fixture, const Points& at, at::ScalarType dtype);

}  // namespace sdpipe::testing
