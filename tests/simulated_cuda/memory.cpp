#include "memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>

#include "simulated_cuda.hpp"

namespace simulated_cuda {
namespace {

constexpr size_t page = 4096, alignment = 64;
constexpr int most_devices = 4;

size_t rounded_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

struct Block {
  char* mapped;
  size_t size, bytes;  // without the page behind it; as asked for
};

// One device's memory. Where this machine has no protection keys, it is opened and closed for all threads at once: then
// a thread may touch it while another one is in a kernel.
class Memory {
 public:
  Memory() : key_(pkey_alloc(0, PKEY_DISABLE_ACCESS)) {
    if (key_ < 0 && std::getenv("SIMULATED_CUDA_TRACE"))
      std::fprintf(stderr, "simulated CUDA: no protection keys here, mprotect in their place\n");
  }

  void* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (in_use_ + bytes > memory_size()) return nullptr;
    const size_t used = rounded_up(bytes, alignment), size = rounded_up(used, page);
    char* mapped = static_cast<char*>(mmap(nullptr, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mapped == MAP_FAILED) return nullptr;
    mprotect(mapped, size, PROT_READ | PROT_WRITE);
    std::memset(mapped, 0xFF, size);  // NaN in every type of floats
    char* first = mapped + (size - used);
    blocks_[first] = {mapped, size, bytes};
    in_use_ += bytes;
    ++allocations_;
    if (key_ >= 0)
      pkey_mprotect(mapped, size, PROT_READ | PROT_WRITE, key_);
    else if (opened_ == 0)
      mprotect(mapped, size, PROT_NONE);
    return first;
  }

  void release(void* memory) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(static_cast<char*>(memory));
    in_use_ -= block->second.bytes;
    munmap(block->second.mapped, block->second.size + page);
    blocks_.erase(block);
  }

  void open() {
    if (key_ >= 0) {
      pkey_set(key_, 0);
      return;
    }
    const std::lock_guard lock(mutex_);
    if (opened_++ == 0) protect_all(PROT_READ | PROT_WRITE);
  }

  void close() {
    if (key_ >= 0) {
      pkey_set(key_, PKEY_DISABLE_ACCESS);
      return;
    }
    const std::lock_guard lock(mutex_);
    if (--opened_ == 0) protect_all(PROT_NONE);
  }

  size_t allocations() {
    const std::lock_guard lock(mutex_);
    return allocations_;
  }

  size_t in_use() {
    const std::lock_guard lock(mutex_);
    return in_use_;
  }

 private:
  void protect_all(int how) {
    for (const auto& [first, block] : blocks_) mprotect(block.mapped, block.size, how);
  }

  const int key_;
  std::mutex mutex_;
  std::map<char*, Block> blocks_;
  size_t in_use_ = 0, allocations_ = 0;
  int opened_ = 0;
};

// Never destroyed: tensors of static lifetime are released after main.
Memory& memory_of(int device) {
  static auto& all = *new std::array<Memory, most_devices>();
  return all.at(static_cast<size_t>(device));
}

thread_local std::array<int, most_devices> held{};

}  // namespace

int n_devices() {
  static const int n = [] {
    const char* wanted = std::getenv("SIMULATED_CUDA_GPUS");
    if (!wanted || std::string_view(wanted) == "busy") return 1;
    return std::min(std::atoi(wanted), most_devices);  // atoi gives 0 for any other word
  }();
  return n;
}

size_t memory_size() {
  static const size_t bytes = [] {
    const char* wanted = std::getenv("SIMULATED_CUDA_MEMORY");
    return wanted ? std::strtoull(wanted, nullptr, 10) : size_t{8} << 30;
  }();
  return bytes;
}

Access::Access(int device) : device_(device) {
  if (held.at(static_cast<size_t>(device))++ == 0) memory_of(device).open();
}
Access::~Access() {
  if (--held.at(static_cast<size_t>(device_)) == 0) memory_of(device_).close();
}

void* allocate(int device, size_t bytes) { return memory_of(device).allocate(bytes); }
void release(int device, void* memory) { memory_of(device).release(memory); }
size_t allocations(int device) { return memory_of(device).allocations(); }
size_t memory_in_use(int device) { return memory_of(device).in_use(); }

}  // namespace simulated_cuda
