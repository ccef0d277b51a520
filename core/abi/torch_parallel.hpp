/* Work cut among LibTorch's threads, for models and for the host. at::parallel_for is a template that is silently
   serial in code compiled without -fopenmp, and with it may bring a second OpenMP library beside the one in LibTorch;
   this is LibTorch's own loop. */
#ifndef SDPIPE_TORCH_PARALLEL_HPP
#define SDPIPE_TORCH_PARALLEL_HPP

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <functional>

namespace sdp {

/* task(i) for i = 0 .. n - 1, in any order. Tasks handle raw memory alone: LibTorch's state of the calling thread (grad
   mode) is not that of theirs. An exception is passed on. */
inline void parallel(int64_t n, const std::function<void(int64_t)>& task) {
  if (n < 2 || at::get_num_threads() == 1) {
    for (int64_t i = 0; i < n; ++i) task(i);
    return;
  }
  /* One byte a task, never written: where it lies tells its number. */
  at::Tensor places = at::empty({n}, at::kByte);
  char* const first = reinterpret_cast<char*>(places.data_ptr<uint8_t>());
  at::TensorIterator iterator = at::TensorIterator::nullary_op(places);
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t columns, int64_t rows) {
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j) task(data[0] - first + i * strides[1] + j * strides[0]);
      },
      /*grain_size=*/1);
}

/* The same in blocks of `block` elements: task(begin, end), each a whole block but the last. */
inline void parallel_blocks(int64_t n, int64_t block, const std::function<void(int64_t, int64_t)>& task) {
  parallel((n + block - 1) / block, [&](int64_t k) { task(k * block, std::min(n, (k + 1) * block)); });
}

}  // namespace sdp

#endif
