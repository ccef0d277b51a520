// Work cut among LibTorch's threads. at::parallel_for is a template that is silently serial in code compiled without
// -fopenmp, and with it may bring a second OpenMP library beside the one in LibTorch; this is LibTorch's own loop.
#pragma once

#include <cstdint>
#include <functional>

namespace sdpipe::nn {

// task(i) for i = 0 .. n - 1, in any order. Tasks handle raw memory alone: LibTorch's state of the calling thread (grad
// mode) is not that of theirs. An exception is passed on.
void parallel(int64_t n, const std::function<void(int64_t)>& task);

}  // namespace sdpipe::nn
