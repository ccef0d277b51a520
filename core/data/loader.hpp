// Batches of training images, in an order that is a function of (seed, epoch, position) alone.
//
// Epoch e shows the data in a permutation of its own: Fisher-Yates, numbers from Purpose::order. Position p of epoch e
// is image number e n + p of the training, n = size of the data set: the sample of Purpose::augment, by which it is
// mirrored or not. A batch goes over the end of an epoch, so every batch is full. Threads read batches ahead; their
// number changes no pixel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/data/source.hpp"

namespace sdpipe {

struct LoaderOptions {
  int64_t batch = 1;
  uint64_t seed = 0;
  bool flip = false;    // mirror left to right with probability 1/2
  int64_t workers = 2;  // threads that read ahead; 0: next() reads
};

// All that a loader's future depends on.
struct LoaderState {
  int64_t epoch = 0;
  int64_t position = 0;  // in [0, size of the data set)
  bool operator==(const LoaderState&) const = default;
};

struct Batch {
  at::Tensor images;             // float32 [B, C, H, W], contiguous, CPU; byte v is v / 127.5 - 1
  std::vector<int64_t> indices;  // of the pictures in the data set
  int64_t first = 0;             // images of the training before this batch: images[b] is number first + b
};

// The order of an epoch: element p is the index of the picture at position p.
std::vector<int64_t> epoch_order(int64_t size, uint64_t seed, int64_t epoch);

class Loader {
 public:
  explicit Loader(std::shared_ptr<const Source> source, const LoaderOptions& options, LoaderState start = {});
  ~Loader();  // waits for the pictures being decoded
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch. Where the data set skips bad pictures, a bad one's place is taken by the next good one after it in
  // the order of the epoch. Throws DataError where a picture is bad or none is good; a later call throws it again.
  Batch next();

  // Where the batch after the last one returned begins. A loader started there goes on the same way.
  LoaderState state() const;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

// The given pictures as one tensor, as in Batch but never mirrored. Where the data set skips bad pictures, the next
// good index after a bad one serves (from the last on to 0).
at::Tensor read_batch(const Source& source, std::span<const int64_t> indices);

}  // namespace sdpipe
