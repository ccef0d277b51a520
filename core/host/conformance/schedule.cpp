#include <cmath>

#include "core/host/conformance/measure.hpp"

namespace sdpipe {

using namespace conformance;

std::vector<LawResult> check_schedule(const Plugin& plugin, const Settings& settings, const SampleShape& shape) {
  // The face refuses what is not monotone, not finite, does not begin at 0 or ends beyond the corruption's largest
  // level; its sentence is the finding.
  const auto select = [&](uint32_t n) {
    const Schedule schedule(plugin, settings);
    std::pair<std::vector<double>, std::vector<double>> path;
    schedule.select(NoiseCalibration(shape, at::kFloat), n, schedule.fills_level() ? &path.first : nullptr,
                    schedule.fills_sigma() ? &path.second : nullptr);
    return path;
  };
  const auto ends_apart = [](const std::vector<double>& a, const std::vector<double>& b) {
    return !a.empty() && std::abs(a.back() - b.back()) > 1e-6 * std::abs(a.back());
  };
  const bool fills = plugin.has(SDP_CAP_FILLS_LEVEL) || plugin.has(SDP_CAP_FILLS_SIGMA);
  if (!fills)
    return {{"schedule.fills_something", false, "it sets neither SDP_CAP_FILLS_LEVEL nor SDP_CAP_FILLS_SIGMA"}};
  return {
      stated("schedule.fills_something", [] { return std::string(); }),
      stated("schedule.monotone_with_right_ends", [&]() -> std::string { return select(1025), ""; }),
      stated("schedule.any_length",
             [&]() -> std::string {
               const auto two = select(2), more = select(33);
               if (!ends_apart(two.first, more.first) && !ends_apart(two.second, more.second)) return "";
               return "with 2 points the path ends elsewhere than with 33";
             }),
      stated("schedule.repeatable",
             [&]() -> std::string {
               return select(257) == select(257) ? "" : "two calls on equal data gave different paths";
             }),
  };
}

}  // namespace sdpipe
