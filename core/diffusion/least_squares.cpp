#include "core/diffusion/least_squares.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace sdpipe {

LinearMap product(LinearMap outer, LinearMap inner) {
  return {[=](const at::Tensor& x) { return outer.apply(inner.apply(x)); },
          [=](const at::Tensor& x) { return inner.adjoint(outer.adjoint(x)); }};
}

at::Tensor dot_of_samples(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).flatten(1).sum(at::IntArrayRef{1}, /*keepdim=*/false, at::kDouble).view({-1, 1, 1, 1});
}

at::Tensor ratio_or_zero(const at::Tensor& over, const at::Tensor& under) {
  return at::where(under > 0, over / under, at::zeros_like(under));
}

at::Tensor least_squares(const LinearMap& a, const Penalty& penalty, const at::Tensor& r,
                         const ConjugateLimits& limits) {
  const bool with_c = penalty.corrupted > 0;
  at::Tensor d = at::zeros_like(r), misfit = r.clone(), c_d = at::zeros_like(r), c_p = c_d;
  at::Tensor s = a.adjoint(r);  // minus half the gradient
  if (penalty.towards.defined()) s = s + penalty.towards;
  at::Tensor p = s;
  at::Tensor gamma = dot_of_samples(s, s);
  const at::Tensor solved = gamma * (limits.tolerance * limits.tolerance);
  for (int64_t i = 0; i < limits.iterations; ++i) {
    const at::Tensor open = gamma > solved;
    if (!open.any().item<bool>()) break;
    const at::Tensor a_p = a.apply(p);
    at::Tensor curvature = dot_of_samples(a_p, a_p) + dot_of_samples(p, p) * penalty.identity;
    if (with_c) {
      c_p = penalty.c.apply(p);
      curvature = curvature + dot_of_samples(c_p, c_p) * penalty.corrupted;
    }
    const at::Tensor alpha = (ratio_or_zero(gamma, curvature) * open).to(r.scalar_type());
    d.add_(alpha * p);
    misfit.sub_(alpha * a_p);
    s = a.adjoint(misfit) - d * penalty.identity;
    if (with_c) {
      c_d = c_d + alpha * c_p;
      s.sub_(penalty.c.adjoint(c_d), penalty.corrupted);
    }
    if (penalty.towards.defined()) s.add_(penalty.towards);
    const at::Tensor next = dot_of_samples(s, s);
    // Of a sample that is solved nothing moves any more, and its p must not grow while others go on.
    p = s + (ratio_or_zero(next, gamma) * open).to(r.scalar_type()) * p;
    gamma = next;
  }
  return d;
}

}  // namespace sdpipe
