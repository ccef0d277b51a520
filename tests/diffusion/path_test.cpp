#include "core/diffusion/process.hpp"

#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include "core/diffusion/dct.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

TEST_CASE("a path is linear between its points and constant outside 0 to 1") {
  const Path path({0, 1, 4}, {0.1, 0.2, 0.5});
  CHECK(path.level(0) == 0);
  CHECK(path.level(0.25) == 0.5);
  CHECK(path.level(0.5) == 1);
  CHECK(path.level(0.75) == 2.5);
  CHECK(path.level(1) == 4);
  CHECK(path.level(-1) == 0);
  CHECK(path.level(2) == 4);
  CHECK(path.sigma(0.75) == Approx(0.35).margin(1e-15));
  CHECK(path.sigma(1) == 0.5);
}

TEST_CASE("a path of one point, or of two lengths, is refused") {
  const std::string expected = "a path needs as many levels as sigmas, two at least";
  CHECK(message_of<RunError>([] { Path({0}, {0}); }) == expected);
  CHECK(message_of<RunError>([] { Path({0, 1, 2}, {0, 1}); }) == expected);
}

TEST_CASE("the time of a sigma is where the path has that sigma") {
  const Path path({0, 1, 2, 3}, {0.01, 0.02, 0.3, 0.5});
  CHECK(path.time_of_sigma(0.01) == 0);
  CHECK(path.time_of_sigma(0.02) == Approx(1.0 / 3).margin(1e-15));
  CHECK(path.time_of_sigma(0.5) == 1);
  for (int i = 0; i <= 50; ++i) {
    const double t = i / 50.0;
    CHECK(path.time_of_sigma(path.sigma(t)) == Approx(t).margin(1e-14));
  }
  CHECK(path.time_of_sigma(0.001) == 0);  // outside: the end
  CHECK(path.time_of_sigma(7) == 1);
}

TEST_CASE("sigma rises strictly unless it stands still anywhere") {
  CHECK(Path({0, 1, 2}, {0, 0.1, 0.2}).sigma_rises_strictly());
  CHECK_FALSE(Path({0, 1, 2}, {0, 0.2, 0.2}).sigma_rises_strictly());
  CHECK_FALSE(Path({0, 1, 2}, {0.1, 0.1, 0.2}).sigma_rises_strictly());
}

TEST_CASE("x_t is C_t x_0 + sigma_t eps, each sample at its own t") {
  const Setup setup{Text{}};
  const at::Tensor x_0 = noise({3, 1, 4, 4}, 1), eps = noise({3, 1, 4, 4}, 2);
  const Points at = setup.process.at({0.0, 0.3, 1.0}, {7, 8, 9});
  const at::Tensor x_t = setup.process.noisy(at, x_0, eps);
  for (int64_t b = 0; b < 3; ++b) {
    const Points one = setup.process.at(at.t[static_cast<size_t>(b)], {at.key[static_cast<size_t>(b)]});
    const at::Tensor expected =
        setup.corruption->apply(one, x_0.slice(0, b, b + 1)) + eps.slice(0, b, b + 1) * one.sigma[0];
    CHECK(largest_difference(x_t.slice(0, b, b + 1), expected) < 1e-15);
  }
  CHECK(largest_difference(x_t[0], x_0[0] + 0.01 * eps[0]) < 1e-15);  // C_0 = I
}

TEST_CASE("the noise of a sample depends on its number, not on its place in the batch") {
  const at::Tensor x = at::ones({4, 1, 2, 3}, at::kFloat);
  const std::vector<uint64_t> all = {5, 6, 7, 8}, some = {7, 5};
  const at::Tensor whole = normal_like(x, 3, Purpose::train_noise, all, 11);
  const at::Tensor part = normal_like(x.slice(0, 0, 2), 3, Purpose::train_noise, some, 11);
  CHECK(bit_equal(part[0], whole[2]));
  CHECK(bit_equal(part[1], whole[0]));
  CHECK_FALSE(bit_equal(whole, normal_like(x, 3, Purpose::train_noise, all, 12)));
  CHECK_FALSE(bit_equal(whole, normal_like(x, 4, Purpose::train_noise, all, 11)));
  CHECK_FALSE(bit_equal(whole, normal_like(x, 3, Purpose::train_noise, all, 11, 1)));
}

TEST_CASE("the DCT is orthonormal, the one that its definition says, and its inverse undoes it") {
  for (const int64_t n : {1, 2, 5, 8, 64}) {
    const at::Tensor d = dct_matrix(n, at::kDouble);
    CHECK(largest_difference(at::matmul(d, d.t()), at::eye(n, at::kDouble)) < 1e-13);
  }
  const at::Tensor x = noise({2, 3, 5, 8}, 4);
  CHECK(largest_difference(dct2(x), dct(x)) < 1e-14);
  CHECK(largest_difference(inverse_dct2(dct2(x)), x) < 1e-14);
  CHECK(largest_difference(dct2(x.to(at::kFloat)), dct(x)) < 1e-6);
}
