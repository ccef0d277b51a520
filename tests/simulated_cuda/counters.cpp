#include "counters.hpp"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

namespace simulated_cuda {
namespace {

constexpr std::pair<const char*, size_t Counts::*> all[] = {
    {"copied_in", &Counts::copied_in},         {"copied_out", &Counts::copied_out},
    {"numbers_read", &Counts::numbers_read},   {"waited", &Counts::waited},
    {"operators", &Counts::operators},         {"kernels", &Counts::kernels},
    {"copied_within", &Counts::copied_within}, {"queued_copies", &Counts::queued_copies}};

std::mutex& mutex() {
  static auto& m = *new std::mutex();
  return m;
}
Counts total;

bool is_traced(bool is_wait) {
  static const char* wanted = std::getenv("SIMULATED_CUDA_TRACE");
  return wanted && std::string(wanted) == (is_wait ? "waits" : "operators");
}

[[maybe_unused]] const bool reports = [] {
  if (std::getenv("SIMULATED_CUDA_COUNTS")) {
    std::atexit([] {
      if (std::FILE* file = std::fopen(std::getenv("SIMULATED_CUDA_COUNTS"), "w")) {
        std::fputs(to_text(counts()).c_str(), file);
        std::fclose(file);
      }
    });
  }
  return true;
}();

}  // namespace

void count(size_t Counts::*which, const char* what, size_t bytes) {
  const std::lock_guard lock(mutex());
  const size_t waits = total.waits();
  total.*which += 1;
  if (is_traced(total.waits() > waits)) std::fprintf(stderr, "simulated CUDA: %s, %zu bytes\n", what, bytes);
}

Counts counts() {
  const std::lock_guard lock(mutex());
  return total;
}

Counts operator-(const Counts& a, const Counts& b) {
  Counts difference = a;
  for (const auto& [name, member] : all) difference.*member -= b.*member;
  return difference;
}

std::string to_text(const Counts& c) {
  std::string text;
  for (const auto& [name, member] : all) text += std::string(name) + " " + std::to_string(c.*member) + "\n";
  return text + "waits " + std::to_string(c.waits()) + "\nqueued " + std::to_string(c.queued()) + "\n";
}

}  // namespace simulated_cuda
