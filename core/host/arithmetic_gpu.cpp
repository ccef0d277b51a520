#include "core/host/arithmetic_gpu.hpp"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <vector>

#include "core/abi/plugin.h"
#include "core/host/arithmetic_cuda.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {
namespace {

template <class T>
struct Sum {
  std::vector<double> coef;
  std::vector<const T*> x;

  void add(double c, const T* input) {
    coef.push_back(c);
    x.push_back(input);
  }
};

// More terms than one launch takes are summed by several, of which all but the first begin with the sum so far. As
// the first overwrites `out`, every term that reads `out` is gathered in it.
template <class T>
Sum<T> arranged(const T* out, std::span<const double> coef, std::span<const at::Tensor> x) {
  Sum<T> gathered, rest;
  for (size_t k = 0; k < x.size(); ++k) {
    const T* input = x[k].const_data_ptr<T>();
    if (x.size() <= max_terms || input != out) {
      rest.add(coef[k], input);
    } else if (gathered.x.empty()) {
      gathered.add(coef[k], input);
    } else {
      gathered.coef[0] += coef[k];
    }
  }
  for (size_t k = 0; k < rest.x.size(); ++k) gathered.add(rest.coef[k], rest.x[k]);
  return gathered;
}

}  // namespace

template <class T>
void lincomb_on_gpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
  const c10::DeviceGuard on_its_device(out.device());
  void* stream = current_stream(out.device());
  T* result = out.data_ptr<T>();
  const size_t size = static_cast<size_t>(out.numel());
  Sum<T> sum = arranged<T>(result, coef, x);
  for (size_t first = 0;;) {
    const size_t n = std::min(max_terms, sum.x.size() - first);
    require_started(launch_lincomb(result, size, n, sum.coef.data() + first, sum.x.data() + first, stream),
                    "host->lincomb");
    if (first + n == sum.x.size()) return;
    first += n - 1;
    sum.coef[first] = 1;
    sum.x[first] = result;
  }
}

template <class T>
void lincomb_with_noise_on_gpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x, double std,
                               std::span<const Stream> rows) {
  if (x.size() > max_terms) {
    lincomb_on_gpu<T>(out, coef, x);
    const double one = 1;
    return lincomb_with_noise_on_gpu<T>(out, {&one, 1}, {&out, 1}, std, rows);
  }
  const c10::DeviceGuard on_its_device(out.device());
  std::vector<const T*> inputs;
  for (const at::Tensor& input : x) inputs.push_back(input.const_data_ptr<T>());
  const size_t length = static_cast<size_t>(out.numel()) / std::max<size_t>(rows.size(), 1);
  require_started(launch_lincomb_with_noise(out.data_ptr<T>(), length, rows.size(), inputs.size(), coef.data(),
                                            inputs.data(), std, rows.data(), current_stream(out.device())),
                  "host->lincomb with noise");
}

template <class T>
void fill_on_gpu(int32_t distribution, std::span<const Stream> rows, at::Tensor& out) {
  const c10::DeviceGuard on_its_device(out.device());
  const size_t length = static_cast<size_t>(out.numel()) / std::max<size_t>(rows.size(), 1);
  const auto launch = distribution == SDP_NORMAL ? launch_fill<NormalNumbers, T> : launch_fill<UniformNumbers, T>;
  require_started(launch(out.data_ptr<T>(), length, rows.size(), rows.data(), current_stream(out.device())),
                  "host->random");
}

template void lincomb_on_gpu<float>(at::Tensor&, std::span<const double>, std::span<const at::Tensor>);
template void lincomb_on_gpu<double>(at::Tensor&, std::span<const double>, std::span<const at::Tensor>);
template void lincomb_with_noise_on_gpu<float>(at::Tensor&, std::span<const double>, std::span<const at::Tensor>,
                                               double, std::span<const Stream>);
template void lincomb_with_noise_on_gpu<double>(at::Tensor&, std::span<const double>, std::span<const at::Tensor>,
                                                double, std::span<const Stream>);
template void fill_on_gpu<float>(int32_t, std::span<const Stream>, at::Tensor&);
template void fill_on_gpu<double>(int32_t, std::span<const Stream>, at::Tensor&);

}  // namespace sdpipe
