// What an error says, to be compared whole.
#pragma once

#include <string>

namespace sdpipe::testing {

// The message of the error of type E that `action` throws. Other errors pass through.
template <class E, class F>
std::string message_of(F action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  }
  return "no such error";
}

}  // namespace sdpipe::testing
