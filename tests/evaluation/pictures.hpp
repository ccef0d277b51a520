// Pictures that a test makes up.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/base/hash.hpp"
#include "core/base/random.hpp"
#include "core/data/source.hpp"
#include "tests/message_of.hpp"

namespace sdpipe::testing {

class Pictures : public Source {
 public:
  explicit Pictures(std::vector<ByteImage> images, std::vector<uint8_t> labels = {})
      : images_(std::move(images)), labels_(std::move(labels)) {}

  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  ImageShape shape() const override { return images_[0].shape; }
  ByteImage read(int64_t index) const override { return images_.at(static_cast<size_t>(index)); }
  std::string name_of(int64_t index) const override { return fmt::format("picture {}", index); }
  std::string describe() const override { return "made up"; }
  std::string content_hash() const override {
    std::string text;
    for (const ByteImage& image : images_) text += sha256(std::as_bytes(std::span(image.pixels)));
    return sha256(std::as_bytes(std::span(text)));
  }
  std::span<const uint8_t> labels() const override { return labels_; }
  const std::vector<ByteImage>& images() const { return images_; }

 private:
  std::vector<ByteImage> images_;
  std::vector<uint8_t> labels_;
};

// Every byte drawn from 0 ... `values` - 1.
inline std::vector<ByteImage> random_images(int64_t count, const ImageShape& shape, uint64_t seed, int values = 256) {
  std::vector<ByteImage> images;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<double> u(static_cast<size_t>(shape.elements()));
    fill_uniform({.seed = seed, .sample = static_cast<uint64_t>(i)}, std::span(u));
    ByteImage& image = images.emplace_back(ByteImage{shape, {}});
    for (const double v : u) image.pixels.push_back(static_cast<uint8_t>(v * values));
  }
  return images;
}

inline int byte(double v) { return static_cast<int>(std::clamp(v, 0.0, 255.0)); }

// Adds normal noise of standard deviation `std` (in 255ths) to each byte.
inline std::vector<ByteImage> with_noise(std::vector<ByteImage> images, double std, uint64_t seed) {
  for (size_t i = 0; i < images.size(); ++i) {
    std::vector<double> z(images[i].pixels.size());
    fill_normal({.seed = seed, .sample = i}, std::span(z));
    for (size_t j = 0; j < z.size(); ++j)
      images[i].pixels[j] = static_cast<uint8_t>(byte(images[i].pixels[j] + std * z[j]));
  }
  return images;
}

// A bar of one of four kinds, which is its label: lying or standing, broad or narrow, somewhere, with a little noise.
inline Pictures bars(int64_t count, uint64_t seed, int64_t side = 8) {
  std::vector<ByteImage> images;
  std::vector<uint8_t> labels;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = random_bits({.seed = seed, .sample = static_cast<uint64_t>(i), .draw = 1});
    const int64_t kind = static_cast<int64_t>(bits & 3), width = kind & 2 ? 3 : 1;
    const int64_t from = static_cast<int64_t>((bits >> 8) % static_cast<uint64_t>(side - width + 1));
    ByteImage image{{1, side, side}, std::vector<uint8_t>(static_cast<size_t>(side * side), 40)};
    for (int64_t y = 0; y < side; ++y)
      for (int64_t x = 0; x < side; ++x) {
        const int64_t across = kind & 1 ? x : y;
        if (across >= from && across < from + width) image.pixels[static_cast<size_t>(y * side + x)] = 210;
      }
    images.push_back(image);
    labels.push_back(static_cast<uint8_t>(kind));
  }
  return Pictures(with_noise(images, 8, seed + 1), labels);
}

// (rows, columns), float64, standard normal.
inline at::Tensor normal(int64_t rows, int64_t columns, uint64_t seed) {
  at::Tensor x = at::empty({rows, columns}, at::TensorOptions(at::kDouble));
  fill_normal({.seed = seed}, std::span(x.data_ptr<double>(), static_cast<size_t>(x.numel())));
  return x;
}

}  // namespace sdpipe::testing
