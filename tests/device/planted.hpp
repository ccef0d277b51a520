// Kernels that are wrong in one way each, and one that is not: what the simulated GPU must be able to tell apart.
#pragma once

namespace sdpipe::testing {

// Each works on the 256 floats at x and queues itself on `stream`; 0, or the cudaError_t of a launch that failed.
int launch_reversed(const float* x, float* y, void* stream);  // y[i] = x[255 - i], through shared memory
int launch_reversed_without_barrier(const float* x, float* y, void* stream);  // the same, and a barrier is missing
int launch_split_barrier(float* y, void* stream);  // half of the threads wait at another barrier than the rest
int launch_unwritten(float* y, void* stream);      // y[i] is shared memory that nobody wrote
int launch_warp_sums(const float* x, float* y, void* stream);  // y[i] = the sum of x over the warp of i
int launch_past_the_end(float* y, void* stream);               // writes y[256 + 16]

}  // namespace sdpipe::testing
