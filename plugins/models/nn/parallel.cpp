#include "plugins/models/nn/parallel.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

namespace sdpipe::nn {

void parallel(int64_t n, const std::function<void(int64_t)>& task) {
  if (n < 2 || at::get_num_threads() == 1) {
    for (int64_t i = 0; i < n; ++i) task(i);
    return;
  }
  // One byte a task, never written: where it lies tells its number.
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

}  // namespace sdpipe::nn
