// Runs a kernel on the CPU. The threads of a block are fibers of one thread of the process, each with a stack of its
// own, that run from barrier to barrier in an order of their own each time: where a barrier is missing, another order
// gives another result. Threads that wait at different barriers are reported; shared memory is NaN before each block.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cuda_runtime_api.h>
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "counters.hpp"
#include "memory.hpp"
#include "simulated_cuda.hpp"
#include "streams.hpp"

namespace simulated_cuda {
namespace {

constexpr size_t stack_bytes = 128 << 10;
constexpr unsigned warp = 32;

enum class State { runs, at_block_barrier, at_warp_barrier, ended };

// A stack on which one simulated thread after the other runs, until one of them has to wait: then the stack is its own.
struct Fiber {
  char* stack =
      static_cast<char*>(mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ucontext_t context;
  jmp_buf place;
  bool has_begun = false;

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  ~Fiber() { munmap(stack, stack_bytes); }
};

struct Thread {
  Place place;
  State state = State::runs;
  Fiber* fiber = nullptr;
  int line = 0;            // of the barrier that it waits at
  unsigned exchanges = 0;  // that it has taken part in
};

class Order {
 public:
  template <class T>
  void apply(std::vector<T>& items) {
    if (seed_ != 0) std::shuffle(items.begin(), items.end(), random_);
  }
  void set(unsigned seed) {
    seed_ = seed;
    random_.seed(seed);
  }

 private:
  unsigned seed_ = first_seed();
  std::mt19937 random_{seed_};

  static unsigned first_seed() {
    const char* wanted = std::getenv("SIMULATED_CUDA_ORDER");
    if (!wanted) return 1;
    return std::string(wanted) == "forward" ? 0 : static_cast<unsigned>(std::strtoul(wanted, nullptr, 10));
  }
};

Order& order() {
  static Order& the = *new Order();
  return the;
}

class Block;
Block* running = nullptr;  // one at a time

class Block {
 public:
  Block(const std::function<void()>& kernel, const Place& first, std::deque<std::unique_ptr<Fiber>>& fibers)
      : kernel_(kernel), fibers_(fibers) {
    const dim3 size = first.block_size;
    const unsigned n = size.x * size.y * size.z;
    threads_.resize(n);
    for (unsigned i = 0; i < n; ++i) {
      threads_[i].place = first;
      threads_[i].place.thread = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
    }
    exchanged_.resize((n + warp - 1) / warp * 2 * warp);
    for (const auto& fiber : fibers_) idle_.push_back(fiber.get());
  }

  void run() {
    running = this;
    for (Thread& thread : threads_) to_begin_.push_back(&thread);
    order().apply(to_begin_);
    while (next_ < to_begin_.size()) switch_to(idle_fiber());
    for (std::vector<Thread*> woken = wake(); !woken.empty(); woken = wake()) {
      order().apply(woken);
      for (Thread* thread : woken) {
        current_ = thread;
        switch_to(*thread->fiber);
      }
    }
    running = nullptr;
  }

  // ---- called by the thread that runs

  const Place& place() const { return current_->place; }
  unsigned number() const { return static_cast<unsigned>(current_ - threads_.data()); }

  void wait(State state, int line) {
    current_->state = state;
    current_->line = line;
    leave(*current_->fiber);
  }

  const uint64_t* exchange(uint64_t mine) {
    // Two sets in turn: a lane that is ahead must not overwrite what another still reads.
    uint64_t* set = &exchanged_[(2 * (number() / warp) + (current_->exchanges++ & 1)) * warp];
    set[number() % warp] = mine;
    wait(State::at_warp_barrier, 0);
    return set;
  }

 private:
  // On a fiber's stack: threads that have not begun, one after the other.
  static void fiber_main() {
    for (;;) {
      Block& block = *running;
      Fiber& fiber = *block.on_;
      while (block.next_ < block.to_begin_.size()) {
        Thread& thread = *block.to_begin_[block.next_++];
        thread.fiber = &fiber;
        block.current_ = &thread;
        block.kernel_();
        running->current_->state = State::ended;
      }
      running->idle_.push_back(&fiber);
      running->leave(fiber);
    }
  }

  Fiber& idle_fiber() {
    if (idle_.empty()) {
      fibers_.push_back(std::make_unique<Fiber>());
      idle_.push_back(fibers_.back().get());
    }
    Fiber& fiber = *idle_.back();
    idle_.pop_back();
    return fiber;
  }

  // From the scheduler to a fiber, and back when a thread waits or all have ended.
  void switch_to(Fiber& fiber) {
    on_ = &fiber;
    if (_setjmp(scheduler_) != 0) return;
    if (fiber.has_begun) _longjmp(fiber.place, 1);
    fiber.has_begun = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
    setcontext(&fiber.context);
  }

  void leave(Fiber& fiber) {
    if (_setjmp(fiber.place) == 0) _longjmp(scheduler_, 1);
  }

  // Every thread waits or has ended: those that may go on. Of warps first, then of the block.
  std::vector<Thread*> wake() {
    std::vector<Thread*> of_warps = waiting(State::at_warp_barrier), of_block = waiting(State::at_block_barrier);
    std::vector<Thread*>& woken = of_warps.empty() ? of_block : of_warps;
    for (Thread* thread : woken) {
      if (thread->line != woken.front()->line) {
        throw std::runtime_error("simulated CUDA: threads of a block wait at different __syncthreads(), of lines " +
                                 std::to_string(woken.front()->line) + " and " + std::to_string(thread->line));
      }
      thread->state = State::runs;
    }
    return std::move(woken);
  }

  std::vector<Thread*> waiting(State state) {
    std::vector<Thread*> found;
    for (Thread& thread : threads_)
      if (thread.state == state) found.push_back(&thread);
    return found;
  }

  const std::function<void()>& kernel_;
  std::deque<std::unique_ptr<Fiber>>& fibers_;
  std::vector<Thread> threads_;
  std::vector<Thread*> to_begin_;
  size_t next_ = 0;
  std::vector<Fiber*> idle_;
  std::vector<uint64_t> exchanged_;
  Thread* current_ = nullptr;
  Fiber* on_ = nullptr;
  jmp_buf scheduler_;
};

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes;
  SharedArrays arrays;
};

void run_grid(int device, const Grid& grid, const std::function<void()>& kernel) {
  static std::recursive_mutex mutex;  // shared arrays are the library's: one kernel at a time
  static std::deque<std::unique_ptr<Fiber>> fibers;
  const std::lock_guard lock(mutex);
  const Access access(device);
  const std::unique_ptr<double[]> dynamic(new double[grid.shared_bytes / sizeof(double) + 2]);
  std::vector<unsigned> numbers(grid.blocks.x * grid.blocks.y * grid.blocks.z);
  for (unsigned b = 0; b < numbers.size(); ++b) numbers[b] = b;
  order().apply(numbers);
  try {
    for (const unsigned b : numbers) {
      std::memset(static_cast<void*>(dynamic.get()), 0xFF, grid.shared_bytes);
      if (grid.arrays.begin)
        std::memset(grid.arrays.begin, 0xFF, static_cast<size_t>(grid.arrays.end - grid.arrays.begin));
      const dim3 at(b % grid.blocks.x, b / grid.blocks.x % grid.blocks.y, b / (grid.blocks.x * grid.blocks.y));
      Block(kernel, {dim3(0, 0, 0), at, grid.threads, grid.blocks, dynamic.get()}, fibers).run();
    }
  } catch (...) {
    running = nullptr;
    fibers.clear();  // threads still wait on them
    throw;
  }
}

size_t most_shared() {
  const char* wanted = std::getenv("SIMULATED_CUDA_SHARED");
  return wanted ? std::strtoull(wanted, nullptr, 10) : size_t{227} << 10;
}

}  // namespace

const Place& here() { return running->place(); }
unsigned lane() { return running->number() % warp; }
void block_barrier(int line) { running->wait(State::at_block_barrier, line); }
void warp_barrier() { running->wait(State::at_warp_barrier, 0); }
const uint64_t* exchanged(uint64_t mine) { return running->exchange(mine); }
void set_order(unsigned seed) { order().set(seed); }

cudaError_t launch(dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream, SharedArrays arrays,
                   std::function<void()> thread) {
  const size_t in_block = size_t{threads.x} * threads.y * threads.z, n = size_t{blocks.x} * blocks.y * blocks.z;
  const bool is_possible = in_block > 0 && in_block <= 1024 && n > 0 && blocks.x <= 0x7FFFFFFF && blocks.y <= 65535 &&
                           blocks.z <= 65535 && shared_bytes <= most_shared();
  if (!is_possible) return cudaErrorInvalidConfiguration;
  const auto number = reinterpret_cast<int64_t>(stream);
  const StreamId queue{current_device(), number == 1 ? 0 : number};
  if (!is_stream(queue)) return cudaErrorInvalidResourceHandle;  // of another device
  count(&Counts::kernels);
  submit(queue, [=, thread = std::move(thread)] {
    run_grid(queue.device, {blocks, threads, shared_bytes, arrays}, thread);
  });
  return cudaSuccess;
}

}  // namespace simulated_cuda

// ------------------------------------------------------------------------------------------------- CUDA's runtime

namespace {

cudaError_t there_are_gpus() {
  if (simulated_cuda::n_devices() > 0) return cudaSuccess;
  const char* wanted = std::getenv("SIMULATED_CUDA_GPUS");
  return wanted && std::string(wanted) == "no_driver" ? cudaErrorInsufficientDriver : cudaErrorNoDevice;
}

}  // namespace

cudaError_t cudaGetLastError() { return cudaSuccess; }  // every launch tells its own error

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorDevicesUnavailable:
      return "CUDA-capable device(s) is/are busy or unavailable";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetDevice(int* device) {
  *device = simulated_cuda::current_device();
  return there_are_gpus();
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= simulated_cuda::n_devices()) return cudaErrorInvalidDevice;
  simulated_cuda::set_current_device(device);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = simulated_cuda::n_devices();
  return there_are_gpus();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= simulated_cuda::n_devices()) return cudaErrorInvalidDevice;
  const char* capability = std::getenv("SIMULATED_CUDA_CAPABILITY");
  *properties = {"simulated", simulated_cuda::memory_size(), capability ? std::atoi(capability) : 9, 0};
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? static_cast<int>(simulated_cuda::most_shared())
           : attribute == cudaDevAttrComputeCapabilityMajor     ? 9
                                                                : 0;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = there_are_gpus() == cudaErrorInsufficientDriver ? 0 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = simulated_cuda::memory_size();
  *free = *total - simulated_cuda::memory_in_use(simulated_cuda::current_device());
  return there_are_gpus();
}

// Of null alone: starts CUDA on the current device.
cudaError_t cudaFree(void*) {
  const char* wanted = std::getenv("SIMULATED_CUDA_GPUS");
  return wanted && std::string(wanted) == "busy" ? cudaErrorDevicesUnavailable : there_are_gpus();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  simulated_cuda::count(&simulated_cuda::Counts::waited);
  const auto number = reinterpret_cast<int64_t>(stream);
  simulated_cuda::finish(simulated_cuda::StreamId{simulated_cuda::current_device(), number == 1 ? 0 : number});
  return cudaSuccess;
}
