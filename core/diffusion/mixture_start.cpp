#include "core/diffusion/mixture_start.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.hpp"
#include "core/data/loader.hpp"
#include "core/diffusion/calibration.hpp"

namespace sdpipe {
namespace {

constexpr int64_t read_block = 256;
constexpr uint64_t keys = 8;                    // over which G is a mean
constexpr double visible = 0.2, drowned = 0.1;  // in units of sigma_1
constexpr double close_enough = 0.01;           // nats an image
constexpr double least_floor = 1e-6;            // of a variance of z, where there is no noise to drown in
constexpr uint32_t draw_of_probes = 6;          // prior.cpp and low_rank.cpp have those before

struct Eigenbasis {
  at::Tensor v;       // (rank, d): orthonormal rows
  at::Tensor lambda;  // (rank)
};

// Of the rows of F; one of length 0 has no direction.
Eigenbasis basis_of(const GaussianImages& gaussian) {
  const at::Tensor f = gaussian.low_rank.flatten(1).to(at::kCPU, at::kDouble);
  const at::Tensor squares = f.square().sum(1);
  const at::Tensor kept = (squares > 1e-12 * squares.max()).nonzero().flatten();
  const at::Tensor rows = f.index_select(0, kept), square = squares.index_select(0, kept);
  return {rows / square.sqrt().unsqueeze(1), square + gaussian.residual_variance};
}

// C_1 of clean images (n, channel, height, width) under one key.
at::Tensor at_the_end(const Process& process, const at::Tensor& x, uint64_t key) {
  return process.corrupt(process.at(1, std::vector<uint64_t>(static_cast<size_t>(x.size(0)), key)), x.contiguous());
}

std::vector<int64_t> batch_of(const at::Tensor& mean, int64_t n) {
  std::vector<int64_t> shape = mean.sizes().vec();
  shape.insert(shape.begin(), n);
  return shape;
}

// What C_1 leaves above the noise outside of the basis: the residual variance, all or nothing, by the mean eigenvalue
// of r C_1^T C_1 there, each direction counted by what it shows.
double residual_above(const GaussianImages& gaussian, const Eigenbasis& basis, const Process& process, uint64_t seed,
                      double threshold, const at::TensorOptions& like) {
  double shown = 0, square = 0;
  for (uint64_t k = 0; k < keys; ++k) {
    const std::vector<uint64_t> number = {k};
    const at::Tensor probe =
        normal_like(at::empty(batch_of(gaussian.mean, 1), at::kDouble), seed, Purpose::prior, number, 0, draw_of_probes)
            .flatten(1);
    const at::Tensor outside =
        (probe - at::matmul(at::matmul(probe, basis.v.t()), basis.v)).view_as(gaussian.mean.unsqueeze(0));
    const Points at = process.at(1, {key_of(seed, k)});
    const at::Tensor seen = process.corrupt(at, outside.to(like).contiguous());
    shown += seen.to(at::kDouble).square().sum().item<double>();
    square += process.adjoint(at, seen).to(at::kDouble).square().sum().item<double>();
  }
  if (shown == 0 || gaussian.residual_variance * square / shown <= threshold) return 0;
  return gaussian.residual_variance * shown / static_cast<double>(keys);
}

struct Directions {
  at::Tensor w;     // (d, r)
  at::Tensor gain;  // g: (r)
  double share = 1;
};

Directions find_directions(const GaussianImages& gaussian, const Process& process, uint64_t seed) {
  const Eigenbasis basis = basis_of(gaussian);
  const int64_t rank = basis.v.size(0), d = gaussian.mean.numel();
  const double sigma = process.path().sigma(1), threshold = visible * visible * sigma * sigma;
  if (rank == 0) return {at::zeros({d, 0}, at::kDouble), at::zeros({0}, at::kDouble), 1};
  const at::TensorOptions like = gaussian.low_rank.options();
  const at::Tensor scaled = basis.v * basis.lambda.sqrt().unsqueeze(1);  // (V Lambda^1/2)^T
  at::Tensor g = at::zeros({rank, rank}, at::kDouble);
  for (uint64_t k = 0; k < keys; ++k) {
    const at::Tensor seen = at_the_end(process, scaled.view(batch_of(gaussian.mean, rank)).to(like), key_of(seed, k))
                                .flatten(1)
                                .to(at::kCPU, at::kDouble);
    g += at::matmul(seen, seen.t()) / static_cast<double>(keys);
  }
  const auto [ascending, vectors] = at::linalg_eigh(g);
  const at::Tensor gain = ascending.flip({0}).contiguous(), u = vectors.flip({1});
  const at::Tensor above = gain * (gain > std::max(threshold, 1e-12 * gain[0].item<double>()));
  const int64_t r = std::min(above.count_nonzero().item<int64_t>(), mixture_directions);
  const double all = above.sum().item<double>() + residual_above(gaussian, basis, process, seed, threshold, like);
  return {at::matmul(scaled.t(), u.slice(1, 0, r)), gain.slice(0, 0, r),
          all > 0 ? above.slice(0, 0, r).sum().item<double>() / all : 1};
}

// z of the chosen images: (n, r).
at::Tensor coordinates(const Source& source, const std::vector<int64_t>& chosen, const at::Tensor& mean,
                       const at::Tensor& p, const std::atomic<bool>* cancel) {
  const at::Tensor centre = mean.flatten(), to_z = p.t().contiguous();
  std::vector<at::Tensor> parts;
  for (size_t first = 0; first < chosen.size(); first += read_block) {
    if (cancel && cancel->load()) throw Cancelled();
    const size_t n = std::min(static_cast<size_t>(read_block), chosen.size() - first);
    const at::Tensor x = read_batch(source, std::span(chosen).subspan(first, n)).flatten(1).to(at::kDouble);
    parts.push_back(at::matmul(x - centre, to_z));
  }
  return at::cat(parts);
}

MixtureFit fit(const at::Tensor& z, int64_t components, const std::vector<double>& floor, uint64_t seed,
               const std::atomic<bool>* cancel) {
  MixtureOptions options;
  options.components = components;
  options.first_means = choose_images(z.size(0), components, seed + 3);
  options.floor = floor;
  options.cancel = cancel;
  return fit_mixture(z, options);
}

std::vector<int64_t> numbers_to_try(int64_t images, int64_t asked) {
  if (asked == 1) return {1};
  if (asked > 1) return {1, asked};
  std::vector<int64_t> numbers;
  for (int64_t k = 1; k <= mixture_components && images_per_component * k <= images; k *= 2) numbers.push_back(k);
  return numbers;
}

}  // namespace

std::string too_few_for_mixture(int64_t images, int64_t components) {
  const int64_t needed = images_per_component * std::max<int64_t>(components, 1);
  if (images >= needed) return "";
  return fmt::format(
      "sample.prior = \"mixture\" needs at least {} images, {} for each component, and the data set has {}; {}", needed,
      images_per_component, images,
      components > 1 ? "lower sample.prior_components, or leave it at 0, which chooses the number"
                     : "use sample.prior = \"empirical\" or \"gaussian\"");
}

at::Tensor coordinates_of(const GaussianImages& gaussian, const at::Tensor& directions) {
  const Eigenbasis basis = basis_of(gaussian);
  const at::Tensor w = directions.flatten(1).to(at::kCPU, at::kDouble);  // W^T; W = V Lambda^1/2 U
  return at::matmul(at::matmul(w, basis.v.t()) / basis.lambda, basis.v);
}

MixtureStart estimate_mixture_start(const Source& source, const GaussianImages& gaussian, const Process& process,
                                    uint64_t seed, int64_t components, const std::atomic<bool>* cancel) {
  if (const std::string why = too_few_for_mixture(source.size(), components); !why.empty()) throw RunError(why);
  const Directions found = find_directions(gaussian, process, seed);
  const int64_t r = found.gain.size(0);
  MixtureStart start;
  start.share = found.share;
  start.directions = found.w.t().contiguous().view(batch_of(gaussian.mean, r));
  if (r == 0) return start;
  const std::vector<int64_t> chosen = choose_images(source.size(), mixture_images, seed);
  const at::Tensor z = coordinates(source, chosen, gaussian.mean, coordinates_of(gaussian, start.directions), cancel);
  start.images = z.size(0);
  const double sigma = process.path().sigma(1), detail = drowned * drowned * sigma * sigma;
  std::vector<double> floor;
  for (int64_t i = 0; i < r; ++i) floor.push_back(std::max(detail / found.gain[i].item<double>(), least_floor));
  const int64_t seen = start.images - start.images / 5;
  start.asked = components;
  const std::vector<int64_t> numbers = numbers_to_try(start.images, components);
  for (const int64_t k : numbers) {
    const Mixture m = fit(z.slice(0, 0, seen), k, floor, seed, cancel).mixture;
    start.tried.push_back(static_cast<double>(k));
    start.held_out.push_back(m.log_density(z.slice(0, seen)).mean().item<double>());
  }
  const double best = *std::max_element(start.held_out.begin(), start.held_out.end());
  if (components > 0)
    start.choice = numbers.size() - 1;
  else
    while (start.held_out[start.choice] < best - close_enough) ++start.choice;
  MixtureFit whole = fit(z, numbers[start.choice], floor, seed, cancel);
  if (whole.emptied > 0)
    log_debug(fmt::format("prior: {} of {} components held too few images, and the others took them", whole.emptied,
                          numbers[start.choice]));
  start.mixture = std::move(whole.mixture);
  return start;
}

}  // namespace sdpipe
