#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <limits>
#include <span>

#include "core/base/random.hpp"
#include "core/host/conformance/measure.hpp"
#include "tests/host/probes.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const conformance::NoiseCalibration data({1, 2, 2}, at::kFloat);
using Values = std::vector<double>;

struct Chosen {
  Values level, sigma;
};

// What the face makes of a plugin that writes these values.
Chosen choose(const Values& level, const Values& sigma) {
  reset_acts();
  acts().select = [&](sdp::Call&, const sdp::Calibration&, uint32_t n, double* l, double* s) {
    CHECK(n == 3);
    std::copy(level.begin(), level.end(), l);
    std::copy(sigma.begin(), sigma.end(), s);
  };
  Chosen chosen;
  Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 3, &chosen.level, &chosen.sigma);
  return chosen;
}

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(),
                 infinite = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("levels and noise are taken as the plugin writes them, wherever the path ends") {
  for (const double last : {1.0, 0.9, 0.25}) {
    const Chosen chosen = choose({0, 0.25, last}, {0.01, 0.01, 0.1});
    CHECK(chosen.level == Values{0, 0.25, last});
    CHECK(chosen.sigma == Values{0.01, 0.01, 0.1});
  }
  CHECK(choose({0, 0, 0}, {0, 0.5, 1}).level == Values{0, 0, 0});  // noise alone
}

TEST_CASE("a level that misses the corruption's largest by rounding is the largest") {
  CHECK(choose({0, 0.25, 1 - 1e-12}, {0, 0, 0}).level == Values{0, 0.25, 1});
  CHECK(choose({0, 1 + 1e-12, 1 + 1e-10}, {0, 0, 0}).level == Values{0, 1, 1});
  CHECK(choose({0, 0.25, 1 - 1e-8}, {0, 0, 0}).level == Values{0, 0.25, 1 - 1e-8});
}

TEST_CASE("levels and noise that fall, are not finite or were not written are refused with the time") {
  CHECK_THROWS_WITH(choose({0, 0.5, 0.4}, {0, 0, 0}),
                    "plugin \"probe\": level must be finite, not negative and never fall, but is 0.4 at t = 1");
  CHECK_THROWS_WITH(choose({0, not_a_number, 1}, {0, 0, 0}),
                    "plugin \"probe\": level must be finite, not negative and never fall, but is nan at t = 0.5");
  CHECK_THROWS_WITH(choose({0, 1}, {0, 0, 0}),
                    "plugin \"probe\": level must be finite, not negative and never fall, but is nan at t = 1");
  CHECK_THROWS_WITH(choose({0, 0.5, 1}, {-0.1, 0, 0}),
                    "plugin \"probe\": sigma must be finite, not negative and never fall, but is -0.1 at t = 0");
  CHECK_THROWS_WITH(choose({0, 0.5, 1}, {0, 0, infinite}),
                    "plugin \"probe\": sigma must be finite, not negative and never fall, but is inf at t = 1");
}

TEST_CASE("levels must begin at 0 and never exceed the corruption's largest") {
  CHECK_THROWS_WITH(choose({0.1, 0.5, 1}, {0, 0, 0}),
                    "plugin \"probe\": level must begin at 0 and end at 1 at most, but goes from 0.1 to 1");
  CHECK_THROWS_WITH(choose({0, 0.5, 1.1}, {0, 0, 0}),
                    "plugin \"probe\": level must begin at 0 and end at 1 at most, but goes from 0 to 1.1");
  CHECK_THROWS_WITH(choose({0, 0.5, 1 + 1e-8}, {0, 0, 0}),
                    "plugin \"probe\": level must begin at 0 and end at 1 at most, but goes from 0 to 1.00000001");
}

TEST_CASE("a schedule sees the clean data and the corruption") {
  reset_acts();
  acts().select = [](sdp::Call& call, const sdp::Calibration& seen, uint32_t, double* level, double* sigma) {
    CHECK(seen.level_max() == 1);
    CHECK(seen.n_batches() == 4);
    const sdp_tensor* x = seen.batch(2);
    CHECK(sdp::as_tensor(x).equal(data.batch(2)));
    sdp_tensor* y = call.scratch(x);
    seen.corrupt(2, 0.5, y);
    CHECK(sdp::as_tensor(y).equal(data.batch(2) * 0.75));
    level[0] = sigma[0] = 0;
    level[1] = sigma[1] = 1;
  };
  Values level, sigma;
  Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 2, &level, &sigma);
}

TEST_CASE("calibration data that is not there, or memory that does not fit, is refused") {
  Values level, sigma;
  const auto select = [&](SelectAct act) {
    reset_acts();
    acts().select = std::move(act);
    Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 2, &level, &sigma);
  };
  CHECK_THROWS_WITH(select([](sdp::Call&, const sdp::Calibration& seen, uint32_t, double*, double*) { seen.batch(4); }),
                    "plugin \"probe\": select failed: it asks for batch 4 of 4 batches of calibration data");
  CHECK_THROWS_WITH(select([](sdp::Call& call, const sdp::Calibration& seen, uint32_t, double*, double*) {
                      seen.corrupt(0, 0.5, call.scratch({64, 1, 2, 3}, seen.batch(0)));
                    }),
                    "plugin \"probe\": select failed: the output has shape [64, 1, 2, 3], expected [64, 1, 2, 2] and "
                    "the dtype of the input");
}

TEST_CASE("a schedule draws one row at a time, from numbers that no image is chosen by, the same in every run") {
  at::Tensor drawn;
  reset_acts();
  acts().select = [&](sdp::Call& call, const sdp::Calibration& seen, uint32_t, double* level, double* sigma) {
    sdp_tensor* row = call.scratch({1, 1, 2, 3}, seen.batch(0));
    call.normal(7, row);
    drawn = sdp::as_tensor(row).clone();
    level[0] = sigma[0] = 0;
    level[1] = sigma[1] = 1;
  };
  Values level, sigma;
  Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 2, &level, &sigma);
  std::vector<float> expected(6);
  fill_normal({0, Purpose::calibration, 0, 1, 7}, std::span(expected));
  CHECK(std::equal(expected.begin(), expected.end(), drawn.const_data_ptr<float>()));

  acts().select = [](sdp::Call& call, const sdp::Calibration& seen, uint32_t, double*, double*) {
    call.normal(0, call.scratch(seen.batch(0)));
  };
  CHECK_THROWS_WITH(Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 2, &level, &sigma),
                    "plugin \"probe\": select failed: host->random: axis 0 of out must be the batch of this call, 1 "
                    "samples, not 64");
}

TEST_CASE("a schedule that is told to stop ends in Cancelled") {
  reset_acts();
  acts().select = [](sdp::Call& call, const sdp::Calibration&, uint32_t, double*, double*) {
    call.stop_if_cancelled();
  };
  const std::atomic<bool> cancel{true};
  Values level, sigma;
  CHECK_THROWS_AS(Schedule(probe(SDP_KIND_SCHEDULE), {}).select(data, 2, &level, &sigma, &cancel), Cancelled);
}
