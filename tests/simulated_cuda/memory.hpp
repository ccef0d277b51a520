// The devices' memory. Whoever plays the part of a copy or a kernel holds an Access.
#pragma once

#include <cstddef>

namespace simulated_cuda {

int n_devices();
size_t memory_size();

// As long as it lives, this thread may touch the memory of one device.
class Access {
 public:
  explicit Access(int device);
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

 private:
  int device_;
};

// The end of the memory is at most 63 bytes before a page that cannot be touched. Null where there is not enough.
void* allocate(int device, size_t bytes);
void release(int device, void* memory);

}  // namespace simulated_cuda
