// Streams and events. Work on one stream is done in its order. It is done when it is queued or, where work is deferred,
// when somebody waits for it: the host for a stream, one stream for an event of another, an operator for its own
// stream.
#pragma once

#include <cstdint>
#include <functional>

namespace simulated_cuda {

using Work = std::function<void()>;

struct StreamId {
  int device = 0;
  int64_t number = 0;  // 0: the device's default stream

  auto operator<=>(const StreamId&) const = default;
};

struct Event {
  StreamId stream;
  uint64_t position = 0;  // done once so many pieces of its stream's work are
};

StreamId make_stream(int device);
// Does the device have this stream?
bool is_stream(const StreamId& stream);

void submit(const StreamId& stream, Work work);
// At once where nothing waits on the stream: what frees memory.
void submit_release(const StreamId& stream, Work work);
Event record(const StreamId& stream);
void wait_for(const StreamId& stream, const Event& event);  // the stream does, not the host
bool is_done(const Event& event);

// Returns once the work is done.
void finish(const StreamId& stream);
void finish(const Event& event);
void finish_device(int device);

// Keeps what `held` owns until all that is queued now on any stream is done.
void keep_until_done(std::function<void()> release);

// The device and, for each device, the stream that this thread uses.
int current_device();
void set_current_device(int device);
StreamId current_stream(int device);
void set_current_stream(const StreamId& stream);

}  // namespace simulated_cuda
