#include <ATen/TensorOperators.h>
#include <ATen/ops/sum.h>
#include <fmt/format.h>

#include <cmath>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/trajectory.hpp"
#include "core/report/svg.hpp"

namespace sdpipe {
namespace {

struct Node {
  double t, level, sigma, change;
};

struct ChosenPath {
  Path path;
  std::vector<Node> nodes;         // where a sampler stops, and t = 0
  std::string unit;                // of the levels
  std::vector<std::string> notes;  // what the schedules said while they chose
  int64_t images;                  // that `change` was measured on
};

// sqrt(E |C_t x_0 - C_s x_0|^2) over the first batch: what the corruption alone does between two levels. With the same
// x_0 and key on both sides it is a coupling, so never less than W2 between the two distributions; and it can be
// measured for every schedule, whatever that one measures itself.
class Change {
 public:
  explicit Change(const DataCalibration& data) : data_(data), last_(data.corrupt(0, 0)) {}
  // From the level before; the first time, from 0.
  double to(double level) {
    const at::Tensor here = data_.corrupt(0, level);
    const at::Tensor moved = (here - last_).square();
    last_ = here;
    return std::sqrt(moved.sum(at::kDouble).item<double>() / static_cast<double>(here.size(0)));
  }
  int64_t images() const { return last_.size(0); }

 private:
  const DataCalibration& data_;
  at::Tensor last_;
};

ChosenPath choose(const Pipeline& pipeline) {
  const auto source = open_source(data_options(pipeline));
  const auto corruption = make_corruption(pipeline, sample_shape(source->shape()));
  const uint64_t seed = static_cast<uint64_t>(pipeline.run.integer("seed"));
  const DataCalibration data(*source, *corruption, tensor_options(pipeline), calibration_images, calibration_batch,
                             seed);
  std::vector<std::string> notes;
  const auto select = [&] {
    const LogListener listener([&](LogLevel, const std::string& text) { notes.push_back(text); });
    return select_path(pipeline, data, &stop_requested());
  };
  ChosenPath chosen{select(), {}, corruption->level_unit(), std::move(notes), 0};
  Change change(data);
  chosen.images = change.images();
  std::vector<double> times = {0};
  for (const double t : sampling_nodes(chosen.path, pipeline.sample)) times.push_back(t);
  for (const double t : times) {
    const double level = chosen.path.level(t);
    chosen.nodes.push_back({t, level, chosen.path.sigma(t), change.to(level)});
  }
  return chosen;
}

std::string with_unit(const std::string& word, const std::string& unit) {
  return unit.empty() ? word : fmt::format("{} ({})", word, unit);
}

// The change between two nodes, as high all the way from one to the other; from 0 and back to it.
Series stairs(const std::vector<Node>& nodes) {
  Series outline{"", {0}, {0}};
  for (size_t k = 1; k < nodes.size(); ++k) {
    outline.x.insert(outline.x.end(), {nodes[k - 1].t, nodes[k].t});
    outline.y.insert(outline.y.end(), {nodes[k].change, nodes[k].change});
  }
  outline.x.push_back(nodes.back().t);
  outline.y.push_back(0);
  return outline;
}

std::string draw(const ChosenPath& chosen) {
  const Path& path = chosen.path;
  std::vector<double> t;
  for (size_t i = 0; i < path.levels().size(); ++i)
    t.push_back(static_cast<double>(i) / static_cast<double>(path.levels().size() - 1));
  Series level_nodes{"sampling nodes", {}, {}, false, true}, sigma_nodes = level_nodes;
  for (const Node& n : chosen.nodes) {
    level_nodes.x.push_back(n.t);
    level_nodes.y.push_back(n.level);
    sigma_nodes.x.push_back(n.t);
    sigma_nodes.y.push_back(n.sigma);
  }
  return render(std::vector<Plot>{
      {"Corruption level",
       "t",
       with_unit("level(t)", chosen.unit),
       false,
       false,
       {{"level", t, path.levels()}, level_nodes}},
      {"Noise", "t", "sigma(t)", false, path.sigmas().front() > 0, {{"sigma", t, path.sigmas()}, sigma_nodes}},
      {"Change of the corrupted images between nodes", "t", "root mean square", false, false, {stairs(chosen.nodes)}}});
}

void print_table(const ChosenPath& chosen) {
  fmt::print("{:>10} {:>14} {:>12} {:>12}\n", "t", with_unit("level", chosen.unit), "sigma", "change");
  for (const Node& n : chosen.nodes)
    fmt::print("{:>10.4f} {:>14.6g} {:>12.6g} {:>12.4g}\n", n.t, n.level, n.sigma, n.change);
  fmt::print("\nchange: sqrt(E |C_t x_0 - C_s x_0|^2) from the node before, over {} images; W2 is at most that\n",
             chosen.images);
}

void print_json(const ChosenPath& chosen) {
  Json list = Json::array();
  for (const Node& n : chosen.nodes)
    list.push_back({{"t", n.t}, {"level", n.level}, {"sigma", n.sigma}, {"change", n.change}});
  fmt::print("{}\n", Json{{"level_unit", chosen.unit},
                          {"nodes", list},
                          {"notes", chosen.notes},
                          {"change_images", chosen.images},
                          {"path", {{"level", chosen.path.levels()}, {"sigma", chosen.path.sigmas()}}}}
                         .dump(1));
}

}  // namespace

int schedule(Workspace& workspace, const ScheduleArguments& arguments) {
  install_stop_handlers();
  const ChosenPath chosen = choose(workspace.load(arguments.file, arguments.overrides));
  if (!arguments.svg.empty()) write_file(arguments.svg, draw(chosen));
  arguments.json ? print_json(chosen) : print_table(chosen);
  return 0;
}

}  // namespace sdpipe
