#include "tests/plugins/parity.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/norm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "core/base/files.hpp"

namespace sdpipe::testing {

namespace fs = std::filesystem;

namespace {

double relative(const at::Tensor& found, const at::Tensor& expected) {
  return (found.to(at::kDouble) - expected).norm().item<double>() / expected.norm().item<double>();
}

ParamSet weights(const Model& model, const Fixture& fixture, at::ScalarType dtype) {
  ParamSet set = storage(model, dtype);
  std::string wrong;
  for (size_t i = 0; i < model.params().size(); ++i) {
    const auto stored = fixture.tensors.find("weight." + model.params()[i].name);
    if (stored == fixture.tensors.end())
      wrong += " missing " + model.params()[i].name;
    else if (stored->second.sizes() != set.tensors()[i].sizes())
      wrong += " misshapen " + model.params()[i].name;
    else
      set.tensors()[i].copy_(stored->second);
  }
  const auto is_weight = [](const auto& item) { return item.first.starts_with("weight."); };
  const auto stored = std::count_if(fixture.tensors.begin(), fixture.tensors.end(), is_weight);
  if (stored > static_cast<std::ptrdiff_t>(model.params().size())) wrong += " and more tensors than the network has";
  if (!wrong.empty()) throw std::runtime_error(fixture.name + ":" + wrong);
  set.changed();
  return set;
}

// NaN where one of them is, which std::max would drop.
double larger(double a, double b) { return std::isnan(b) || b > a ? b : a; }

std::array<double, 2> known_gradient(const Fixture& fixture, const std::string& name) {
  if (!fixture.gradients.contains(name)) return {0, 0};
  return fixture.gradients[name].get<std::array<double, 2>>();
}

// Norm and projection of one gradient, relative to its norm; but some vanish identically (that of the bias of an
// attention's keys, to which softmax is blind) and are rounding errors in both programs: these are measured against
// `whole`, the norm of the gradient in all parameters. Parameters of which the fixture knows no gradient have none.
void compare_gradient(Deviation& d, const Fixture& fixture, const std::string& name, const at::Tensor& gradient,
                      double whole) {
  const at::Tensor g = gradient.to(at::kDouble).flatten();
  const double norm = g.norm().item<double>();
  const double projection = at::dot(g, at::arange(g.numel(), at::kDouble).cos()).item<double>();
  const std::array<double, 2> expected = known_gradient(fixture, name);
  const double scale = std::max(expected[0], 1e-3 * whole);
  const double in_norm = std::abs(norm - expected[0]) / scale;
  const double in_projection = std::abs(projection - expected[1]) / scale;
  if (larger(in_norm, in_projection) > larger(d.norms, d.projections) || std::isnan(larger(in_norm, in_projection)))
    d.worst = name;
  d.norms = larger(d.norms, in_norm);
  d.projections = larger(d.projections, in_projection);
}

double whole_gradient(const Fixture& fixture) {
  double squares = 0;
  for (const auto& item : fixture.gradients.items()) squares += std::pow(item.value()[0].get<double>(), 2);
  return std::sqrt(squares);
}

}  // namespace

at::Tensor Fixture::at(const std::string& tensor) const { return tensors.at(tensor).to(at::kDouble); }

SampleShape Fixture::sample() const { return tensors.at("input.x").sizes().slice(1).vec(); }

std::vector<fs::path> fixture_files(const char* variable, const std::string& folder) {
  const char* const named = std::getenv(variable);
  const fs::path committed = fs::path(SDPIPE_SOURCE_DIR) / "tests/parity" / folder;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(named ? fs::path(named) : committed))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

Fixture read_fixture(const fs::path& file) {
  const std::string content = read_file(file);
  const auto metadata = read_safetensors(content, file.string()).metadata;
  return {file.filename().string(),
          unpack_tensors(content, file.string()),
          Json::parse(metadata.at("config")),
          Json::parse(metadata.at("data")),
          Json::parse(metadata.at("grad_norm_and_cos_projection")),
          metadata.contains("continuous") && metadata.at("continuous") == "True"};
}

Published published(const std::string& file, const std::string& network) {
  const Json entry = Json::parse(read_file(SDPIPE_SOURCE_DIR "/tests/parity/" + file)).at(network);
  Published p{entry.at("params").get<int64_t>(), {}};
  for (const auto& [name, shape] : entry.at("shapes").items()) p.shapes[name] = shape.get<std::vector<int64_t>>();
  return p;
}

Published listed(const Model& model) {
  Published p{0, {}};
  for (const ModelParamInfo& info : model.params()) {
    p.params += std::accumulate(info.shape.begin(), info.shape.end(), int64_t{1}, std::multiplies<>());
    p.shapes[info.name] = info.shape;
  }
  return p;
}

Deviation deviation(const Model& model, const Fixture& fixture, const Points& at, at::ScalarType dtype) {
  const ParamSet params = weights(model, fixture, dtype);
  const ParamSet gradients = storage(model, dtype);
  CallScope scope;
  const ModelCall call{params, at, scope, false};
  const at::Tensor x = fixture.at("input.x").to(dtype), gy = fixture.at("input.gy").to(dtype);
  auto [y, saved] = model.forward_saving(call, x);
  const at::Tensor gx = model.vjp(call, x, saved, gy, &gradients, true);
  Deviation d{relative(y, fixture.at("output.y")), relative(gx, fixture.at("grad.x")), 0, 0, ""};
  const double whole = whole_gradient(fixture);
  for (size_t i = 0; i < model.params().size(); ++i)
    if (!model.params()[i].frozen) compare_gradient(d, fixture, model.params()[i].name, gradients.tensors()[i], whole);
  return d;
}

}  // namespace sdpipe::testing
