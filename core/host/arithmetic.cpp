// On the CPU, and which device does it; arithmetic_cuda.cu is its twin.
#include "core/host/arithmetic.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "core/abi/torch_parallel.hpp"
#include "core/host/combination.hpp"
#ifdef SDPIPE_CUDA
#include "core/host/arithmetic_gpu.hpp"
#endif

namespace sdpipe {
namespace {

// float or double: the dtypes of samples.
template <class F>
void by_float_type(const at::Tensor& x, F&& f) {
  if (x.scalar_type() == at::kDouble)
    f(double{});
  else if (x.scalar_type() == at::kFloat)
    f(float{});
  else
    throw std::invalid_argument("host services take float32 and float64 tensors");
}

// What lincomb adds up, in the tensors' type.
template <class T>
struct Terms {
  std::vector<T> coef;
  std::vector<const T*> x;

  Terms(std::span<const double> coefficients, std::span<const at::Tensor> inputs) {
    for (const double c : coefficients) coef.push_back(static_cast<T>(c));
    for (const at::Tensor& input : inputs) x.push_back(input.const_data_ptr<T>());
  }
};

constexpr int64_t elements_per_task = 1 << 15;

template <class T>
void lincomb_on_cpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
  const Terms<T> terms(coef, x);
  T* result = out.data_ptr<T>();
  sdp::parallel_blocks(out.numel(), elements_per_task, [&](int64_t begin, int64_t end) {
    const size_t n = terms.x.size();
    for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
      result[i] = combined(n, terms.coef.data(), terms.x.data(), i);
  });
}

template <class T>
void lincomb_with_noise_on_cpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x, double std,
                               std::span<const Stream> rows) {
  const Terms<T> terms(coef, x);
  const size_t length = static_cast<size_t>(out.numel()) / std::max<size_t>(rows.size(), 1);
  T* result = out.data_ptr<T>();
  sdp::parallel(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    const size_t b = static_cast<size_t>(i);
    const NoisyRow row{rows[b], b * length, length};
    for (uint32_t block = 0; block < (length + 3) / 4; ++block)
      noisy_block(row, block, terms.x.size(), terms.coef.data(), terms.x.data(), static_cast<T>(std), result);
  });
}

void require_alike(const at::Tensor& out, std::span<const at::Tensor> x) {
  for (const at::Tensor& input : x) {
    if (input.sizes() == out.sizes() && input.scalar_type() == out.scalar_type() && input.device() == out.device() &&
        input.is_contiguous())
      continue;
    throw std::invalid_argument("host->lincomb: all tensors must be contiguous, of one shape, dtype and device");
  }
}

template <class T>
void lincomb_on_device(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
#ifdef SDPIPE_CUDA
  lincomb_on_gpu<T>(out, coef, x);
#else
  at::Tensor sum = at::zeros_like(out);
  for (size_t i = 0; i < x.size(); ++i) sum.add_(x[i], coef[i]);
  out.copy_(sum);
#endif
}

std::vector<Stream> row_streams(const RandomScope& scope, uint32_t draw) {
  std::vector<Stream> rows;
  for (const uint64_t key : scope.key) rows.push_back({key, Purpose::corruption, 0, 0, draw});
  if (!rows.empty()) return rows;
  for (const uint64_t sample : scope.sample) rows.push_back({scope.seed, scope.purpose, sample, scope.step, draw});
  return rows;
}

template <class T>
void fill_on_cpu(int32_t distribution, std::span<const Stream> rows, at::Tensor& out) {
  const size_t length = static_cast<size_t>(out.numel()) / std::max<size_t>(rows.size(), 1);
  T* first = out.data_ptr<T>();
  sdp::parallel(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    const size_t b = static_cast<size_t>(i);
    const std::span<T> row(first + b * length, length);
    if (distribution == SDP_NORMAL)
      fill_normal(rows[b], row);
    else
      fill_uniform(rows[b], row);
  });
}

template <class T>
void fill_on_device(int32_t distribution, std::span<const Stream> rows, at::Tensor& out) {
#ifdef SDPIPE_CUDA
  fill_on_gpu<T>(distribution, rows, out);
#else
  at::Tensor drawn = at::empty(out.sizes(), out.options().device(at::kCPU));
  fill_on_cpu<T>(distribution, rows, drawn);
  out.copy_(drawn);
#endif
}

}  // namespace

void lincomb(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
  require_alike(out, x);
  by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    out.is_cpu() ? lincomb_on_cpu<T>(out, coef, x) : lincomb_on_device<T>(out, coef, x);
  });
}

void lincomb_with_noise(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x, double std,
                        const RandomScope& random, uint32_t draw) {
  require_alike(out, x);
#ifdef SDPIPE_CUDA
  const bool in_one_pass = !random.replacement;
#else
  const bool in_one_pass = !random.replacement && out.is_cpu();
#endif
  if (!in_one_pass) {
    at::Tensor eta = at::empty_like(out);
    random.fill(SDP_NORMAL, draw, eta);
    std::vector<double> all_coef(coef.begin(), coef.end());
    std::vector<at::Tensor> all(x.begin(), x.end());
    all_coef.push_back(std);
    all.push_back(eta);
    return lincomb(out, all_coef, all);
  }
  const std::vector<Stream> rows = random.streams(draw, out);
  by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    if (out.is_cpu()) return lincomb_with_noise_on_cpu<T>(out, coef, x, std, rows);
#ifdef SDPIPE_CUDA
    lincomb_with_noise_on_gpu<T>(out, coef, x, std, rows);
#endif
  });
}

std::vector<Stream> RandomScope::streams(uint32_t draw, const at::Tensor& out) const {
  std::vector<Stream> streams = row_streams(*this, draw);
  // init() fills whole parameters: one stream each, not one per row.
  const int64_t rows = parameters.empty() ? out.size(0) : 1;
  if (static_cast<size_t>(rows) != streams.size()) {
    throw std::invalid_argument(fmt::format(
        "host->random: axis 0 of out must be the batch of this call, {} samples, not {}", streams.size(), rows));
  }
  return streams;
}

void RandomScope::fill(int32_t distribution, uint32_t draw, at::Tensor& out) const {
  if (replacement && (*replacement)(step, draw, out)) return;
  const std::vector<Stream> rows = streams(draw, out);
  by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    out.is_cpu() ? fill_on_cpu<T>(distribution, rows, out) : fill_on_device<T>(distribution, rows, out);
  });
}

}  // namespace sdpipe
