// LibTorch's CUDA device in place of libtorch_cuda.so: allocators, streams and events, operators.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_fused_sdp_choice_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <vector>

#include "counters.hpp"
#include "memory.hpp"
#include "streams.hpp"

namespace simulated_cuda {
namespace {

// Copies inside an operator that runs on the CPU: a GPU would not make them.
thread_local int depth_in_operators = 0;
class InOperator {
 public:
  InOperator() { ++depth_in_operators; }
  ~InOperator() { --depth_in_operators; }
};

// ------------------------------------------------------------------------------------------------------ allocators

// As LibTorch's own allocator: memory belongs to the stream that is current when it is allocated, and is used again
// once that stream, and those that record_stream() named, are done with what was queued when it was freed.
struct Allocation {
  int device;
  void* memory;
  StreamId stream;
  std::set<StreamId> other_streams;
};

std::mutex& allocations_mutex() {
  static auto& m = *new std::mutex();
  return m;
}
std::map<const void*, Allocation*>& allocations() {
  static auto& all = *new std::map<const void*, Allocation*>();
  return all;
}

void free_allocation(void* context) {
  auto* allocation = static_cast<Allocation*>(context);
  {
    const std::lock_guard lock(allocations_mutex());
    allocations().erase(allocation->memory);
  }
  for (const StreamId& other : allocation->other_streams) wait_for(allocation->stream, record(other));
  submit_release(allocation->stream,
                 [device = allocation->device, memory = allocation->memory] { release(device, memory); });
  delete allocation;
}

c10::DataPtr allocate_on_device(size_t bytes) {
  const int device = current_device();
  const c10::Device where(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
  if (bytes == 0) return {nullptr, nullptr, [](void*) {}, where};
  void* memory = allocate(device, bytes);
  if (!memory) {  // what waits to be freed may be enough
    finish_device(device);
    memory = allocate(device, bytes);
  }
  TORCH_CHECK_WITH(OutOfMemoryError, memory, "CUDA out of memory. Tried to allocate ", bytes >> 10, " KiB. GPU ",
                   device, " has a total capacity of ", memory_size() >> 10, " KiB");
  auto* allocation = new Allocation{device, memory, current_stream(device), {}};
  const std::lock_guard lock(allocations_mutex());
  allocations()[memory] = allocation;
  return {memory, allocation, free_allocation, where};
}

class DeviceAllocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override { return allocate_on_device(bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    const Access access(current_device());
    std::memcpy(to, from, bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr& pointer, c10::Stream stream) override {
    const std::lock_guard lock(allocations_mutex());
    const auto found = allocations().find(pointer.get());
    if (found != allocations().end())
      found->second->other_streams.insert({static_cast<int>(stream.device_index()), stream.id()});
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override { return {}; }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}
};
DeviceAllocator device_allocator;

// Host memory that the device copies from and to by itself.
class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    constexpr size_t alignment = 64;
    void* memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
    if (!memory) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    ends_[static_cast<char*>(memory)] = static_cast<char*>(memory) + bytes;
    return {memory, memory, [](void* freed) { instance().free(freed); }, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool owns(const void* place) const {
    const std::lock_guard lock(mutex_);
    const auto* byte = static_cast<const char*>(place);
    const auto after = ends_.upper_bound(const_cast<char*>(byte));
    return after != ends_.begin() && byte < std::prev(after)->second;
  }
  static PinnedAllocator& instance() {
    static auto& the = *new PinnedAllocator();
    return the;
  }

 private:
  void free(void* memory) {
    {
      const std::lock_guard lock(mutex_);
      ends_.erase(static_cast<char*>(memory));
    }
    keep_until_done([memory] { std::free(memory); });
  }
  mutable std::mutex mutex_;
  std::map<char*, char*> ends_;
};

// ---------------------------------------------------------------------------------------------- streams and events

StreamId id_of(const c10::Stream& stream) { return {static_cast<int>(stream.device_index()), stream.id()}; }
c10::Stream stream_of(const StreamId& id) {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(id.device)),
                     id.number);
}

class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device to) const override {
    const c10::Device before = getDevice();
    setDevice(to);
    return before;
  }
  c10::Device getDevice() const override {
    return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(current_device()));
  }
  void setDevice(c10::Device to) const override {
    TORCH_CHECK(!to.has_index() || to.index() < n_devices(), "CUDA error: invalid device ordinal");
    if (to.has_index()) set_current_device(to.index());
  }
  void uncheckedSetDevice(c10::Device to) const noexcept override {
    if (to.has_index()) set_current_device(to.index());
  }
  c10::Stream getStream(c10::Device device) const override { return stream_of(current_stream(index_of(device))); }
  c10::Stream getDefaultStream(c10::Device device) const override { return stream_of({index_of(device), 0}); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return stream_of(make_stream(index_of(device)));
  }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStreamFromGlobalPool(device, false); }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    const StreamId before = current_stream(stream.device_index());
    set_current_stream(id_of(stream));
    return stream_of(before);
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return reinterpret_cast<void*>(stream.id()); }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (!*event) *event = new Event;
    *static_cast<Event*>(*event) = simulated_cuda::record(id_of(stream));
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event) wait_for(id_of(stream), *static_cast<Event*>(event));
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
  bool queryEvent(void* event) const override { return !event || is_done(*static_cast<Event*>(event)); }
  bool queryStream(const c10::Stream& stream) const override { return is_done(simulated_cuda::record(id_of(stream))); }
  void synchronizeStream(const c10::Stream& stream) const override {
    count(&Counts::waited, "waited for a stream");
    finish(id_of(stream));
  }
  void synchronizeEvent(void* event) const override {
    count(&Counts::waited, "waited for an event");
    if (event) finish(*static_cast<Event*>(event));
  }
  void synchronizeDevice(const c10::DeviceIndex device) const override {
    count(&Counts::waited, "waited for the device");
    finish_device(device);
  }
  void recordDataPtrOnStream(const c10::DataPtr& pointer, const c10::Stream& stream) const override {
    device_allocator.recordStream(pointer, stream);
  }
  c10::DeviceIndex deviceCount() const noexcept override { return static_cast<c10::DeviceIndex>(n_devices()); }

 private:
  static int index_of(c10::Device device) { return device.has_index() ? device.index() : current_device(); }
};

class Hooks final : public at::CUDAHooksInterface {
 public:
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return n_devices() > 0; }
  bool hasCUDA() const override { return n_devices() > 0; }
  int getNumGPUs() const override { return n_devices(); }
  c10::DeviceIndex deviceCount() const override { return static_cast<c10::DeviceIndex>(n_devices()); }
  c10::DeviceIndex current_device() const override { return getCurrentDevice(); }
  c10::DeviceIndex getCurrentDevice() const override {
    return static_cast<c10::DeviceIndex>(simulated_cuda::current_device());
  }
  void setCurrentDevice(c10::DeviceIndex device) const override { set_current_device(device); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    const c10::DeviceIndex before = getCurrentDevice();
    set_current_device(device);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override { return exchangeDevice(device); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isPinnedPtr(const void* place) const override { return PinnedAllocator::instance().owns(place); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &PinnedAllocator::instance(); }
  c10::Allocator* getCUDADeviceAllocator() const override { return &device_allocator; }
  c10::Device getDeviceFromPtr(void* place) const override {
    const std::lock_guard lock(allocations_mutex());
    auto after = allocations().upper_bound(place);
    TORCH_CHECK(after != allocations().begin(), "this pointer is not of a GPU");
    return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(std::prev(after)->second->device));
  }
  void deviceSynchronize(c10::DeviceIndex device) const override {
    count(&Counts::waited, "waited for the device");
    finish_device(device);
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};

// ------------------------------------------------------------------------------------------------------- operators

class OnDevice {
 public:
  explicit OnDevice(std::optional<c10::Device> device) : before_(current_device()) {
    if (device && device->has_index()) set_current_device(device->index());
  }
  ~OnDevice() { set_current_device(before_); }

 private:
  int before_;
};

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                 std::optional<c10::Device> device, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  const OnDevice there(device);
  return at::detail::empty_generic(size, &device_allocator, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout>, std::optional<c10::Device> device, std::optional<bool>) {
  const OnDevice there(device);
  return at::detail::empty_strided_generic(size, stride, &device_allocator, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                           c10::dtype_or_default(dtype));
}

bool is_here(const at::Tensor& t) { return t.device().is_cuda(); }

// The memory of a tensor, without holding it: as a GPU's copy, which trusts that it stays.
struct Raw {
  explicit Raw(const at::Tensor& t)
      : data(t.numel() ? const_cast<void*>(t.const_data_ptr()) : nullptr),
        sizes(t.sizes().vec()),
        strides(t.strides().vec()),
        dtype(t.scalar_type()),
        device(is_here(t) ? t.device().index() : -1) {}
  at::Tensor tensor() const { return at::from_blob(data, sizes, strides, at::TensorOptions(dtype)); }

  void* data;
  std::vector<int64_t> sizes, strides;
  c10::ScalarType dtype;
  int device;
};

void copy_raw(const Raw& to, const Raw& from) {
  c10::impl::ExcludeDispatchKeyGuard below(c10::autograd_dispatch_keyset);
  const int threads = at::get_num_threads();
  if (threads > 1) at::set_num_threads(1);  // LibTorch's other threads hold no Access
  {
    const Access there(std::max(to.device, 0)), here(std::max(from.device, 0));
    to.tensor().copy_(from.tensor());
  }
  if (threads > 1) at::set_num_threads(threads);
}

bool is_pinned(const at::Tensor& t) { return t.numel() > 0 && PinnedAllocator::instance().owns(t.const_data_ptr()); }

at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  const int device = is_here(self) ? self.device().index() : source.device().index();
  const StreamId stream = current_stream(device);
  const Raw to(self), from(source);
  const at::Tensor& on_host = is_here(self) ? source : self;
  if (depth_in_operators > 0) {
    copy_raw(to, from);
  } else if (is_here(self) && is_here(source)) {
    count(&Counts::copied_within, "copied within", self.nbytes());
    submit(stream, [=] { copy_raw(to, from); });
  } else if (non_blocking && is_pinned(on_host)) {
    count(&Counts::queued_copies, "queued a copy", self.nbytes());
    submit(stream, [=] { copy_raw(to, from); });
  } else {
    if (self.numel() > 0) {
      count(is_here(self) ? &Counts::copied_in : &Counts::copied_out, is_here(self) ? "copied in" : "copied out",
            self.nbytes());
    }
    finish(stream);
    copy_raw(to, from);
  }
  return self;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool non_blocking) {
  at::Tensor target = to;
  copy_(target, self, non_blocking);
  return target;
}

const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef size, std::optional<c10::MemoryFormat>) {
  if (self.sizes() == size) return self;
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  const size_t bytes = static_cast<size_t>(self.numel()) * self.element_size();
  if (self.storage().nbytes() < bytes) {
    const OnDevice there(self.device());
    self.storage().set_data_ptr_noswap(device_allocator.allocate(bytes));
    self.storage().set_nbytes(bytes);
  }
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  resize_(to, self.sizes(), {});
  at::Tensor target = to;
  copy_(target, self, false);
  return target;
}

// Every operator that has no function of its own here.
void on_cpu(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  if (depth_in_operators == 0) count(&Counts::operators, op.operator_name().name.c_str());
  finish(current_stream(current_device()));
  const InOperator inside;
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

c10::Scalar read_number(const at::Tensor& self) {
  count(&Counts::numbers_read, "read a number", self.nbytes());
  finish(current_stream(self.device().index()));
  const InOperator inside;
  return self.cpu().item();
}

int64_t attention_by_two_products(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const std::optional<at::Tensor>&, double, bool, std::optional<double>, bool) {
  return 0;  // the fused forms have names of their own on every device
}

void record_stream(at::Tensor& self, c10::Stream stream) {
  device_allocator.recordStream(self.storage().data_ptr(), stream);
}

c10::impl::DeviceGuardImplRegistrar guard(c10::DeviceType::CUDA, new Guard());

[[maybe_unused]] const bool registered = [] {
  c10::SetAllocator(c10::DeviceType::CUDA, &device_allocator, 255);
  at::CUDAHooksRegistry()->Register("CUDAHooks",  // the name that LibTorch looks for
                                    [](at::CUDAHooksArgs arguments) -> std::unique_ptr<at::CUDAHooksInterface> {
                                      return std::make_unique<Hooks>(arguments);
                                    });
  return true;
}();

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("resize_", resize_);
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
  m.impl("_fused_sdp_choice", attention_by_two_products);
  // Whole: inside, LibTorch chooses operators that libtorch_cuda.so alone has.
  m.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
  m.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
  m.impl("_local_scalar_dense", read_number);
  m.impl("record_stream", record_stream);
}

}  // namespace
}  // namespace simulated_cuda
