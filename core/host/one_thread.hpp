// Results whose bits must not depend on the number of threads.
#pragma once

#include <ATen/Parallel.h>

namespace sdpipe {

// While it lives, LibTorch computes with one thread. For small products that costs little: more threads would wait for
// each other longer than they help.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace sdpipe
