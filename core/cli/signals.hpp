// SIGTERM, SIGINT, SIGUSR1: finish the step, save, exit 75; a second one exits at once. A crash inside a plugin names it.
#pragma once

#include <atomic>

namespace sdpipe {

void install_signal_handlers();
// True after the first signal.
const std::atomic<bool>& stop_requested();

}  // namespace sdpipe
