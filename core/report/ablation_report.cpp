#include "core/report/ablation_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include "core/report/ablation_table.hpp"
#include "core/report/html.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

constexpr size_t readable_curves = 8;  // in one plot: as many colours as there are

bool has(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Rows that differ in steps alone: each is a point against its evaluations. Rows of another number of samples are
// another curve, because scores of few samples are biased.
struct Curve {
  std::string variant, setting;
  std::multimap<double, const RowScore*> values;  // by NFE
};

bool varies_within_a_variant(const Ablation& ablation, const std::string& column) {
  std::map<std::string, std::string> first;
  return std::any_of(ablation.cells.begin(), ablation.cells.end(), [&](const Cell& cell) {
    const std::string text = row_text(cell, column);
    return first.try_emplace(cell.family, text).first->second != text;
  });
}

// What tells curves of one variant apart: what varies beside steps. A key that each variant has one value of
// (soft diffusion starts from images, plain diffusion from noise) is the variant's own and keeps no curves from one
// plot.
std::vector<std::string> columns_within_a_variant(const Ablation& ablation) {
  std::vector<std::string> columns = row_columns(ablation);
  std::erase_if(columns, [&](const std::string& column) {
    const bool is_axis = column == "variant" || column == "steps";
    return is_axis || (column != "sampler" && !varies_within_a_variant(ablation, column));
  });
  return columns;
}

// "ddim", "ddim, prior gaussian".
std::string setting_of(const Cell& cell, const std::vector<std::string>& columns) {
  std::string text;
  for (const std::string& column : columns) {
    const std::string its = row_text(cell, column);
    if (!its.empty()) text += column == "sampler" ? its : fmt::format(", {} {}", column, its);
  }
  return text;
}

// Without cells that failed: what varies among these alone is not told apart in a legend.
Ablation scored_cells(const Ablation& ablation) {
  Ablation scored{{}, {}, ablation.real};
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    if (!ablation.results[i].failure.empty()) continue;
    scored.cells.push_back(ablation.cells[i]);
    scored.results.push_back(ablation.results[i]);
  }
  return scored;
}

std::vector<Curve> curves_of(const Ablation& ablation, const std::vector<Row>& rows, const std::string& score) {
  const std::vector<std::string> columns = columns_within_a_variant(ablation);
  std::vector<Curve> curves;
  for (const Row& row : rows) {
    const RowScore* value = score_of(row, score);
    if (!value) continue;
    const Cell& cell = ablation.cells[row.cells[0]];
    const std::string setting = setting_of(cell, columns);
    auto curve = std::find_if(curves.begin(), curves.end(),
                              [&](const Curve& c) { return c.variant == cell.family && c.setting == setting; });
    if (curve == curves.end()) curve = curves.insert(curves.end(), {cell.family, setting, {}});
    curve->values.emplace(row.nfe, value);
  }
  return curves;
}

// What a training adds is in the spread over trainings, where there are several.
double spread_of(const RowScore& score) {
  return score.training_deviation.value_or(score.sample_deviation.value_or(0));
}

Series series_of(const Curve& curve, const std::string& name) {
  Series series{name, {}, {}};
  series.markers = true;
  for (const auto& [nfe, score] : curve.values) {
    series.x.push_back(nfe);
    series.y.push_back(score->mean);
    series.spread.push_back(spread_of(*score));
  }
  return series;
}

// Every plot of one score: common axes, and the real images' line.
class ScorePlots {
 public:
  ScorePlots(const Ablation& ablation, const std::vector<Row>& rows, const std::string& score)
      : ablation_(ablation), score_(score), curves_(curves_of(ablation, rows, score)) {
    for (const Curve& curve : curves_) {
      const Series series = series_of(curve, "");
      range_.x.insert(range_.x.end(), series.x.begin(), series.x.end());
      range_.y.insert(range_.y.end(), series.y.begin(), series.y.end());
      range_.spread.insert(range_.spread.end(), series.spread.begin(), series.spread.end());
      add_once(variants_, curve.variant);
      add_once(settings_, curve.setting);
    }
    range_.line = false;  // and no markers: it draws nothing
  }

  void add_to(Page& page) const {
    page.subheading(score_);
    const bool one_variant = variants_.size() == 1;
    if (curves_.size() <= readable_curves) {
      page.plot(plot("", curves_, [&](const Curve& c) {
        if (one_variant) return c.setting;
        return settings_.size() == 1 ? c.variant : fmt::format("{}, {}", c.variant, c.setting);
      }));
      return;
    }
    std::vector<Plot> plots;
    for (const std::string& variant : variants_)
      plots.push_back(part(variant, &Curve::variant, [](const Curve& c) { return c.setting; }));
    if (!one_variant) {
      for (const std::string& setting : settings_)
        plots.push_back(part(setting, &Curve::setting, [](const Curve& c) { return c.variant; }));
    }
    page.plots(plots);
  }

 private:
  static void add_once(std::vector<std::string>& names, const std::string& name) {
    if (!has(names, name)) names.push_back(name);
  }

  template <class F>
  Plot part(const std::string& name, std::string Curve::*member, F&& label) const {
    std::vector<Curve> chosen;
    std::copy_if(curves_.begin(), curves_.end(), std::back_inserter(chosen),
                 [&](const Curve& c) { return c.*member == name; });
    Plot small = plot(name, chosen, label);
    small.width = 460;
    small.height = 320;
    return small;
  }

  // Logarithmic where the values span more than a decade.
  bool is_wide() const {
    const auto finite = [](double v) { return std::isfinite(v); };
    double low = INFINITY, high = 0;
    for (const double v : range_.y) {
      if (!finite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    return low > 0 && high > 10 * low;
  }

  template <class F>
  Plot plot(const std::string& title, const std::vector<Curve>& curves, F&& label) const {
    Plot plot{title, "evaluations of the network an image (NFE)", short_name(score_), true, is_wide(), {}};
    for (const Curve& curve : curves) plot.series.push_back(series_of(curve, label(curve)));
    const auto [first, last] = std::minmax_element(range_.x.begin(), range_.x.end());
    for (const RealScores& real : ablation_.real) {
      const Score* value = score_of(real.scores, score_);
      if (!value || range_.x.empty()) continue;
      Series line{fmt::format("{} real images", grouped(static_cast<uint64_t>(value->samples))),
                  {*first, *last},
                  {value->value, value->value}};
      line.faint = true;
      if (const auto deviation = deviation_of(real, score_)) line.spread = {*deviation, *deviation};
      plot.series.push_back(std::move(line));
    }
    plot.series.push_back(range_);  // draws nothing: plots beside each other have the same axes
    return plot;
  }

  const Ablation& ablation_;
  std::string score_;
  std::vector<Curve> curves_;
  std::vector<std::string> variants_, settings_;
  Series range_;
};

void add_strips(Page& page, const AblationReport& r, const Ablation& scored) {
  page.heading("The same seeds under every setting");
  page.paragraph(
      "One column is one sample: the same start, the same key of the corruption, the same noise, of variants with the "
      "same run.seed, and of one prior.");
  std::vector<std::string> columns = columns_within_a_variant(scored);
  std::erase(columns, "count");  // the first images are the same
  Strips strips;
  std::string variant = r.ablation.cells.at(0).family;
  const auto flush = [&] {
    if (strips.rows.empty()) return;
    if (!variant.empty()) page.subheading(variant);
    page.strips(strips);
    strips.rows.clear();
  };
  for (size_t i = 0; i < r.ablation.cells.size(); ++i) {
    const Cell& cell = r.ablation.cells[i];
    if (cell.family != variant) flush();
    variant = cell.family;
    if (r.strips[i].empty()) continue;
    Strips::Row row{fmt::format("{}, {} NFE", setting_of(cell, columns), r.ablation.results[i].nfe), {}};
    const auto same = [&](const Strips::Row& other) { return other.label == row.label; };
    if (std::any_of(strips.rows.begin(), strips.rows.end(), same)) continue;  // the first of several seeds stands here
    for (const ByteImage& image : r.strips[i]) row.images.push_back(encode_png(image));
    strips.rows.push_back(std::move(row));
  }
  flush();
}

void add_numbers(Page& page, const AblationReport& r) {
  page.heading("Every number");
  for (const ScoreTable& score : score_tables(r.ablation)) {
    if (!score.score.empty()) page.subheading(short_name(score.score));
    page.paragraph(score.header);
    page.table(score.table.columns, score.table.rows);
  }
  for (const std::string& note : table_notes(r.ablation)) page.paragraph(note);
}

}  // namespace

std::string render_ablation_report(const AblationReport& r) {
  Page page(r.name, "sdpipe ablation report");
  const auto& results = r.ablation.results;
  const auto failed = std::count_if(results.begin(), results.end(), [](const auto& c) { return !c.failure.empty(); });
  page.key_values({{"Data", r.data},
                   {"Cells", failed ? fmt::format("{}, of which {} failed", results.size(), failed)
                                    : std::to_string(results.size())}});
  page.notice("Scores",
              "Of frechet, sliced_wasserstein and nearest_neighbour less is better, of precision and recall more; "
              "nearest_neighbour far below that of real images means copies. They compare with each other only where "
              "name, features, data and number of samples are the same. None is an FID.");
  page.heading("Quality against evaluations");
  const Ablation scored = scored_cells(r.ablation);
  const std::vector<Row> rows = rows_of(scored);
  if (std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.cells.size() > 1; }))
    page.paragraph(
        "Each point is the mean over the seeds of its setting. Its bar is one standard deviation on either side: over "
        "training seeds where there are several, else over sample seeds. The band is that of real images.");
  for (const std::string& score : score_columns(scored)) ScorePlots(scored, rows, score).add_to(page);
  if (scored.cells.empty())
    page.paragraph("Every cell failed; the reasons stand below the table.");
  else
    add_strips(page, r, scored);
  add_numbers(page, r);
  page.heading("Settings");
  page.preformatted(r.resolved);
  return page.render();
}

}  // namespace sdpipe
