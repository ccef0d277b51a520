#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/trajectory.hpp"
#include "core/report/svg.hpp"

namespace sdpipe {
namespace {

struct Node {
  double t, level, sigma;
};

std::vector<Node> chosen_nodes(const Pipeline& pipeline, const Path& path) {
  std::vector<Node> nodes = {{0, path.level(0), path.sigma(0)}};
  for (const double t : sampling_nodes(path, pipeline.sample.integer("steps"), pipeline.sample.text("spacing")))
    nodes.push_back({t, path.level(t), path.sigma(t)});
  return nodes;
}

std::string draw(const Path& path, const std::vector<Node>& nodes, const std::string& unit) {
  Series line{"level", {}, path.levels()}, dots{"sampling nodes", {}, {}, false, true};
  for (size_t i = 0; i < path.levels().size(); ++i)
    line.x.push_back(static_cast<double>(i) / static_cast<double>(path.levels().size() - 1));
  for (const Node& n : nodes) {
    dots.x.push_back(n.t);
    dots.y.push_back(n.level);
  }
  return render(Plot{"Corruption level",
                     "t",
                     unit.empty() ? "level(t)" : fmt::format("level(t) ({})", unit),
                     false,
                     false,
                     {line, dots}});
}

void print_table(const std::vector<Node>& nodes, const std::string& unit) {
  const std::string header = unit.empty() ? "level" : fmt::format("level ({})", unit);
  fmt::print("{:>10} {:>14} {:>12}\n", "t", header, "sigma");
  for (const Node& n : nodes) fmt::print("{:>10.4f} {:>14.6g} {:>12.6g}\n", n.t, n.level, n.sigma);
}

}  // namespace

int schedule(Session& session, const ScheduleArguments& arguments) {
  install_stop_handlers();
  const Pipeline pipeline = session.load(arguments.file, arguments.overrides);
  const auto source = open_source(data_options(pipeline));
  const auto corruption = make_corruption(pipeline, sample_shape(source->shape()));
  const uint64_t seed = static_cast<uint64_t>(pipeline.run.integer("seed"));
  const DataCalibration data(*source, *corruption, tensor_options(pipeline), calibration_images, calibration_batch,
                             seed);
  const Path path = select_path(pipeline, data, &stop_requested());
  const std::vector<Node> nodes = chosen_nodes(pipeline, path);
  if (!arguments.svg.empty()) write_file(arguments.svg, draw(path, nodes, corruption->level_unit()));
  if (!arguments.json) {
    print_table(nodes, corruption->level_unit());
    return 0;
  }
  Json list = Json::array();
  for (const Node& n : nodes) list.push_back({{"t", n.t}, {"level", n.level}, {"sigma", n.sigma}});
  fmt::print("{}\n", Json{{"level_unit", corruption->level_unit()}, {"nodes", list}}.dump(1));
  return 0;
}

}  // namespace sdpipe
