#include "core/data/loader.hpp"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace sdpipe {
namespace {

// floor(u n / 2^64) for 64 random bits u: uniform on [0, n) but for a bias below n / 2^64.
int64_t below(int64_t n, const Stream& stream) {
  const uint64_t u = random_bits(stream), m = static_cast<uint64_t>(n);
  const uint64_t low = (u & 0xFFFFFFFFu) * m, high = (u >> 32) * m;  // exact for n < 2^32
  return static_cast<int64_t>((high + (low >> 32)) >> 32);
}

at::Tensor empty_batch(int64_t count, const ImageShape& s) {
  return at::empty({count, s.channels, s.height, s.width}, at::TensorOptions().dtype(at::kFloat));
}

// Writes `image` to `out` as v / 127.5 - 1, each row back to front where `mirrored`.
void write_scaled(const ByteImage& image, bool mirrored, float* out) {
  const int64_t width = image.shape.width, rows = image.shape.channels * image.shape.height;
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* from = image.pixels.data() + row * width;
    for (int64_t x = 0; x < width; ++x)
      out[row * width + x] = static_cast<float>(from[mirrored ? width - 1 - x : x] / 127.5 - 1.0);
  }
}

struct Found {
  int64_t index;
  ByteImage image;
};

// The first good picture among candidate(0), candidate(1), ..., candidate(size - 1).
template <class F>
Found first_good(const Source& source, F candidate) {
  for (int64_t k = 0; k < source.size(); ++k) {
    const int64_t index = candidate(k);
    if (auto image = source.try_read(index)) return {index, std::move(*image)};
  }
  const std::vector<BadImage> bad = source.skipped();
  throw DataError(fmt::format("none of the {} images can be used{}", source.size(),
                              bad.empty() ? "" : "; the first: " + bad[0].reason));
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  Stream stream{.seed = seed, .purpose = Purpose::order, .step = static_cast<uint32_t>(epoch)};
  for (int64_t i = size - 1; i > 0; --i) {
    stream.sample = static_cast<uint64_t>(i);
    std::swap(order[i], order[below(i + 1, stream)]);
  }
  return order;
}

at::Tensor read_batch(const Source& source, std::span<const int64_t> indices) {
  at::Tensor out = empty_batch(static_cast<int64_t>(indices.size()), source.shape());
  float* to = out.data_ptr<float>();
  for (const int64_t index : indices) {
    if (index < 0 || index >= source.size()) throw std::out_of_range("read_batch: no such picture");
    write_scaled(first_good(source, [&](int64_t k) { return (index + k) % source.size(); }).image, false, to);
    to += source.shape().elements();
  }
  return out;
}

// Batch number k begins at image `start + k batch` of the training, so any thread can make any batch. Threads take
// numbers in order, at most `ahead` past the one that is waited for.
class Loader::Worker {
 public:
  Worker(std::shared_ptr<const Source> source, const LoaderOptions& options, LoaderState start)
      : source_(std::move(source)), options_(options), start_(start.epoch * source_->size() + start.position) {
    if (options.batch < 1 || options.workers < 0)
      throw std::invalid_argument("a loader needs batch >= 1, workers >= 0");
    if (start.epoch < 0 || start.position < 0 || start.position >= source_->size())
      throw DataError(fmt::format("cannot go on at epoch {}, position {}: the data set has {} images", start.epoch,
                                  start.position, source_->size()));
    for (int64_t i = 0; i < options.workers; ++i) threads_.emplace_back([this](std::stop_token stop) { work(stop); });
  }

  ~Worker() {
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();  // joins before the members that the threads use go
  }

  Batch next() {
    Result result = options_.workers == 0 ? make(returned_) : wait_for_next();
    if (result.error) std::rethrow_exception(result.error);
    const std::scoped_lock lock(mutex_);
    ready_.erase(returned_++);
    wanted_.notify_all();
    return std::move(result.batch);
  }

  LoaderState state() const {
    const int64_t next = start_ + returned_ * options_.batch;
    return {next / source_->size(), next % source_->size()};
  }

 private:
  struct Result {
    Batch batch;
    std::exception_ptr error;
  };
  using Order = std::shared_ptr<const std::vector<int64_t>>;

  int64_t ahead() const { return 2 * options_.workers; }

  void work(const std::stop_token& stop) {
    for (;;) {
      std::unique_lock lock(mutex_);
      if (!wanted_.wait(lock, stop, [this] { return taken_ < returned_ + ahead(); }) || stop.stop_requested()) return;
      const int64_t number = taken_++;
      lock.unlock();
      Result result = make(number);
      lock.lock();
      ready_.emplace(number, std::move(result));
      made_.notify_all();
    }
  }

  // The result stays in the map until it has been returned: an error is found there again.
  Result wait_for_next() {
    std::unique_lock lock(mutex_);
    made_.wait(lock, [this] { return ready_.contains(returned_); });
    return ready_.at(returned_);
  }

  Result make(int64_t number) {
    try {
      return {make_batch(start_ + number * options_.batch), nullptr};
    } catch (...) {
      return {{}, std::current_exception()};
    }
  }

  Batch make_batch(int64_t first) {
    Batch batch{empty_batch(options_.batch, source_->shape()), {}, first};
    float* to = batch.images.data_ptr<float>();
    for (int64_t count = first; count < first + options_.batch; ++count, to += source_->shape().elements()) {
      const Order order = order_of(count / source_->size());
      const int64_t position = count % source_->size();
      const Found found = first_good(*source_, [&](int64_t k) { return (*order)[(position + k) % source_->size()]; });
      write_scaled(found.image, mirrored(count), to);
      batch.indices.push_back(found.index);
    }
    return batch;
  }

  bool mirrored(int64_t count) const {
    if (!options_.flip) return false;
    return random_uniform({options_.seed, Purpose::augment, static_cast<uint64_t>(count)}) < 0.5;
  }

  // Threads are at most a few batches apart: the orders of the last few epochs are all that is ever asked for.
  Order order_of(int64_t epoch) {
    const std::scoped_lock lock(orders_mutex_);
    Order& order = orders_[epoch];
    if (!order)
      order = std::make_shared<const std::vector<int64_t>>(epoch_order(source_->size(), options_.seed, epoch));
    const Order found = order;
    if (orders_.size() > 4) orders_.erase(orders_.begin());
    return found;
  }

  const std::shared_ptr<const Source> source_;
  const LoaderOptions options_;
  const int64_t start_;
  std::mutex mutex_;  // guards the next five
  std::condition_variable_any wanted_, made_;
  std::map<int64_t, Result> ready_;
  int64_t taken_ = 0;     // batches that a thread has begun
  int64_t returned_ = 0;  // batches that next() has returned; written by its caller alone
  std::mutex orders_mutex_;
  std::map<int64_t, Order> orders_;
  std::vector<std::jthread> threads_;
};

Loader::Loader(std::shared_ptr<const Source> source, const LoaderOptions& options, LoaderState start)
    : worker_(std::make_unique<Worker>(std::move(source), options, start)) {}
Loader::~Loader() = default;
Batch Loader::next() { return worker_->next(); }
LoaderState Loader::state() const { return worker_->state(); }

}  // namespace sdpipe
