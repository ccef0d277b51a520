#include "streams.hpp"

#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "simulated_cuda.hpp"

namespace simulated_cuda {
namespace {

// Recursive: work may release memory, which is work again.
std::recursive_mutex& mutex() {
  static auto& m = *new std::recursive_mutex();
  return m;
}

class Queue {
 public:
  void add(Work work) { waiting_.push_back(std::move(work)); }
  uint64_t end() const { return done_ + waiting_.size(); }
  bool has_done(uint64_t position) const { return done_ >= position; }
  void finish(uint64_t position) {
    while (done_ < position) {
      const Work work = std::move(waiting_.front());
      waiting_.pop_front();
      ++done_;
      work();
    }
  }

 private:
  std::deque<Work> waiting_;
  uint64_t done_ = 0;
};

std::map<StreamId, Queue>& queues() {
  static auto& all = *new std::map<StreamId, Queue>();
  return all;
}

bool& deferred() {
  static bool is = [] {
    const char* wanted = std::getenv("SIMULATED_CUDA_STREAMS");
    return wanted && std::string_view(wanted) == "deferred";
  }();
  return is;
}

thread_local int device_of_thread = 0;
thread_local std::map<int, int64_t> streams_of_thread;

}  // namespace

StreamId make_stream(int device) {
  const std::lock_guard lock(mutex());
  static int64_t made = 0x100;  // apart from CUDA's special streams, 1 and 2
  const StreamId stream{device, made += 0x10};
  queues()[stream];
  return stream;
}

bool is_stream(const StreamId& stream) {
  const std::lock_guard lock(mutex());
  return stream.number == 0 || queues().contains(stream);
}

void submit(const StreamId& stream, Work work) {
  const std::lock_guard lock(mutex());
  queues()[stream].add(std::move(work));
  if (!deferred()) finish(stream);
}

void submit_release(const StreamId& stream, Work work) {
  const std::lock_guard lock(mutex());
  Queue& queue = queues()[stream];
  if (queue.has_done(queue.end())) return work();
  queue.add(std::move(work));
}

Event record(const StreamId& stream) {
  const std::lock_guard lock(mutex());
  return {stream, queues()[stream].end()};
}

void wait_for(const StreamId& stream, const Event& event) {
  submit(stream, [event] { finish(event); });
}

bool is_done(const Event& event) {
  const std::lock_guard lock(mutex());
  return queues()[event.stream].has_done(event.position);
}

void finish(const StreamId& stream) {
  const std::lock_guard lock(mutex());
  Queue& queue = queues()[stream];
  queue.finish(queue.end());
}

void finish(const Event& event) {
  const std::lock_guard lock(mutex());
  queues()[event.stream].finish(event.position);
}

void finish_device(int device) {
  const std::lock_guard lock(mutex());
  for (auto& [stream, queue] : queues())
    if (stream.device == device) queue.finish(queue.end());
}

void keep_until_done(std::function<void()> release) {
  const std::lock_guard lock(mutex());
  const std::shared_ptr<void> held(nullptr, [release = std::move(release)](void*) { release(); });
  for (auto& [stream, queue] : queues())
    if (!queue.has_done(queue.end())) queue.add([held] {});
}

void defer_work(bool wanted) { deferred() = wanted; }

int current_device() { return device_of_thread; }
void set_current_device(int device) { device_of_thread = device; }
StreamId current_stream(int device) { return {device, streams_of_thread[device]}; }
void set_current_stream(const StreamId& stream) { streams_of_thread[stream.device] = stream.number; }

}  // namespace simulated_cuda
