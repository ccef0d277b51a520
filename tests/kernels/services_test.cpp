// host->lincomb, host->random and host->stream.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "core/host/arithmetic.hpp"
#include "tests/kernels/devices.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

struct Draw {
  int64_t rows, length;
  bool keyed = false;
};

uint64_t name(int64_t row) { return 0x100000001 * static_cast<uint64_t>(row) + 0xABCDEF; }  // beyond 32 bits

// What a draw's rows are drawn from.
struct Rows {
  explicit Rows(const Draw& draw) {
    for (int64_t b = 0; b < draw.rows; ++b) names.push_back(name(b));
    scope.seed = 0x123456789ABCDEF0;
    scope.purpose = Purpose::sampler;
    scope.step = 77;
    (draw.keyed ? scope.key : scope.sample) = names;
  }
  std::vector<uint64_t> names;
  RandomScope scope;
};

at::Tensor drawn(int32_t distribution, const Draw& draw, const at::TensorOptions& options) {
  at::Tensor out = at::full({draw.rows, draw.length}, std::numeric_limits<double>::quiet_NaN(), options);
  Rows(draw).scope.fill(distribution, 0xABC, out);
  return out.cpu();
}

// The same row by row, by the functions that tests/base/random_test.cpp holds to the cipher.
template <class T>
at::Tensor expected(int32_t distribution, const Draw& draw, at::ScalarType dtype) {
  at::Tensor out = at::empty({draw.rows, draw.length}, dtype);
  for (int64_t b = 0; b < draw.rows; ++b) {
    const Stream stream = draw.keyed ? Stream{name(b), Purpose::corruption, 0, 0, 0xABC}
                                     : Stream{0x123456789ABCDEF0, Purpose::sampler, name(b), 77, 0xABC};
    const std::span<T> row(out.data_ptr<T>() + b * draw.length, static_cast<size_t>(draw.length));
    distribution == SDP_NORMAL ? fill_normal(stream, row) : fill_uniform(stream, row);
  }
  return out;
}

at::Tensor expected(int32_t distribution, const Draw& draw, at::ScalarType dtype) {
  return dtype == at::kDouble ? expected<double>(distribution, draw, dtype)
                              : expected<float>(distribution, draw, dtype);
}

// Rows and lengths around the sizes of a block of four, of a thread block and of one launch.
const std::vector<Draw> draws = {{1, 1},  {2, 3},      {3, 4},       {5, 5},           {63, 7},   {64, 8},
                                 {65, 9}, {0, 10},     {4, 1023},    {2, 1024},        {2, 1025}, {129, 1021},
                                 {1, 0},  {3, 100003}, {1, 6, true}, {130, 1030, true}};

// coef[k] x[k] with numbers so small and round that every order of summation gives the same bits.
struct Sum {
  std::vector<double> coef;
  std::vector<at::Tensor> x;
};

Sum round_sum(size_t n, int64_t size, const at::TensorOptions& options) {
  Sum sum;
  for (size_t k = 0; k < n; ++k) {
    sum.coef.push_back(0.5 * static_cast<double>(k % 7) - 1);
    sum.x.push_back(at::randint(-50, 50, {size}, at::kDouble).to(options));
  }
  return sum;
}

at::Tensor by_operators(const Sum& sum, int64_t size) {
  at::Tensor total = at::zeros({size}, at::kDouble);
  for (size_t k = 0; k < sum.x.size(); ++k) total += sum.x[k].to(on(at::kCPU, at::kDouble)) * sum.coef[k];
  return total;
}

}  // namespace

TEST_CASE("the numbers of the zero stream are the published words of the cipher on every device") {
  const std::vector<uint64_t> key = {0};
  for (const at::Device device : devices()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      RandomScope scope;
      scope.key = key;
      at::Tensor out = at::empty({1, 4}, on(device, dtype));
      scope.fill(SDP_UNIFORM, 0, out);
      const at::Tensor words = (out.to(on(at::kCPU, at::kDouble)) * 0x1p24).view({4});
      const std::vector<double> top_24_bits = {0x6627e8, 0xe169c5, 0xbc57ac, 0x9b00db};
      for (int64_t i = 0; i < 4; ++i) CHECK(words[i].item<double>() == top_24_bits[static_cast<size_t>(i)]);
    }
  }
}

TEST_CASE("uniform numbers are equal bit for bit on every device") {
  for (const at::Device device : devices()) {
    for (const Draw& draw : draws) {
      for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
        CAPTURE(device.str(), draw.rows, draw.length, dtype);
        CHECK(drawn(SDP_UNIFORM, draw, on(device, dtype)).equal(expected(SDP_UNIFORM, draw, dtype)));
      }
    }
  }
}

TEST_CASE("normal numbers are equal on the CPU, and equal to rounding on every device") {
  for (const at::Device device : devices()) {
    for (const Draw& draw : draws) {
      for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
        CAPTURE(device.str(), draw.rows, draw.length, dtype);
        const at::Tensor z = drawn(SDP_NORMAL, draw, on(device, dtype)), reference = expected(SDP_NORMAL, draw, dtype);
        // The logarithm, sine and cosine of CUDA are right to 2 units in the last place.
        const double epsilon = dtype == at::kDouble ? 0x1p-52 : 0x1p-23;
        const at::Tensor within = (z - reference).abs() <= reference.abs() * (device.is_cpu() ? 0 : 8 * epsilon);
        CHECK(within.all().item<bool>());
      }
    }
  }
}

TEST_CASE("lincomb is the weighted sum on every device, for few and many terms, whatever out held") {
  for (const at::Device device : devices()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (const size_t n : {0u, 1u, 2u, 7u, 8u, 9u, 14u, 15u, 16u, 17u, 30u}) {
        for (const int64_t size : {0, 1, 255, 256, 257, 70001}) {
          CAPTURE(device.str(), dtype, n, size);
          const Sum sum = round_sum(n, size, on(device, dtype));
          at::Tensor out = at::full({size}, std::numeric_limits<double>::quiet_NaN(), on(device, dtype));
          lincomb(out, sum.coef, sum.x);
          CHECK(out.to(on(at::kCPU, at::kDouble)).equal(by_operators(sum, size)));
        }
      }
    }
  }
}

TEST_CASE("lincomb may write into its inputs on every device, also into one that comes late or twice") {
  const std::vector<std::vector<size_t>> places = {{0}, {4}, {0, 4}, {8}, {9, 19}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};
  for (const at::Device device : devices()) {
    for (const std::vector<size_t>& place : places) {
      for (const size_t n : {5u, 8u, 9u, 20u}) {
        if (place.back() >= n) continue;
        CAPTURE(device.str(), place, n);
        Sum sum = round_sum(n, 1000, on(device, at::kFloat));
        at::Tensor out = sum.x[place.front()];
        for (const size_t k : place) sum.x[k] = out;
        const at::Tensor right = by_operators(sum, 1000);
        lincomb(out, sum.coef, sum.x);
        CHECK(out.to(on(at::kCPU, at::kDouble)).equal(right));
      }
    }
  }
}

TEST_CASE("lincomb of any numbers agrees with the tensor operators to rounding on every device") {
  for (const at::Device device : devices()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      CAPTURE(device.str(), dtype);
      Sum sum;
      at::Tensor size_of_terms = at::zeros({5000}, at::kDouble);
      for (size_t k = 0; k < 20; ++k) {
        sum.coef.push_back(std::sin(static_cast<double>(k) + 1));
        sum.x.push_back(at::randn({5000}, at::kDouble).to(on(device, dtype)));
        size_of_terms += (sum.x[k].to(on(at::kCPU, at::kDouble)) * sum.coef[k]).abs();
      }
      at::Tensor out = at::empty({5000}, on(device, dtype));
      lincomb(out, sum.coef, sum.x);
      const at::Tensor error = (out.to(on(at::kCPU, at::kDouble)) - by_operators(sum, 5000)).abs();
      // Each of 20 terms is rounded up to three times: coefficient, product and sum.
      CHECK((error <= size_of_terms * (22 * (dtype == at::kDouble ? 0x1p-52 : 0x1p-23))).all().item<bool>());
    }
  }
}

TEST_CASE("lincomb with noise adds the numbers that random gives, on every device, whatever out held") {
  for (const at::Device device : devices()) {
    for (const Draw& draw : draws) {
      for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
        for (const size_t n : {0u, 1u, 8u, 9u}) {
          CAPTURE(device.str(), draw.rows, draw.length, dtype, n);
          Sum sum = round_sum(n, draw.rows * draw.length, on(device, dtype));
          for (at::Tensor& x : sum.x) x = x.view({draw.rows, draw.length});
          // Into one of the terms, where there is one.
          at::Tensor out = n > 0 ? sum.x.back().clone() : at::full({draw.rows, draw.length}, 1e9, on(device, dtype));
          std::vector<at::Tensor> x = sum.x;
          if (n > 0) x.back() = out;
          lincomb_with_noise(out, sum.coef, x, 0.75, Rows(draw).scope, 0xABC);
          at::Tensor right = at::empty(out.sizes(), dtype);
          std::vector<at::Tensor> there;
          for (const at::Tensor& term : sum.x) there.push_back(term.cpu());
          there.push_back(expected(SDP_NORMAL, draw, dtype));
          sum.coef.push_back(0.75);
          lincomb(right, sum.coef, there);
          const double epsilon = dtype == at::kDouble ? 0x1p-52 : 0x1p-23;
          const double bound = device.is_cpu() ? 0 : 1000 * epsilon;  // the terms add up to less than 500
          CHECK(((out.cpu() - right).abs() <= bound).all().item<bool>());
        }
      }
    }
  }
}

TEST_CASE("noise that a test replaces reaches lincomb with noise") {
  std::function<bool(uint32_t, uint32_t, at::Tensor&)> threes = [](uint32_t step, uint32_t draw, at::Tensor& out) {
    out.fill_(step == 77 && draw == 5 ? 3 : 0);
    return true;
  };
  for (const at::Device device : devices()) {
    Rows rows({2, 3});
    rows.scope.replacement = &threes;
    at::Tensor out = at::full({2, 3}, 10, on(device, at::kFloat));
    const std::vector<double> coef = {2};
    const std::vector<at::Tensor> x = {out};
    lincomb_with_noise(out, coef, x, 0.5, rows.scope, 5);
    CHECK(out.cpu().equal(at::full({2, 3}, 21.5, at::kFloat)));
  }
}

TEST_CASE("host->stream is null where a call's tensors are on the CPU, and the current stream on a GPU") {
  CallScope scope;
  sdp_ctx on_cpu("probe", scope);
  CHECK(host_services().stream(&on_cpu) == nullptr);
  if (devices().empty() || !devices().back().is_cuda()) return;
  scope.device = gpu;
  sdp_ctx on_gpu("probe", scope);
  const c10::Stream side = c10::impl::VirtualGuardImpl(at::kCUDA).getStreamFromGlobalPool(gpu);
  const c10::StreamGuard guard(side);
  CHECK(host_services().stream(&on_gpu) == side.native_handle());
  CHECK(host_services().stream(&on_cpu) == nullptr);
}
