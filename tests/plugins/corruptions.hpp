// For the tests of corruptions: one sample at one level and key, and operators that read a picture.
#pragma once

#include <ATen/ops/ones.h>

#include "core/base/log.hpp"
#include "core/base/random.hpp"
#include "tests/data/files.hpp"
#include "tests/diffusion/setup.hpp"

namespace sdpipe::testing {

inline Points point(double level, uint64_t key = 0) {
  Points at = points({level});
  at.key = {key};
  return at;
}

// The diagonal of a mask.
inline std::vector<double> diagonal(const Corruption& c, double level, uint64_t key, const SampleShape& shape) {
  return numbers(c.apply(point(level, key), at::ones({1, shape[0], shape[1], shape[2]}, at::kDouble)));
}

// The uniform numbers that an operator gets for `key`.
inline std::vector<double> uniform_of(uint64_t key, size_t n) {
  Stream stream;
  stream.purpose = Purpose::corruption;
  stream.seed = key;
  std::vector<double> u(n);
  fill_uniform<double>(stream, u);
  return u;
}

// The operator `type` with `picture` as its image, through a pipeline file.
inline std::shared_ptr<const Corruption> with_picture(const std::string& type, const ByteImage& picture,
                                                      const SampleShape& shape) {
  set_log_level(LogLevel::warning);  // "mask" tells of a picture of another size
  const TemporaryFolder folder;
  write_picture(folder.path() / "picture.png", picture);
  Text text;
  text.corruption =
      fmt::format("[corruption]\ntype = \"{}\"\nimage = {}\n", type, in_quotes(folder.path() / "picture.png"));
  Pipeline pipeline = parse(text.whole());
  load_image_parameters(pipeline);
  return make_corruption(pipeline, shape);
}

template <class F>
std::string message_of(F action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

inline void check_close(const at::Tensor& y, const std::vector<double>& expected, double bound = 1e-14) {
  const std::vector<double> found = numbers(y);
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    INFO(i);
    CHECK(found[i] == Approx(expected[i]).margin(bound).epsilon(0));
  }
}

}  // namespace sdpipe::testing
