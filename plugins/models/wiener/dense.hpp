// The denoiser for any C and covariance S of small samples,
//   x0_hat = mu + S C^T M^-1 (x - C mu),  M = C S C^T + sigma^2 I,
// with C built column by column from unit impulses.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "plugins/dct/product.hpp"
#include "plugins/models/exact.hpp"

namespace sdpipe::wiener {

// Row-major square matrix whose rows have the length `ld` that Product wants.
struct Square {
  explicit Square(int64_t size) : n(size), ld(padded<double>(size)), values(static_cast<size_t>(n * ld)) {}
  double* operator[](int64_t row) { return &values[static_cast<size_t>(row * ld)]; }
  const double* operator[](int64_t row) const { return &values[static_cast<size_t>(row * ld)]; }
  int64_t n, ld;
  std::vector<double> values;
};

inline Square operator*(const Square& a, const Square& b) {
  Square c(a.n);
  multiply<double>({a.n, a.n, a.n, a[0], a.ld, b[0], b.ld, c[0], c.ld});
  return c;
}
inline Square transpose(const Square& a) {
  Square t(a.n);
  for (int64_t i = 0; i < a.n; ++i) {
    for (int64_t j = 0; j < a.n; ++j) t[j][i] = a[i][j];
  }
  return t;
}
inline std::vector<double> operator*(const Square& a, const std::vector<double>& x) {
  std::vector<double> y(x.size());
  for (int64_t i = 0; i < a.n; ++i) {
    for (int64_t j = 0; j < a.n; ++j) y[static_cast<size_t>(i)] += a[i][j] * x[static_cast<size_t>(j)];
  }
  return y;
}

// M = L L^T for a positive semidefinite M. A direction without variance (a masked pixel without noise) has a zero
// pivot; solve() leaves it at 0, which solves every system that has a solution.
class Cholesky {
 public:
  explicit Cholesky(Square m) : l_(std::move(m)) {
    double largest = 0;
    for (int64_t i = 0; i < l_.n; ++i) largest = std::max(largest, l_[i][i]);
    for (int64_t i = 0; i < l_.n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double rest = l_[i][j];
        for (int64_t k = 0; k < j; ++k) rest -= l_[i][k] * l_[j][k];
        if (j < i)
          l_[i][j] = l_[j][j] > 0 ? rest / l_[j][j] : 0;
        else
          l_[i][i] = rest > 1e-14 * largest ? std::sqrt(rest) : 0;
      }
    }
  }
  std::vector<double> solve(std::vector<double> b) const {
    const auto entry = [&](int64_t i) -> double& { return b[static_cast<size_t>(i)]; };
    for (int64_t i = 0; i < l_.n; ++i) {
      for (int64_t k = 0; k < i; ++k) entry(i) -= l_[i][k] * entry(k);
      entry(i) = l_[i][i] > 0 ? entry(i) / l_[i][i] : 0;
    }
    for (int64_t i = l_.n; i-- > 0;) {
      entry(i) = l_[i][i] > 0 ? entry(i) / l_[i][i] : 0;
      for (int64_t k = 0; k < i; ++k) entry(k) -= l_[i][k] * entry(i);
    }
    return b;
  }

 private:
  Square l_;
};

inline Square square(const std::vector<double>& values, int64_t n) {
  Square s(n);
  for (int64_t i = 0; i < n; ++i) std::copy_n(&values[static_cast<size_t>(i * n)], n, s[i]);
  return s;
}

// Reads C^T off the corruption: row j is the answer to a unit impulse at element j.
class CorruptionReader {
 public:
  CorruptionReader(const sdp::Call& call, const sdp_tensor* x) : call_(call), n_(sdp::Batch<const char>(x).stride()) {
    sdp::Shape shape(x->shape, x->shape + x->ndim);
    shape[0] = n_;
    impulses_ = call.scratch(shape, x);
    answers_ = call.scratch(shape, x);
    std::vector<double> identity(static_cast<size_t>(n_ * n_));
    for (int64_t j = 0; j < n_; ++j) identity[static_cast<size_t>(j * (n_ + 1))] = 1;
    write(identity, *impulses_);
  }
  Square transposed(const sdp::Point& at, int64_t b) const {
    const sdp::OwnedPoint point = repeat(at, b, n_);
    call_.corrupt(point.view(), impulses_, answers_);
    return square(read(*answers_), n_);
  }

 private:
  const sdp::Call& call_;
  int64_t n_;
  sdp_tensor *impulses_, *answers_;
};

// One operator: everything but sigma.
class Dense {
 public:
  Dense(std::vector<double> mean, const std::vector<double>& covariance, const Square& c_t)
      : mean_(std::move(mean)),
        c_mean_(transpose(c_t) * mean_),
        s_c_t_(square(covariance, c_t.n) * c_t),
        m_(transpose(c_t) * s_c_t_) {}

  Cholesky factor(double sigma) const {
    Square m = m_;
    for (int64_t i = 0; i < m.n; ++i) m[i][i] += sigma * sigma;
    return Cholesky(std::move(m));
  }
  // x0_hat - x
  std::vector<double> residual(const Cholesky& m, const std::vector<double>& x) const {
    std::vector<double> r = x;
    for (size_t i = 0; i < r.size(); ++i) r[i] -= c_mean_[i];
    r = s_c_t_ * m.solve(std::move(r));
    for (size_t i = 0; i < r.size(); ++i) r[i] += mean_[i] - x[i];
    return r;
  }
  std::vector<double> residual_vjp(const Cholesky& m, const std::vector<double>& gy) const {
    std::vector<double> g = m.solve(transpose(s_c_t_) * gy);
    for (size_t i = 0; i < g.size(); ++i) g[i] -= gy[i];
    return g;
  }

 private:
  std::vector<double> mean_, c_mean_;
  Square s_c_t_, m_;
};

}  // namespace sdpipe::wiener
