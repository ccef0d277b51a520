#include "core/evaluation/neighbours.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/base/error.hpp"
#include "core/host/services.hpp"

namespace sdpipe {
namespace {

// Bytes less 128 have products of at most 2^14, so sums of 2^10 of them are integers of at most 2^24: float32 holds
// every one, in whatever order a matrix product adds them up.
constexpr int64_t exact_terms = 1024;
constexpr int64_t training_block = 2048, sample_block = 1024;

void write_centred(const ByteImage& image, float* out) {
  for (const uint8_t v : image.pixels) *out++ = static_cast<float>(v - 128);
}

at::Tensor empty_rows(int64_t rows, const ImageShape& shape) {
  return at::empty({rows, shape.elements()}, at::TensorOptions(at::kFloat));
}

struct Rows {
  at::Tensor values;   // (n, d), bytes less 128
  at::Tensor squares;  // (n), float64: their squared norms
  std::vector<int64_t> index;
};

at::Tensor squared_norms(const at::Tensor& values) { return values.to(at::kDouble).square().sum(at::IntArrayRef{1}); }

Rows rows_of(std::span<const ByteImage> images, const ImageShape& shape) {
  Rows rows{empty_rows(static_cast<int64_t>(images.size()), shape), {}, {}};
  float* to = rows.values.data_ptr<float>();
  for (const ByteImage& image : images) {
    if (image.shape != shape) throw std::invalid_argument("images of another shape than the data set's");
    write_centred(image, to);
    to += shape.elements();
  }
  rows.squares = squared_norms(rows.values);
  return rows;
}

Rows read_rows(const Source& source, int64_t first, int64_t last) {
  Rows rows{empty_rows(last - first, source.shape()), {}, {}};
  for (int64_t i = first; i < last; ++i) {
    const std::optional<ByteImage> image = source.try_read(i);
    if (!image) continue;
    write_centred(*image, rows.values.data_ptr<float>() + std::ssize(rows.index) * source.shape().elements());
    rows.index.push_back(i);
  }
  rows.values = rows.values.slice(0, 0, std::ssize(rows.index));
  rows.squares = squared_norms(rows.values);
  return rows;
}

// (n, m): |a - b|^2 for every pair, exact in float64.
at::Tensor squared_distances(const at::Tensor& a, const at::Tensor& a_squares, const Rows& b) {
  at::Tensor out = a_squares.unsqueeze(1) + b.squares.unsqueeze(0);
  for (int64_t first = 0; first < a.size(1); first += exact_terms) {
    const int64_t last = std::min(first + exact_terms, a.size(1));
    out.sub_(at::matmul(a.slice(1, first, last), b.values.slice(1, first, last).t()), 2);
  }
  return out;
}

// The smallest so far of |a - b|^2, and where.
struct Best {
  std::vector<double> square;
  std::vector<int64_t> index;
};

// Distance and column as one number, so that of equal distances the first column is the smallest; exact below 2^53.
void improve(Best& best, int64_t first, const at::Tensor& squares, const std::vector<int64_t>& columns) {
  const at::Tensor column = at::arange(squares.size(1), squares.options());
  const at::Tensor smallest = (squares * training_block + column).amin(at::IntArrayRef{1}).contiguous();
  for (int64_t i = 0; i < smallest.numel(); ++i) {
    const double key = smallest.const_data_ptr<double>()[i], square = std::floor(key / training_block);
    if (!(square < best.square[first + i])) continue;
    best.square[first + i] = square;
    best.index[first + i] = columns[static_cast<size_t>(key - square * training_block)];
  }
}

void exclude(at::Tensor& squares, std::span<const int64_t> except, const std::vector<int64_t>& columns) {
  for (size_t i = 0; i < except.size(); ++i) {
    const auto at = std::lower_bound(columns.begin(), columns.end(), except[i]);
    if (at != columns.end() && *at == except[i])
      squares[static_cast<int64_t>(i)][at - columns.begin()] = std::numeric_limits<double>::infinity();
  }
}

ByteImage mirrored(ByteImage image) {
  const int64_t width = image.shape.width;
  for (auto row = image.pixels.begin(); row != image.pixels.end(); row += width) std::reverse(row, row + width);
  return image;
}

std::vector<Neighbour> nearest_unmirrored(const Source& source, std::span<const ByteImage> images,
                                          std::span<const int64_t> except, const std::atomic<bool>* cancel) {
  if (!except.empty() && except.size() != images.size()) throw std::invalid_argument("one exception for each image");
  const Rows samples = rows_of(images, source.shape());
  const int64_t n = std::ssize(images);
  Best best{std::vector<double>(images.size(), std::numeric_limits<double>::infinity()),
            std::vector<int64_t>(images.size(), -1)};
  for (int64_t first = 0; first < source.size(); first += training_block) {
    if (cancel && cancel->load()) throw Cancelled();
    const Rows training = read_rows(source, first, std::min(first + training_block, source.size()));
    if (training.index.empty()) continue;
    for (int64_t from = 0; from < n; from += sample_block) {
      const int64_t to = std::min(from + sample_block, n);
      at::Tensor squares =
          squared_distances(samples.values.slice(0, from, to), samples.squares.slice(0, from, to), training);
      if (!except.empty()) exclude(squares, except.subspan(from, to - from), training.index);
      improve(best, from, squares, training.index);
    }
  }
  std::vector<Neighbour> found;
  const double elements = static_cast<double>(source.shape().elements());
  for (size_t i = 0; i < images.size(); ++i) {
    if (best.index[i] < 0) throw DataError("there is no training image to compare a sample with");
    found.push_back({best.index[i], std::sqrt(best.square[i] / elements) / 255});
  }
  return found;
}

}  // namespace

std::vector<Neighbour> nearest_training_images(const Source& source, std::span<const ByteImage> images,
                                               std::span<const int64_t> except, const std::atomic<bool>* cancel,
                                               bool flip) {
  if (!flip) return nearest_unmirrored(source, images, except, cancel);
  // A mirrored sample is as far from an image as the sample is from the mirrored image: one pass over the data.
  std::vector<ByteImage> both(images.begin(), images.end());
  for (const ByteImage& image : images) both.push_back(mirrored(image));
  std::vector<int64_t> except_both(except.begin(), except.end());
  except_both.insert(except_both.end(), except.begin(), except.end());
  std::vector<Neighbour> found = nearest_unmirrored(source, both, except_both, cancel);
  for (size_t i = 0; i < images.size(); ++i) {
    const Neighbour& mirror = found[images.size() + i];
    if (mirror.distance < found[i].distance) found[i] = {mirror.index, mirror.distance, true};
  }
  found.resize(images.size());
  return found;
}

NearestTraining nearest_training(const Source& source, std::span<const ByteImage> samples,
                                 std::span<const int64_t> sources, const std::atomic<bool>* cancel, bool flip) {
  NearestTraining nearest{
      {samples.begin(), samples.end()}, {}, nearest_training_images(source, samples, {}, cancel, flip), std::nullopt};
  for (const Neighbour& neighbour : nearest.found) {
    ByteImage image = source.read(neighbour.index);
    nearest.training.push_back(neighbour.is_mirrored ? mirrored(std::move(image)) : std::move(image));
  }
  if (sources.empty()) return nearest;
  nearest.copies = 0;
  for (size_t i = 0; i < samples.size(); ++i) *nearest.copies += nearest.found[i].index == sources[i];
  return nearest;
}

}  // namespace sdpipe
