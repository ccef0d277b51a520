// The simulated GPU itself: each fault that it is there to find is planted here once.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <stdexcept>

#include "core/host/gpu.hpp"
#include "tests/device/planted.hpp"
#include "tests/message_of.hpp"
#include "tests/simulated_cuda/simulated_cuda.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

namespace sdpipe::testing {
namespace {

const at::Device gpu(at::kCUDA, 0), other_gpu(at::kCUDA, 1);
const at::TensorOptions on_gpu = at::TensorOptions(at::kFloat).device(gpu);

c10::impl::VirtualGuardImpl cuda() { return c10::impl::VirtualGuardImpl(at::kCUDA); }

// Does it end in SIGSEGV? In a process of its own.
bool crashes(const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    action();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

// Work waits until somebody waits for it, as long as this lives.
struct Deferred {
  Deferred() { simulated_cuda::defer_work(true); }
  ~Deferred() {
    cuda().synchronizeDevice(0);
    simulated_cuda::defer_work(false);
  }
};

at::Tensor pinned(int64_t n, float value) {
  return at::full({n}, value, at::TensorOptions(at::kFloat).pinned_memory(true));
}

}  // namespace

TEST_CASE("Host code that touches a GPU's memory does not survive, nor does a kernel past the end of a tensor") {
  const at::Tensor x = at::ones({256}, on_gpu);
  float* data = x.data_ptr<float>();
  volatile float read = 0;
  CHECK(crashes([&] { read = data[0]; }));
  CHECK(crashes([&] { data[255] = 1; }));
  CHECK_FALSE(crashes([&] { read = x[255].item<float>(); }));
  CHECK(crashes([&] { launch_past_the_end(data, nullptr); }));
  CHECK(x.sum().item<float>() == 256);
}

TEST_CASE("Memory that is freed is gone, and memory that is new holds NaN") {
  at::Tensor x = at::ones({256}, on_gpu), y = at::empty({256}, on_gpu);
  CHECK(y.isnan().all().item<bool>());
  float* freed = x.data_ptr<float>();
  x = at::Tensor();
  CHECK(crashes([&] { launch_reversed(freed, y.data_ptr<float>(), nullptr); }));
}

TEST_CASE("A kernel with its barriers gives one result in every order of its threads, one without gives others") {
  const at::Tensor x = at::arange(256, at::kFloat).to(gpu), y = at::empty({256}, on_gpu);
  const at::Tensor right = x.flip({0});
  int wrong = 0;
  for (unsigned seed = 0; seed < 4; ++seed) {
    simulated_cuda::set_order(seed);
    REQUIRE(launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), nullptr) == 0);
    CHECK(y.equal(right));
    REQUIRE(launch_reversed_without_barrier(x.data_ptr<float>(), y.data_ptr<float>(), nullptr) == 0);
    wrong += y.equal(right) ? 0 : 1;
  }
  simulated_cuda::set_order(1);
  CHECK(wrong == 4);
}

TEST_CASE("Threads that wait at different barriers are reported, and the next kernel runs as ever") {
  const at::Tensor x = at::arange(256, at::kFloat).to(gpu), y = at::empty({256}, on_gpu);
  const std::string said = message_of<std::runtime_error>([&] { launch_split_barrier(y.data_ptr<float>(), nullptr); });
  CHECK(said.starts_with("simulated CUDA: threads of a block wait at different __syncthreads(), of lines "));
  REQUIRE(launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), nullptr) == 0);
  CHECK(y.equal(x.flip({0})));
}

TEST_CASE("Shared memory that nobody wrote is NaN, and the lanes of a warp exchange what they hold") {
  const at::Tensor x = at::arange(256, at::kFloat).to(gpu), y = at::empty({256}, on_gpu);
  REQUIRE(launch_unwritten(y.data_ptr<float>(), nullptr) == 0);
  CHECK(y.isnan().all().item<bool>());
  REQUIRE(launch_warp_sums(x.data_ptr<float>(), y.data_ptr<float>(), nullptr) == 0);
  CHECK(y.cpu().equal(x.cpu().view({8, 32}).sum(1, /*keepdim=*/true).expand({8, 32}).reshape({256})));
}

TEST_CASE("Deferred work of another stream is not there until somebody waits for it") {
  const Deferred deferred;
  const c10::Stream side = cuda().getStreamFromGlobalPool(gpu);
  const at::Tensor source = pinned(256, 3), x = at::empty({256}, on_gpu);
  const auto copied = [&](bool waits) {
    {
      const c10::StreamGuard on_side(side);
      x.copy_(source, /*non_blocking=*/true);
    }
    c10::Event done(at::kCUDA);
    done.record(side);
    if (waits) done.block(cuda().getStream(gpu));
    return x.equal(at::full({256}, 3, on_gpu));
  };
  CHECK_FALSE(copied(false));
  CHECK(copied(true));
}

TEST_CASE("A queued copy reads what pinned memory holds when it is done, not when it was queued") {
  const Deferred deferred;
  const at::Tensor source = pinned(256, 3), x = at::empty({256}, on_gpu);
  x.copy_(source, /*non_blocking=*/true);
  source.fill_(4);
  CHECK(x.equal(at::full({256}, 4, on_gpu)));
}

TEST_CASE("Memory that another stream still uses must be recorded for it before it is freed") {
  const auto freed_while_used = [](bool recorded) {
    const Deferred deferred;
    const c10::Stream side = cuda().getStreamFromGlobalPool(gpu);
    at::Tensor x = at::ones({256}, on_gpu);
    const at::Tensor y = at::empty({256}, on_gpu);
    launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), side.native_handle());
    if (recorded) x.record_stream(side);
    x = at::Tensor();
    cuda().synchronizeStream(side);
  };
  CHECK(crashes([&] { freed_while_used(false); }));
  CHECK_FALSE(crashes([&] { freed_while_used(true); }));
}

TEST_CASE("A kernel reaches neither the memory nor the streams of another GPU") {
  const at::Tensor x = at::ones({256}, on_gpu.device(other_gpu)), y = at::empty({256}, on_gpu.device(other_gpu));
  CHECK(crashes([&] { launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), nullptr); }));
  const c10::Stream of_other = cuda().getStreamFromGlobalPool(other_gpu);
  CHECK(launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), of_other.native_handle()) == 400);
  const c10::DeviceGuard on_other(other_gpu);
  CHECK(launch_reversed(x.data_ptr<float>(), y.data_ptr<float>(), of_other.native_handle()) == 0);
}

TEST_CASE("What the host waits for is counted: copies of memory that is not pinned, numbers, and waits by name") {
  const at::Tensor from_host = at::ones({8}), from_pinned = pinned(8, 1), x = at::empty({8}, on_gpu);
  const auto counted = [](const std::function<void()>& action) {
    const simulated_cuda::Counts before = simulated_cuda::counts();
    action();
    const simulated_cuda::Counts found = simulated_cuda::counts() - before;
    return std::pair(found.waits(), found.queued());
  };
  using Pair = std::pair<size_t, size_t>;
  CHECK(counted([&] { x.copy_(from_host); }) == Pair(1, 0));
  CHECK(counted([&] { x.copy_(from_pinned, true); }) == Pair(0, 1));
  CHECK(counted([&] { x.add_(1); }) == Pair(0, 1));
  CHECK(counted([&] { x.clone(); }) == Pair(0, 1));
  CHECK(counted([&] { x.cpu(); }) == Pair(1, 0));
  CHECK(counted([&] { wait_for(gpu); }) == Pair(1, 0));
}

}  // namespace sdpipe::testing
