#include "core/diffusion/mixture.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/triu_indices.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

#include "core/host/one_thread.hpp"
#include "core/host/services.hpp"

namespace sdpipe {
namespace {

constexpr int64_t block = 1024;  // rows of z at a time: their monomials and densities stay in the cache

// (z_i z_j for i <= j, z_i, 1), a row for each row of z.
class Monomials {
 public:
  explicit Monomials(int64_t r) : r_(r) {
    const at::Tensor pairs = at::triu_indices(r, r);
    i_ = pairs[0];
    j_ = pairs[1];
  }

  at::Tensor of(const at::Tensor& z) const {
    return at::cat({z.index_select(1, i_) * z.index_select(1, j_), z, at::ones({z.size(0), 1}, z.options())}, 1);
  }

  // (monomials, K): log w_k N(z; mu_k, S_k) = monomials(z) theta, from
  // log w - log det L - r/2 log 2 pi - (z - mu)^T S^-1 (z - mu) / 2.
  at::Tensor log_terms(const Mixture& m) const {
    const at::Tensor precision = at::cholesky_inverse(m.factors);
    const at::Tensor twice =
        at::where(i_ == j_, at::full({1}, -0.5, precision.options()), at::full({1}, -1.0, precision.options()));
    const at::Tensor square = precision.flatten(1).index_select(1, i_ * r_ + j_) * twice;
    const at::Tensor linear = at::matmul(precision, m.means.unsqueeze(2)).squeeze(2);
    const at::Tensor constant = m.weights.log() - m.factors.diagonal(0, 1, 2).log().sum(1) -
                                0.5 * static_cast<double>(r_) * std::log(2 * std::numbers::pi) -
                                0.5 * (linear * m.means).sum(1);
    return at::cat({square, linear, constant.unsqueeze(1)}, 1).t().contiguous();
  }

  // What sum_n gamma_nk monomials(z_n) says: n_k, means and covariances about them.
  struct Moments {
    at::Tensor count, mean, covariance;  // (K), (K, r), (K, r, r)
  };
  Moments moments(const at::Tensor& sums) const {
    const int64_t pairs = i_.size(0);
    const at::Tensor count = sums[pairs + r_];
    const at::Tensor per_image = (sums / count.clamp_min(1e-12)).t();  // of a component that holds nothing: zeros
    const at::Tensor mean = per_image.slice(1, pairs, pairs + r_);
    at::Tensor second = at::zeros({sums.size(1), r_ * r_}, sums.options());
    second.index_copy_(1, i_ * r_ + j_, per_image.slice(1, 0, pairs));
    second.index_copy_(1, j_ * r_ + i_, per_image.slice(1, 0, pairs));
    return {count, mean.contiguous(), second.view({-1, r_, r_}) - mean.unsqueeze(2) * mean.unsqueeze(1)};
  }

  int64_t size() const { return i_.size(0) + r_ + 1; }

 private:
  int64_t r_;
  at::Tensor i_, j_;
};

// The likeliest covariance that is nowhere below diag(floor), of data with covariance `s`: in coordinates in which the
// floor is the identity, the eigenvalues below 1 become 1. Returns its Cholesky factor, by way of a QR decomposition,
// which rounding cannot stop: S = B B^T and B^T = Q R give S = R^T R. (K, r, r)
at::Tensor factor_above(const at::Tensor& s, const at::Tensor& floor) {
  const at::Tensor unit = floor.sqrt();
  const auto [values, vectors] = at::linalg_eigh(s / (unit.unsqueeze(1) * unit.unsqueeze(0)));
  const at::Tensor b = unit.unsqueeze(1) * vectors * values.clamp_min(1).sqrt().unsqueeze(1);
  const at::Tensor r = std::get<1>(at::linalg_qr(b.transpose(1, 2)));
  const at::Tensor sign =
      at::where(r.diagonal(0, 1, 2) < 0, at::full({1}, -1.0, r.options()), at::full({1}, 1.0, r.options()));
  return (r * sign.unsqueeze(2)).transpose(1, 2).contiguous();
}

// sum_n gamma_nk monomials(full_n) where gamma are the responsibilities of the mixture `m` for z, and the mean of
// log p(z).
struct Expectation {
  at::Tensor sums;  // (monomials, K)
  double log_likelihood = 0;
};

Expectation expect(const Mixture& m, const at::Tensor& z, const at::Tensor& full) {
  const Monomials seen(z.size(1)), summed(full.size(1));
  const at::Tensor theta = seen.log_terms(m);
  Expectation e{at::zeros({summed.size(), m.components()}, z.options())};
  for (int64_t first = 0; first < z.size(0); first += block) {
    const int64_t last = std::min(first + block, z.size(0));
    const at::Tensor monomials = seen.of(z.slice(0, first, last));
    const at::Tensor terms = at::matmul(monomials, theta);
    const at::Tensor log_p = at::logsumexp(terms, at::IntArrayRef{1}, true);
    e.log_likelihood += log_p.sum().item<double>();
    const at::Tensor gamma = (terms - log_p).exp_();
    e.sums += at::matmul((full.is_same(z) ? monomials : summed.of(full.slice(0, first, last))).t(), gamma);
  }
  e.log_likelihood /= static_cast<double>(z.size(0));
  return e;
}

Mixture maximise(const Monomials::Moments& moments, const at::Tensor& floor) {
  return {moments.count / moments.count.sum(), moments.mean, factor_above(moments.covariance, floor)};
}

// The first means are images; each covariance is a quarter of the whole one.
Mixture beginning(const at::Tensor& z, const MixtureOptions& options, const at::Tensor& floor) {
  const int64_t k = options.components, r = z.size(1);
  const at::Tensor centred = z - z.mean(at::IntArrayRef{0});
  const at::Tensor whole = at::matmul(centred.t(), centred) / static_cast<double>(z.size(0));
  const at::Tensor rows = at::tensor(at::ArrayRef<int64_t>(options.first_means), at::TensorOptions(at::kLong));
  return {at::full({k}, 1.0 / static_cast<double>(k), z.options()), z.index_select(0, rows),
          factor_above(0.25 * whole.unsqueeze(0), floor).expand({k, r, r}).contiguous()};
}

// Without the component that holds the fewest images, where these are fewer than two a dimension.
bool empty_smallest(Mixture& m, const at::Tensor& count) {
  const int64_t k = count.argmin().item<int64_t>(), r = m.dimensions();
  if (m.components() == 1 || count[k].item<double>() >= 2 * static_cast<double>(r)) return false;
  const auto without = [&](const at::Tensor& t) { return at::cat({t.slice(0, 0, k), t.slice(0, k + 1)}); };
  const at::Tensor weights = without(m.weights);
  m = {weights / weights.sum(), without(m.means), without(m.factors)};
  return true;
}

// All dimensions, from responsibilities that the leading ones gave.
Mixture widened(const Mixture& m, const at::Tensor& leading, const at::Tensor& z, const at::Tensor& floor) {
  Monomials::Moments moments = Monomials(z.size(1)).moments(expect(m, leading, z).sums);
  const double r = static_cast<double>(z.size(1));
  const at::Tensor n_k = moments.count.view({-1, 1, 1});
  const at::Tensor pooled = (n_k * moments.covariance).sum(at::IntArrayRef{0}, true) / n_k.sum();
  moments.covariance = (n_k * moments.covariance + r * pooled) / (n_k + r);
  return maximise(moments, floor);
}

}  // namespace

at::Tensor Mixture::log_density(const at::Tensor& z) const {
  const OneThread one_thread;
  const Monomials monomials(dimensions());
  const at::Tensor theta = monomials.log_terms(*this);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < z.size(0); first += block) {
    const at::Tensor rows = z.slice(0, first, std::min(first + block, z.size(0)));
    parts.push_back(at::logsumexp(at::matmul(monomials.of(rows), theta), at::IntArrayRef{1}));
  }
  return at::cat(parts);
}

MixtureFit fit_mixture(const at::Tensor& z, const MixtureOptions& options) {
  const OneThread one_thread;
  const int64_t r = z.size(1);
  const at::Tensor floor = at::tensor(at::ArrayRef<double>(options.floor), z.options());
  const at::Tensor seen = r > options.leading ? z.slice(1, 0, options.leading).contiguous() : z;
  const at::Tensor seen_floor = floor.slice(0, 0, seen.size(1));
  const Monomials monomials(seen.size(1));
  MixtureFit fit{beginning(seen, options, seen_floor), {}};
  bool emptied = false;
  for (int64_t i = 0; i < options.iterations; ++i) {
    if (options.cancel && options.cancel->load()) throw Cancelled();
    const Expectation e = expect(fit.mixture, seen, seen);
    const bool settled =
        !emptied && !fit.log_likelihood.empty() && e.log_likelihood - fit.log_likelihood.back() < options.least_gain;
    fit.log_likelihood.push_back(e.log_likelihood);
    if (settled) break;
    const Monomials::Moments moments = monomials.moments(e.sums);
    fit.mixture = maximise(moments, seen_floor);
    emptied = empty_smallest(fit.mixture, moments.count);
    fit.emptied += emptied;
  }
  if (r > options.leading) fit.mixture = widened(fit.mixture, seen, z, floor);
  return fit;
}

}  // namespace sdpipe
