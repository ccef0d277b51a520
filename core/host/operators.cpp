#include "core/host/operators.hpp"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

namespace sdpipe {
namespace {

#ifdef NDEBUG
std::atomic<uint32_t> finite_check{64};
#else
std::atomic<uint32_t> finite_check{1};
#endif

}  // namespace

void set_finite_check(uint32_t n) { finite_check = n; }

bool FiniteCheck::is_due() const {
  const uint32_t every = finite_check.load(std::memory_order_relaxed);
  return every != 0 && calls_.load(std::memory_order_relaxed) % every == 0;
}

void FiniteCheck::require(const Plugin& plugin, std::string_view what, const at::Tensor& x, const at::Tensor& y) const {
  const uint32_t every = finite_check.load(std::memory_order_relaxed);
  if (every == 0 || calls_.fetch_add(1, std::memory_order_relaxed) % every != 0) return;
  if (at::isfinite(y).all().item<bool>() || !at::isfinite(x).all().item<bool>()) return;
  throw PluginFailure(fmt::format("plugin \"{}\": {} returned values that are not finite", plugin.id(), what), "");
}

sdp_point Points::view() const {
  return {sizeof(sdp_point), static_cast<uint32_t>(size()), t.data(), level.data(), sigma.data(), key.data()};
}

Points Points::copy_of(const sdp_point& p) {
  const size_t n = p.batch;
  return {{p.t, p.t + n}, {p.level, p.level + n}, {p.sigma, p.sigma + n}, {p.key, p.key + n}};
}

}  // namespace sdpipe
