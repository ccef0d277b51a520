#include "core/cli/signals.hpp"

#include <unistd.h>
#include <csignal>
#include <cstring>

#include "core/base/error.hpp"
#include "core/host/services.hpp"

namespace sdpipe {
namespace {

std::atomic<bool> stop{false};

// Only what is safe in a signal handler: lock-free atomics, write, _exit.
void say(const char* text) {
  const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text));
  static_cast<void>(ignored);
}

void on_stop(int signal) {
  if (stop.exchange(true)) ::_exit(128 + signal);
  say("\nstopping: the state is saved after this step; a second signal exits at once\n");
}

void on_crash(int signal) {
  const char* plugin = plugin_of_this_thread();
  say("\nerror: the program crashed");
  if (plugin) {
    say(" inside plugin \"");
    say(plugin);
    say("\"; checkpoints already written are whole, run again without it or with a mended one\n");
    ::_exit(static_cast<int>(Exit::plugin));
  }
  say("\n");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_stop;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
}

void install_crash_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_crash;
  action.sa_flags = static_cast<int>(SA_NODEFER | SA_RESETHAND);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(signal, &action, nullptr);
}

const std::atomic<bool>& stop_requested() { return stop; }

}  // namespace sdpipe
