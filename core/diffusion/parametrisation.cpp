#include "core/diffusion/parametrisation.hpp"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/diffusion/table.hpp"

namespace sdpipe {

at::Tensor Preconditioning::diagonal(const at::Tensor& entries, const at::Tensor& x) const {
  return maps_->basis.inverse(entries * maps_->basis.forward(x));
}

at::Tensor Preconditioning::input(const at::Tensor& x_t) const {
  return maps_ ? diagonal(maps_->input, x_t - maps_->seen_mean) : x_t;
}

at::Tensor Preconditioning::x0_hat(const at::Tensor& x_t, at::Tensor f) const {
  if (!maps_) return f.add_(x_t);
  const at::Tensor y = x_t - maps_->seen_mean;
  const at::Tensor skip =
      maps_->skip.defined() ? diagonal(maps_->skip, y) : maps_->filter->estimate_of(*maps_->process, *maps_->at, y);
  return maps_->mean + skip + diagonal(maps_->scale, f);
}

at::Tensor Preconditioning::to_output(const at::Tensor& g) const { return maps_ ? diagonal(maps_->scale, g) : g; }

at::Tensor Preconditioning::to_x_t(const at::Tensor& u, const at::Tensor& v) const {
  if (!maps_) return v + u;
  const at::Tensor skip =
      maps_->skip.defined() ? diagonal(maps_->skip, u) : maps_->filter->transpose_of(*maps_->process, *maps_->at, u);
  return skip + diagonal(maps_->input, v);
}

// -------------------------------------------------------------------------------------------------------- estimation

namespace {

constexpr size_t knot_step = 16;  // 65 of the path's 1,025 times

double time_of(size_t i) { return static_cast<double>(i) / static_cast<double>(path_points - 1); }

// Values known at every knot_step-th place; straight lines between.
void fill_between(std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t before = i / knot_step * knot_step;
    if (i == before) continue;
    const double share = static_cast<double>(i - before) / static_cast<double>(knot_step);
    values[i] = std::lerp(values[before], values[before + knot_step], share);
  }
}

double sum_of(const at::Tensor& x) { return x.sum(at::kDouble).item<double>(); }

// What C does to the data, without noise, per element and at the path's times.
struct Moments {
  double clean = 0;                 // E|x_0 - m|^2 / d
  std::vector<double> seen, cross;  // E|C_t (x_0 - m)|^2 / d, E<x_0 - m, C_t (x_0 - m)> / d
};

Moments measure(const Process& process, const DataCalibration& data, const LinearFilter& law,
                const std::atomic<bool>* cancel) {
  Moments m{0, std::vector<double>(path_points), std::vector<double>(path_points)};
  const double elements = static_cast<double>(data.n_images() * law.mean().numel());
  for (uint32_t k = 0; k < data.n_batches(); ++k) {
    const at::Tensor x = data.batch(k) - law.means_like(data.batch(k));
    m.clean += sum_of(x.square()) / elements;
    for (size_t i = 0; i < path_points; i += knot_step) {
      if (cancel && cancel->load()) throw Cancelled();
      const at::Tensor c_x = process.corrupt(process.at(time_of(i), data.keys(k)), x);
      m.seen[i] += sum_of(c_x.square()) / elements;
      m.cross[i] += sum_of(x * c_x) / elements;
    }
  }
  fill_between(m.seen);
  fill_between(m.cross);
  return m;
}

double inverse_or_zero(double x) { return x > 0 ? 1 / x : 0; }

// E|y|^2 / d
double seen_variance(const Process& process, const Moments& m, size_t i) {
  const double sigma = process.path().sigmas()[i];
  return m.seen[i] + sigma * sigma;
}

void require_variety(const std::string& name, double variance, int64_t images) {
  if (variance > 0) return;
  throw RunError(
      fmt::format("train.parametrisation = \"{}\" divides by the variance of the data, and the {} calibration images "
                  "are all alike; "
                  "use train.parametrisation = \"residual\"",
                  name, images));
}

// r_t of W by conjugate gradients: sqrt(E|x_0 - W(x_t)|^2 / d) over the first batch.
std::vector<double> error_of_filter(const LinearFilter& filter, const Process& process, const DataCalibration& data,
                                    uint64_t seed, const std::atomic<bool>* cancel) {
  std::vector<double> r(path_points);
  const at::Tensor x_0 = data.batch(0);
  const at::Tensor mean = filter.means_like(x_0);
  std::vector<uint64_t> sample;
  for (uint64_t b = 0; b < data.keys(0).size(); ++b) sample.push_back(b);
  for (size_t i = 0; i < path_points; i += knot_step) {
    if (cancel && cancel->load()) throw Cancelled();
    const Points at = process.at(time_of(i), data.keys(0));
    const at::Tensor eps = normal_like(x_0, seed, Purpose::calibration, sample, static_cast<uint32_t>(i), 1);
    const at::Tensor y = process.noisy(at, x_0 - mean, eps);
    r[i] = std::sqrt(sum_of((x_0 - mean - filter.estimate_of(process, at, y)).square()) /
                     static_cast<double>(x_0.numel()));
  }
  fill_between(r);
  return r;
}

}  // namespace

Parametrisation Parametrisation::estimate(const std::string& name, const Process& process, const DataCalibration& data,
                                          uint64_t seed, const std::atomic<bool>* cancel) {
  Parametrisation p;
  p.name_ = name;
  if (name == "residual") return p;
  LinearFilter filter = LinearFilter::estimate(process, data);
  require_variety(name, sum_of(filter.variance()), data.n_images());
  p.mean_ = filter.mean();
  if (name == "linear") p.filter_ = filter;
  if (name == "linear" && filter.basis() != Basis::none) return p;
  const Moments m = measure(process, data, filter, cancel);
  for (size_t i = 0; i < path_points; ++i) {
    const double seen = seen_variance(process, m, i), a = m.cross[i] * inverse_or_zero(seen);
    p.tables_.input.push_back(inverse_or_zero(std::sqrt(seen)));
    if (name == "linear") continue;
    p.tables_.skip.push_back(a);
    p.tables_.scale.push_back(std::sqrt(std::max(m.clean - a * m.cross[i], 0.0)));
  }
  if (name == "linear") p.tables_.scale = error_of_filter(filter, process, data, seed, cancel);
  return p;
}

std::string Parametrisation::describe() const {
  if (!filter_ || filter_->basis() != Basis::none) return "";
  return "train.parametrisation = \"linear\": the corruption is diagonal neither in the DCT nor in pixels, so the "
         "linear "
         "estimate is found by 10 conjugate gradients at every call of the network, and scaled by one number a time";
}

// --------------------------------------------------------------------------------------------------------- checkpoint

namespace {

const std::string prefix = "parametrisation.";

// A name without the prefix, and its tensor.
bool is_sound(const NamedTensors::value_type& named, const SampleShape& shape) {
  const auto& [name, tensor] = named;
  const bool is_image = name == "mean" || name.ends_with("_variance");
  return tensor.scalar_type() == at::kDouble &&
         tensor.sizes() == at::IntArrayRef(is_image ? shape : SampleShape{path_points});
}

}  // namespace

NamedTensors Parametrisation::named() const {
  NamedTensors tensors;
  if (mean_.defined()) tensors[prefix + "mean"] = mean_;
  if (!tables_.skip.empty()) tensors[prefix + "skip"] = table_tensor(tables_.skip);
  if (!tables_.scale.empty()) tensors[prefix + "scale"] = table_tensor(tables_.scale);
  if (!tables_.input.empty()) tensors[prefix + "input"] = table_tensor(tables_.input);
  if (filter_)
    tensors[prefix + (filter_->basis() == Basis::pixel ? "pixel" : "dct") + "_variance"] = filter_->variance();
  return tensors;
}

Parametrisation Parametrisation::from(const NamedTensors& tensors, const SampleShape& shape, const std::string& file) {
  NamedTensors found;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) found[name.substr(prefix.size())] = tensor;
  }
  if (found.empty()) return {};
  std::set<std::string> names;
  for (const auto& [name, tensor] : found) names.insert(name);
  using Names = std::set<std::string>;
  const bool scaled = names == Names{"mean", "skip", "scale", "input"};
  const bool by_gradients = names == Names{"mean", "dct_variance", "scale", "input"};
  const bool in_dct = names == Names{"mean", "dct_variance"}, in_pixels = names == Names{"mean", "pixel_variance"};
  const bool complete = scaled || by_gradients || in_dct || in_pixels;
  if (!complete || !std::all_of(found.begin(), found.end(), [&](const auto& t) { return is_sound(t, shape); }))
    throw CheckpointError(
        fmt::format("{}: what it holds of \"parametrisation\" is incomplete, misshapen or unknown", file));
  Parametrisation p;
  p.name_ = scaled ? "scaled" : "linear";
  p.mean_ = found.at("mean");
  if (scaled) p.tables_.skip = table_values(found.at("skip"));
  if (scaled || by_gradients) {
    p.tables_.scale = table_values(found.at("scale"));
    p.tables_.input = table_values(found.at("input"));
  }
  if (in_pixels) p.filter_.emplace(Basis::pixel, p.mean_, found.at("pixel_variance"));
  if (in_dct || by_gradients) p.filter_.emplace(in_dct ? Basis::dct : Basis::none, p.mean_, found.at("dct_variance"));
  return p;
}

// -------------------------------------------------------------------------------------------------------------- maps

Preconditioning Parametrisation::at(const Process& process, const Points& points, const at::Tensor& like) const {
  Preconditioning around;
  if (!mean_.defined()) return around;
  const at::Tensor mean = mean_.to(like.options()).expand_as(like).contiguous();
  const bool by_coefficient = filter_ && filter_->basis() != Basis::none;
  const Basis basis = by_coefficient ? filter_->basis() : Basis::pixel;
  Preconditioning::Maps maps{mean,
                             process.corrupt(points, mean),
                             {},
                             {},
                             {},
                             BasisChange(basis, like),
                             filter_ ? &*filter_ : nullptr,
                             &process,
                             &points};
  if (by_coefficient) {
    const FilterCoefficients f = filter_->coefficients(process, points, like);
    maps.skip = f.gain().to(like.options());
    maps.scale = f.open().to(like.options());
    maps.input = f.whitening().to(like.options());
  } else {
    const auto at_times = [&](const std::vector<double>& table) {
      std::vector<double> values;
      for (const double t : points.t) values.push_back(Path::interpolate(table, t));
      return per_sample(values, like);
    };
    if (!filter_) maps.skip = at_times(tables_.skip);
    maps.scale = at_times(tables_.scale);
    maps.input = at_times(tables_.input);
  }
  around.maps_ = std::move(maps);
  return around;
}

}  // namespace sdpipe
