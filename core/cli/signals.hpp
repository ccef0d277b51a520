// SIGTERM, SIGINT, SIGUSR1: finish the step, save, exit 75; a second one exits at once. A crash inside a plugin names
// it.
#pragma once

#include <atomic>

namespace sdpipe {

void install_crash_handlers();
// For verbs that look at stop_requested(); the others end at once, as programs do.
void install_stop_handlers();
// True after the first signal.
const std::atomic<bool>& stop_requested();

}  // namespace sdpipe
