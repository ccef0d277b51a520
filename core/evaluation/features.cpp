#include "core/evaluation/features.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/random.hpp"
#include "core/data/loader.hpp"
#include "core/host/one_thread.hpp"
#include "core/host/services.hpp"
#include "core/training/optimizer.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t rotations = 4, training_batch = 64, forward_batch = 256;

int64_t classes_of(const Source& data) {
  const auto labels = data.labels();
  return labels.empty() ? rotations : int64_t{*std::max_element(labels.begin(), labels.end())} + 1;
}

// Channels of the convolutions, the last giving the features.
std::vector<int64_t> widths(const ImageShape& shape) {
  std::vector<int64_t> channels = {32};
  for (int64_t side = (std::max(shape.height, shape.width) + 1) / 2; side > 4 || channels.size() < 3;
       side = (side + 1) / 2)
    channels.push_back(feature_count);
  return channels;
}

at::Tensor convolved(at::Tensor x, const std::vector<at::Tensor>& weights) {
  for (size_t i = 0; i + 2 < weights.size(); i += 2) x = at::relu(at::conv2d(x, weights[i], weights[i + 1], 2, 1));
  return x.mean(at::IntArrayRef{2, 3});
}

at::Tensor classified(const at::Tensor& features, const std::vector<at::Tensor>& weights) {
  return at::linear(features, weights[weights.size() - 2], weights.back());
}

// Quarter turns; for pictures that are not square the four symmetries of a rectangle.
at::Tensor turned(const at::Tensor& x, int64_t k) {
  if (x.size(2) == x.size(3)) return x.rot90(k, {2, 3});
  std::vector<int64_t> mirrored;
  if (k & 1) mirrored.push_back(2);
  if (k & 2) mirrored.push_back(3);
  return x.flip(mirrored);
}

// Which network a file holds follows from what it was trained on.
std::string training_hash(const Source& data, const FeatureOptions& options) {
  const auto labels = data.labels();
  const std::string text =
      fmt::format("{} {} {} {}", data.content_hash(), labels.empty() ? "rotations" : sha256(std::as_bytes(labels)),
                  options.seed, options.images);
  return sha256(as_bytes(text));
}

}  // namespace

// Minibatches with Adam: what the constructor needs once.
class FeatureNetwork::Trainer {
 public:
  Trainer(FeatureNetwork& network, const Source& data, const FeatureOptions& options)
      : network_(network),
        labels_(data.labels()),
        loader_({std::shared_ptr<void>(), &data},
                {.batch = labels_.empty() ? training_batch / rotations : training_batch,
                 .seed = options.seed,
                 .workers = 1}),
        moments_{at::zeros_like(network.flat_), at::zeros_like(network.flat_)},
        average_(at::zeros_like(network.flat_)) {
    optimizer_.learning_rate = 4e-3;
    optimizer_.cosine = true;
    optimizer_.images = options.images;
    optimizer_.warmup_images = options.images / 20;
    draw_weights(options.seed);
  }

  void run(const std::atomic<bool>* cancel, const std::function<void(double)>& progress) {
    const OneThread one_thread;  // the names of scores must not depend on the number of threads
    for (int64_t seen = 0, n = 1; seen < optimizer_.images; seen += training_batch, ++n) {
      if (cancel && cancel->load()) throw Cancelled();
      step(seen, n);
      if (progress) progress(std::min(1.0, static_cast<double>(seen + training_batch) / optimizer_.images));
    }
  }

 private:
  // Kaiming He's normal initialisation (arXiv 1502.01852); biases 0.
  void draw_weights(uint64_t seed) {
    std::vector<at::Tensor> views = network_.views(network_.flat_);
    for (size_t i = 0; i < views.size(); i += 2) {
      const double fan_in = static_cast<double>(views[i].numel() / views[i].size(0));
      fill_normal({.seed = seed, .purpose = Purpose::evaluation, .sample = i, .draw = 1},
                  std::span(views[i].data_ptr<float>(), static_cast<size_t>(views[i].numel())));
      views[i].mul_(std::sqrt(2 / fan_in));
    }
  }

  // Images and their classes.
  std::pair<at::Tensor, at::Tensor> next() {
    const Batch batch = loader_.next();
    std::vector<int64_t> classes;
    if (!labels_.empty()) {
      for (const int64_t index : batch.indices) classes.push_back(labels_[static_cast<size_t>(index)]);
      return {batch.images, at::tensor(classes)};
    }
    std::vector<at::Tensor> images;
    for (int64_t k = 0; k < rotations; ++k) {
      images.push_back(turned(batch.images, k));
      classes.insert(classes.end(), batch.indices.size(), k);
    }
    return {at::cat(images), at::tensor(classes)};
  }

  void step(int64_t seen, int64_t n) {
    const auto [images, classes] = next();
    const at::Tensor leaf = network_.flat_.detach().requires_grad_(true);
    const std::vector<at::Tensor> weights = network_.views(leaf);
    const at::Tensor loss = at::cross_entropy_loss(classified(convolved(images, weights), weights), classes);
    const at::Tensor gradient = torch::autograd::grad({loss}, {leaf})[0].contiguous();
    fused_step(network_.flat_, gradient, flat_norm(gradient), moments_, average_, optimizer_,
               learning_rate(optimizer_, seen, training_batch), n);
  }

  FeatureNetwork& network_;
  std::span<const uint8_t> labels_;
  Loader loader_;
  Moments moments_;
  at::Tensor average_;
  OptimizerOptions optimizer_;
};

FeatureNetwork::FeatureNetwork(const Source& data, const fs::path& folder, const FeatureOptions& options,
                               const std::atomic<bool>* cancel, const std::function<void(double)>& progress)
    : file_(folder / fmt::format("features-{}.safetensors", training_hash(data, options).substr(0, 12))) {
  int64_t size = 0, channels = data.shape().channels;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    weights_.push_back({name, shape, size});
    size += c10::multiply_integers(shape);
  };
  for (const int64_t width : widths(data.shape())) {
    const std::string name = fmt::format("convolution{}", weights_.size() / 2 + 1);
    add(name + ".weight", {width, channels, 3, 3});
    add(name + ".bias", {width});
    channels = width;
  }
  add("linear.weight", {classes_of(data), channels});
  add("linear.bias", {classes_of(data)});
  flat_ = at::zeros({size}, at::TensorOptions(at::kFloat));
  if (fs::exists(file_)) {
    open();
    return;
  }
  Trainer(*this, data, options).run(cancel, progress);
  hash_ = hash_of_weights();
  store();
}

std::vector<at::Tensor> FeatureNetwork::views(const at::Tensor& flat) const {
  std::vector<at::Tensor> views;
  for (const Weight& w : weights_)
    views.push_back(flat.narrow(0, w.offset, c10::multiply_integers(w.shape)).view(w.shape));
  return views;
}

NamedTensors FeatureNetwork::named() const {
  NamedTensors tensors;
  const std::vector<at::Tensor> values = views(flat_);
  for (size_t i = 0; i < weights_.size(); ++i) tensors[weights_[i].name] = values[i];
  return tensors;
}

std::string FeatureNetwork::hash_of_weights() const {
  return sha256(std::as_bytes(std::span(flat_.const_data_ptr<float>(), static_cast<size_t>(flat_.numel()))));
}

void FeatureNetwork::store() const {
  fs::create_directories(file_.parent_path());
  write_file(file_, pack_tensors(named(), {{"sha256", hash_}}));
}

void FeatureNetwork::open() {
  const std::string remedy = "delete it, and the network is trained again";
  std::string content;
  try {
    content = read_file(file_);
  } catch (const std::system_error& error) {
    throw CheckpointError(
        fmt::format("the feature network \"{}\" cannot be read: {}", file_.string(), error.code().message()));
  }
  try {
    NamedTensors stored = unpack_tensors(content, file_.string());
    const std::map<std::string, at::Tensor> own = named();
    for (const auto& [name, tensor] : own) {
      const auto found = stored.find(name);
      if (found == stored.end() || found->second.sizes() != tensor.sizes() || stored.size() != own.size())
        throw CheckpointError(fmt::format("{} has other tensors than this network", file_.string()));
      tensor.copy_(found->second);
    }
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("the feature network is damaged: {}; {}", error.what(), remedy));
  }
  hash_ = hash_of_weights();
  const auto metadata = read_safetensors(content, file_.string()).metadata;
  if (const auto said = metadata.find("sha256"); said == metadata.end() || said->second != hash_)
    throw CheckpointError(
        fmt::format("the feature network is damaged: the weights in {} are not those that were stored; {}",
                    file_.string(), remedy));
}

namespace {

// f over blocks of images, without a graph.
template <class F>
at::Tensor by_blocks(const at::Tensor& images, F&& f) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < images.size(0); first += forward_batch)
    parts.push_back(f(images.slice(0, first, std::min(first + forward_batch, images.size(0)))));
  return at::cat(parts);
}

}  // namespace

at::Tensor FeatureNetwork::features(const at::Tensor& images) const {
  const std::vector<at::Tensor> weights = views(flat_);
  return by_blocks(images, [&](const at::Tensor& x) { return convolved(x, weights); }).to(at::kDouble);
}

at::Tensor FeatureNetwork::class_scores(const at::Tensor& images) const {
  const std::vector<at::Tensor> weights = views(flat_);
  return by_blocks(images, [&](const at::Tensor& x) { return classified(convolved(x, weights), weights); });
}

}  // namespace sdpipe
