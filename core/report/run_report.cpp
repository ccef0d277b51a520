#include "core/report/run_report.hpp"

#include <fmt/format.h>

#include <fstream>

#include "core/base/json.hpp"
#include "core/report/html.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

std::vector<Json> read_lines(const std::filesystem::path& file) {
  std::vector<Json> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    Json j = Json::parse(line, nullptr, false);
    if (j.is_object()) lines.push_back(std::move(j));
  }
  return lines;
}

std::vector<std::string> encode(const std::vector<ByteImage>& images) {
  std::vector<std::string> pngs;
  for (const ByteImage& image : images) pngs.push_back(encode_png(image));
  return pngs;
}

// Rows of `columns` images, without labels.
Strips rows_of(const std::vector<ByteImage>& images, size_t columns) {
  Strips strips;
  for (size_t first = 0; first < images.size(); first += columns) {
    const auto from = images.begin() + static_cast<std::ptrdiff_t>(first);
    strips.rows.push_back(
        {"", encode({from, from + static_cast<std::ptrdiff_t>(std::min(columns, images.size() - first))})});
  }
  return strips;
}

Strips strips_of(const std::vector<double>& times, const std::vector<std::vector<ByteImage>>& rows) {
  Strips strips;
  for (const double t : times) strips.columns.push_back(fmt::format("t = {:.3g}", t));
  for (const auto& row : rows) strips.rows.push_back({"", encode(row)});
  return strips;
}

void add_summary(Page& page, const RunReport& r) {
  double seconds = 0;
  int64_t images = 0;
  for (const Json& j : read_lines(r.timing_file)) {
    seconds += j.value("seconds", 0.0);
    images += j.value("to_image", int64_t{0}) - j.value("from_image", int64_t{0});
  }
  const TrainingState& state = r.trained.state;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"Data", r.data},
      {"Model", fmt::format("{}, {} parameters", r.pipeline.model.plugin->id(),
                            grouped(static_cast<uint64_t>(r.trained.layout.count())))}};
  if (r.pipeline.train) {
    facts.emplace_back("Training", fmt::format("{} images in {} steps", grouped(static_cast<uint64_t>(state.images)),
                                               grouped(static_cast<uint64_t>(state.step))));
    if (seconds > 0) {
      facts.emplace_back("Training time", fmt::format("{}, {:.0f} images/s, {} threads", readable_duration(seconds),
                                                      static_cast<double>(images) / seconds, state.threads));
    }
  } else {
    facts.emplace_back("Training", "none: the model is fitted in closed form");
  }
  facts.emplace_back("Sampler",
                     fmt::format("{}, {} evaluations of the network an image", r.chosen.name, r.chosen.samples.nfe));
  page.key_values(facts);
  page.notice("Prior", r.prior + ".");
}

// Pairs in rows: a sample, and below it the training image nearest to it.
void add_nearest(Page& page, const NearestTraining& nearest) {
  constexpr size_t columns = 8, shown = 16;
  page.heading("Nearest training images");
  page.paragraph(
      "Below each sample is the training image nearest to it, by the root mean square difference of pixel values in "
      "[0, 1], which is given above it. A model that copies has distances near 0.");
  if (nearest.copies)
    page.paragraph(
        fmt::format("For {} of {} samples it is the very image whose corrupted form the trajectory started from.",
                    *nearest.copies, nearest.samples.size()));
  const size_t count = std::min(shown, nearest.samples.size());
  for (size_t first = 0; first < count; first += columns) {
    Strips strips{{}, {{"sample", {}}, {"nearest", {}}}};
    for (size_t i = first; i < std::min(first + columns, count); ++i) {
      strips.columns.push_back(fmt::format("{:.3f}", nearest.found[i].distance));
      strips.rows[0].images.push_back(encode_png(nearest.samples[i]));
      strips.rows[1].images.push_back(encode_png(nearest.training[i]));
    }
    page.strips(strips);
  }
}

void add_samplers(Page& page, const RunReport& r) {
  page.heading("Every sampler on the same seeds");
  page.paragraph("One column is one seed: the same start, the same key of the corruption, the same noise.");
  Strips strips;
  constexpr size_t columns = 10;
  for (const SamplerGrid& s : r.samplers) {
    const size_t n = std::min(columns, s.samples.images.size());
    strips.rows.push_back(
        {fmt::format("{} ({} NFE)", s.name, s.samples.nfe),
         encode({s.samples.images.begin(), s.samples.images.begin() + static_cast<std::ptrdiff_t>(n)})});
  }
  page.strips(strips);
  for (const SamplerGrid& s : r.samplers) {
    page.subheading(s.name);
    page.strips(rows_of(s.samples.images, 12));
  }
}

void add_schedule(Page& page, const RunReport& r) {
  const Path& path = r.trained.process->path();
  std::vector<double> t;
  for (size_t i = 0; i < path.levels().size(); ++i)
    t.push_back(static_cast<double>(i) / static_cast<double>(path.levels().size() - 1));
  const std::string unit = r.trained.process->corruption().level_unit();
  page.heading("Schedule");
  Plot level{
      "Corruption level",           "t", unit.empty() ? "level(t)" : fmt::format("level(t) ({})", unit), false, false,
      {{"level", t, path.levels()}}};
  Plot sigma{"Noise", "t", "sigma(t)", false, path.sigmas().front() > 0, {{"sigma", t, path.sigmas()}}};
  Series level_nodes{"sampling nodes", {}, {}, false, true}, sigma_nodes = level_nodes;
  for (const double node : sampling_nodes(path, r.pipeline.sample)) {
    level_nodes.x.push_back(node);
    level_nodes.y.push_back(path.level(node));
    sigma_nodes.x.push_back(node);
    sigma_nodes.y.push_back(path.sigma(node));
  }
  level.series.push_back(level_nodes);
  sigma.series.push_back(sigma_nodes);
  page.plot(level);
  page.plot(sigma);
}

std::string loss_label(const Settings& train) {
  const double clean_weight = train.real("clean_weight");
  return fmt::format("loss at {}, weight {}{}", train.text("loss_at"), train.text("weight"),
                     clean_weight > 0 ? fmt::format(", clean weight {:g}", clean_weight) : "");
}

void add_loss(Page& page, const RunReport& r) {
  if (!r.pipeline.train) return;
  Series raw{"mean of each line of metrics.jsonl", {}, {}}, smooth{"running mean", {}, {}};
  raw.faint = true;
  double mean = 0, weight = 0;
  for (const Json& j : read_lines(r.metrics_file)) {
    if (!j.contains("loss") || !j["loss"].is_number()) continue;
    const double loss = j["loss"].get<double>();
    mean = 0.9 * mean + 0.1 * loss;  // exponential, with the start's bias taken out
    weight = 0.9 * weight + 0.1;
    for (Series* s : {&raw, &smooth}) s->x.push_back(j.value("images", 0.0));
    raw.y.push_back(loss);
    smooth.y.push_back(mean / weight);
  }
  page.heading("Loss");
  page.plot({"Training loss", "images seen", loss_label(*r.pipeline.train), false, true, {raw, smooth}});
}

}  // namespace

std::string render_report(const RunReport& r) {
  Page page(r.pipeline.run.text("name"), "sdpipe run report");
  add_summary(page, r);
  if (r.is_compared) page.links({{"Comparison: quality against evaluations", "ablation/report.html"}});
  page.heading("Samples");
  page.strips(rows_of(r.chosen.samples.images, 8));
  if (r.nearest) add_nearest(page, *r.nearest);
  add_samplers(page, r);
  page.heading("The path of an image");
  page.paragraph("x_t = C_t x_0 + sigma_t eps: what the network is given, from nearly clean to fully corrupted.");
  page.strips(strips_of(r.path.times, r.path.x_t));
  page.heading("What the model believes");
  page.paragraph("x0_hat = E[x_0 | x_t], one evaluation on each of the images above.");
  page.strips(strips_of(r.path.times, r.path.x0_hat));
  add_schedule(page, r);
  add_loss(page, r);
  page.heading("Settings");
  page.preformatted(r.resolved);
  return page.render();
}

}  // namespace sdpipe
