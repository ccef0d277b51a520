#include "tests/plugins/support.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <map>

#include "core/base/random.hpp"
#include "core/config/document.hpp"

namespace sdpipe::testing {

const Plugin& plugin(const std::string& id) {
  static std::map<std::string, std::vector<Plugin>> libraries;
  std::vector<Plugin>& library = libraries[id];
  if (library.empty()) library = load_library(std::string(SDPIPE_BUILD_DIR) + "/plugins/" + id + ".sdp.so");
  return library.front();
}

Settings settings(const Plugin& plugin, const std::string& toml) {
  std::vector<Problem> problems;
  const Document document = parse_document(toml, "test", problems);
  Settings result = check_table(plugin.schema, document.root, "table \"" + plugin.id() + "\"", {}, problems);
  if (!problems.empty()) throw UsageError(problems.front().text);
  return result;
}

ParamSet storage(const Model& model, at::ScalarType dtype) {
  std::vector<at::Tensor> tensors;
  for (const ModelParamInfo& p : model.params()) tensors.push_back(at::zeros(p.shape, at::TensorOptions(dtype)));
  return ParamSet(std::move(tensors));
}

std::string failure(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no failure";
}

std::unique_ptr<Corruption> corruption(const std::string& id, const std::string& toml, const SampleShape& sample) {
  return make_plugin_corruption(plugin(id), settings(plugin(id), toml), sample);
}

Points points(const std::vector<double>& level, double sigma) {
  Points p;
  for (size_t b = 0; b < level.size(); ++b) p.key.push_back(b);
  p.t.assign(level.size(), 0.5);
  p.level = level;
  p.sigma.assign(level.size(), sigma);
  return p;
}

at::Tensor noise(const std::vector<int64_t>& shape, uint64_t seed, at::ScalarType dtype) {
  at::Tensor x = at::empty(shape, at::kDouble);
  Stream stream;
  stream.seed = seed;
  fill_uniform(stream, std::span<double>(x.data_ptr<double>(), static_cast<size_t>(x.numel())));
  return x.mul_(2).sub_(1).to(dtype);
}

at::Tensor tensor(const std::vector<int64_t>& shape, const std::vector<double>& values) {
  at::Tensor x = at::empty(shape, at::kDouble);
  std::copy(values.begin(), values.end(), x.data_ptr<double>());
  return x;
}

std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor y = x.to(at::kDouble).contiguous();
  return std::vector<double>(y.const_data_ptr<double>(), y.const_data_ptr<double>() + y.numel());
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

namespace {
at::Tensor dct_matrix(int64_t n) {
  at::Tensor d = at::empty({n, n}, at::kDouble);
  double* entry = d.data_ptr<double>();
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t i = 0; i < n; ++i) {
      const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n));
      *entry++ =
          scale * std::cos(M_PI * static_cast<double>(k) * (static_cast<double>(i) + 0.5) / static_cast<double>(n));
    }
  }
  return d;
}
}  // namespace

at::Tensor dct(const at::Tensor& x) {
  return at::matmul(at::matmul(dct_matrix(x.size(-2)), x), dct_matrix(x.size(-1)).t());
}

at::Tensor inverse_dct(const at::Tensor& x) {
  return at::matmul(at::matmul(dct_matrix(x.size(-2)).t(), x), dct_matrix(x.size(-1)));
}

std::vector<double> levels(const std::string& id, const std::string& toml, const CalibrationData& data, uint32_t n) {
  std::vector<double> level;
  Schedule(plugin(id), settings(plugin(id), toml)).select(data, n, &level, nullptr);
  return level;
}

std::vector<double> sigmas(const std::string& id, const std::string& toml, uint32_t n) {
  std::vector<double> sigma;
  Schedule(plugin(id), settings(plugin(id), toml)).select(TestData(1.0), n, nullptr, &sigma);
  return sigma;
}

}  // namespace sdpipe::testing
