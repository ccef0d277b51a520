// A CUDA device without a GPU, for tests: LibTorch's CUDA device whose memory is memory of this process that only its
// own copies and kernels can touch. It is a library that stands in for libtorch_cuda.so and CUDA's runtime in builds
// with SDPIPE_SIMULATED_CUDA.
//
//   memory     Each tensor has pages of its own behind a protection key (pkeys(7)) that a thread holds only inside a
//   copy
//              or a kernel. Any other access, of the host, of LibTorch or of a plugin, ends in SIGSEGV, and so does one
//              past the end, for a page that cannot be touched follows. Fresh memory is NaN; freed memory is unmapped.
//   operators  LibTorch's operators run on copies in host memory (at::native::cpu_fallback); views alias.
//   kernels    .cu files are compiled by g++ and run as fibers, in an order of their own (kernels.cpp).
//   streams    Work is done when it is queued, or, deferred, when somebody waits for it (streams.hpp): where a wait
//              between two streams is missing, the result is another one.
//   counts     How often the host waits, and how much it queues.
//
// What it does not show: how fast anything is, occupancy, the rounding of fused multiply-adds, races inside a warp.
//
// Environment
//   SIMULATED_CUDA_GPUS     how many there are (default 1), "none", "no_driver", or "busy": one that
//                           another process holds
//   SIMULATED_CUDA_MEMORY   bytes of each (default 8 GiB)
//   SIMULATED_CUDA_CAPABILITY  the first digit of their compute capability (default 9)
//   SIMULATED_CUDA_SHARED   bytes of shared memory of a block (default 227 KiB)
//   SIMULATED_CUDA_ORDER    of threads and blocks: "forward", or a seed (default 1)
//   SIMULATED_CUDA_STREAMS  "deferred": work waits until somebody waits for it
//   SIMULATED_CUDA_TRACE    "waits" or "operators": each one on standard error
//   SIMULATED_CUDA_COUNTS   a file: the counts at the end, one line each
#pragma once

#include <cstddef>
#include <string>

namespace simulated_cuda {

struct Counts {
  size_t copied_in = 0;     // copies from memory that is not pinned: the host waits
  size_t copied_out = 0;    // copies that the host waits for
  size_t numbers_read = 0;  // item()
  size_t waited = 0;        // for a stream, an event or the device
  size_t operators = 0;     // LibTorch's
  size_t kernels = 0;       // the project's own
  size_t copied_within = 0;
  size_t queued_copies = 0;  // between pinned memory and the device: nobody waits

  size_t waits() const { return copied_in + copied_out + numbers_read + waited; }
  size_t queued() const { return operators + kernels + copied_within + queued_copies; }
};
Counts counts();
Counts operator-(const Counts& a, const Counts& b);
std::string to_text(const Counts& counts);

// Whether work waits until somebody waits for it. Set it while nothing is queued.
void defer_work(bool deferred);

// In which order threads and blocks run: 0 is forward, any other number a seed for shuffling.
void set_order(unsigned seed);

// Bytes of the device's memory that are in use.
size_t memory_in_use(int device);
// How many tensors have been allocated there so far.
size_t allocations(int device);

}  // namespace simulated_cuda
