#include "core/evaluation/scores.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "core/base/text.hpp"
#include "core/data/loader.hpp"
#include "core/diffusion/calibration.hpp"
#include "core/evaluation/features.hpp"
#include "core/evaluation/frechet.hpp"
#include "core/evaluation/manifold.hpp"
#include "core/evaluation/neighbours.hpp"
#include "core/evaluation/sliced.hpp"
#include "core/evaluation/statistics.hpp"
#include "core/host/services.hpp"

namespace sdpipe {
namespace {

constexpr int64_t read_block = 256;
constexpr int64_t most_parts = 20;  // of the real images that are held out
constexpr int64_t most_held_out = 10'000, most_reference = 50'000, most_projected = 10'000, most_directions = 512;
constexpr double training_share = 0.8;  // of the constructor's time, roughly

at::Tensor to_tensor(std::span<const ByteImage> images) {
  const ImageShape& s = images[0].shape;
  const at::Tensor bytes = at::empty({std::ssize(images), s.channels, s.height, s.width}, at::TensorOptions(at::kByte));
  uint8_t* to = bytes.data_ptr<uint8_t>();
  for (const ByteImage& image : images) to = std::copy(image.pixels.begin(), image.pixels.end(), to);
  return bytes.to(at::kFloat) / 127.5 - 1;
}

}  // namespace

namespace {

constexpr ScoreKind kinds[] = {
    {"frechet", Better::less, feature_count, 10 * feature_count},
    {"sliced_wasserstein", Better::less, 0, 0},
    {"precision", Better::more, 0, 1000},
    {"recall", Better::more, 0, 1000},
    {"nearest_neighbour", Better::neither, 0, 0},
};

}  // namespace

std::vector<std::string> score_names() {
  std::vector<std::string> names;
  for (const ScoreKind& kind : kinds) names.emplace_back(kind.name);
  return names;
}

const ScoreKind& score_kind(std::string_view name) {
  const std::string_view plain = name.substr(0, name.find(" ("));
  for (const ScoreKind& kind : kinds) {
    if (kind.name == plain) return kind;
  }
  throw std::out_of_range(fmt::format("there is no score \"{}\"", name));
}

bool is_meaningless(std::string_view score, int64_t samples) { return samples <= score_kind(score).features; }

namespace {

// A set of images as the scores see it.
struct View {
  at::Tensor features;     // (n, f)
  at::Tensor projections;  // (min(n, most_projected), directions), sorted
  int64_t count() const { return features.size(0); }
};

}  // namespace

struct Scorer::State {
  const Source& data;
  bool flip;
  FeatureNetwork network;
  std::string id;
  at::Tensor directions;
  std::vector<int64_t> held_out, reference;
  View real;
  Gaussian gaussian;

  // `read` gives images [first, last) in [-1, 1].
  View view(int64_t count, const std::function<at::Tensor(int64_t first, int64_t last)>& read,
            const std::function<void(double)>& progress = {}) const {
    std::vector<at::Tensor> features, pixels;
    for (int64_t first = 0; first < count; first += read_block) {
      const at::Tensor images = read(first, std::min(first + read_block, count));
      features.push_back(network.features(images));
      if (first < most_projected)
        pixels.push_back(along_directions(images.slice(0, 0, std::min(images.size(0), most_projected - first))));
      if (progress) progress(static_cast<double>(first) / static_cast<double>(count));
    }
    return {at::cat(features), std::get<0>(at::cat(pixels).sort(0))};
  }

  // Of pixels in [0, 1].
  at::Tensor along_directions(const at::Tensor& images) const {
    return sorted_projections((images.flatten(1) + 1) / 2, directions);
  }

  View view_of(std::span<const ByteImage> images) const {
    return view(std::ssize(images), [&](int64_t first, int64_t last) {
      return to_tensor(images.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
    });
  }

  View view_of_data(std::span<const int64_t> indices, const std::atomic<bool>* cancel,
                    const std::function<void(double)>& progress) const {
    const auto read = [&](int64_t first, int64_t last) {
      if (cancel && cancel->load()) throw Cancelled();
      return read_batch(data, indices.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
    };
    return view(std::ssize(indices), read, progress);
  }

  std::vector<Score> score(const std::vector<ByteImage>& samples, const std::vector<std::string>& names,
                           std::span<const int64_t> except) const;
};

namespace {

void check_names(const std::vector<std::string>& names) {
  const std::vector<std::string> known = score_names();
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw UsageError(
          fmt::format("there is no score \"{}\"; there are {}{}", name, join(known), did_you_mean(name, known)));
  }
}

void check_samples(const std::vector<ByteImage>& samples, const ImageShape& shape) {
  if (std::ssize(samples) <= manifold_neighbours)
    throw UsageError(fmt::format("scores need at least {} samples, not {}", manifold_neighbours + 1, samples.size()));
  for (const ByteImage& sample : samples) {
    if (sample.shape != shape)
      throw UsageError(
          fmt::format("samples of {} cannot be scored against images of {}", to_text(sample.shape), to_text(shape)));
  }
}

double mean_distance(const std::vector<Neighbour>& found) {
  double sum = 0;
  for (const Neighbour& neighbour : found) sum += neighbour.distance;
  return sum / static_cast<double>(found.size());
}

}  // namespace

Scorer::Scorer(const Source& data, const std::filesystem::path& folder, uint64_t seed, const std::atomic<bool>* cancel,
               const std::function<void(double)>& progress, bool flip) {
  const int64_t half = data.size() / 2;
  if (half <= manifold_neighbours)
    throw DataError(fmt::format("scores need at least {} images, and the data set has {}",
                                2 * (manifold_neighbours + 1), data.size()));
  const auto part = [&](double from, double to) {
    return [=, &progress](double fraction) {
      if (progress) progress(from + (to - from) * fraction);
    };
  };
  FeatureNetwork network(data, folder, {.seed = seed}, cancel, part(0, training_share));
  const std::string id = network.hash().substr(0, 8);
  state_ = std::make_unique<State>(State{data,
                                         flip,
                                         std::move(network),
                                         id,
                                         orthonormal_directions(data.shape().elements(), most_directions, seed),
                                         {},
                                         {},
                                         {},
                                         {}});
  const int64_t held = std::min(half, most_held_out);
  // Another draw than that of the images which a prior starts from.
  const std::vector<int64_t> order = choose_images(data.size(), held + most_reference, seed + 2);
  state_->held_out.assign(order.begin(), order.begin() + held);
  state_->reference.assign(order.begin() + held, order.end());
  state_->real = state_->view_of_data(state_->reference, cancel, part(training_share, 1));
  state_->gaussian = fit_gaussian(state_->real.features);
  if (progress) progress(1);
}

Scorer::~Scorer() = default;

const std::string& Scorer::feature_id() const { return state_->id; }

std::vector<Score> Scorer::State::score(const std::vector<ByteImage>& samples, const std::vector<std::string>& names,
                                        std::span<const int64_t> except) const {
  check_names(names);
  check_samples(samples, data.shape());
  const View seen = view_of(samples);
  std::optional<PrecisionRecall> manifolds;
  const auto manifold = [&]() -> const PrecisionRecall& {
    if (!manifolds) manifolds = precision_recall(real.features.slice(0, 0, seen.count()), seen.features);
    return *manifolds;
  };
  std::vector<Score> scores;
  const auto add = [&](const std::string& name, const std::string& space, double value) {
    const int64_t taken = name == "sliced_wasserstein" ? seen.projections.size(0) : seen.count();
    scores.push_back({fmt::format("{} ({})", name, space), value, taken});
  };
  const std::string features = "features " + id;
  for (const std::string& name : names) {
    if (name == "frechet") add(name, features, frechet_distance(fit_gaussian(seen.features), gaussian));
    if (name == "sliced_wasserstein") add(name, "pixels", sliced_wasserstein(seen.projections, real.projections));
    if (name == "precision") add(name, features, manifold().precision);
    if (name == "recall") add(name, features, manifold().recall);
    if (name == "nearest_neighbour")
      add(name, "pixels", mean_distance(nearest_training_images(data, samples, except, nullptr, flip)));
  }
  return scores;
}

std::vector<Score> Scorer::score(const std::vector<ByteImage>& samples, const std::vector<std::string>& names) const {
  return state_->score(samples, names, {});
}

Reference Scorer::reference() const {
  return {state_->real.count(), frechet_bias_times_n(state_->gaussian.covariance)};
}

namespace {

// Means and deviations over the parts, score by score.
RealScores summary(const std::vector<std::vector<Score>>& parts, int64_t count) {
  RealScores real{count, parts.at(0), std::ssize(parts)};
  for (size_t i = 0; i < real.scores.size(); ++i) {
    std::vector<double> values;
    for (const std::vector<Score>& part : parts) values.push_back(part[i].value);
    real.scores[i].value = mean_of(values);
    if (const auto deviation = deviation_of(values)) real.deviations.push_back(*deviation);
  }
  return real;
}

}  // namespace

RealScores Scorer::real_floor(int64_t count, const std::vector<std::string>& names,
                              const std::atomic<bool>* cancel) const {
  std::vector<ByteImage> images;
  std::vector<int64_t> indices;
  for (const int64_t index : state_->held_out) {
    if (std::ssize(images) == most_parts * count) break;
    if (std::optional<ByteImage> image = state_->data.try_read(index)) {
      images.push_back(std::move(*image));
      indices.push_back(index);
    }
  }
  const int64_t size = std::min(count, std::ssize(images));
  std::vector<std::vector<Score>> parts;
  do {  // once at least: of too few images the scores say so
    if (cancel && cancel->load()) throw Cancelled();
    const int64_t first = std::ssize(parts) * size;
    const std::vector<ByteImage> part(images.begin() + first, images.begin() + first + size);
    parts.push_back(state_->score(part, names, std::span(indices).subspan(static_cast<size_t>(first), part.size())));
  } while ((std::ssize(parts) + 1) * size <= std::ssize(images));
  return summary(parts, size);
}

}  // namespace sdpipe
