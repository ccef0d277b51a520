#include "core/report/experiment_report.hpp"

#include <fmt/format.h>

#include "core/base/text.hpp"
#include "core/config/resolved.hpp"
#include "core/report/html.hpp"

namespace sdpipe {

std::string variant_changes(const Experiment& experiment, const Variant& variant) {
  std::vector<std::string> keys;
  for (const std::string& key : identity_differences(experiment.base, variant.pipeline)) {
    if (key != "run.name") keys.push_back(key);
  }
  return keys.empty() ? "nothing in training" : join(keys);
}

std::string render_experiment_report(const Experiment& experiment) {
  Page page(experiment.base.run.text("name"), "sdpipe report of a run with variants");
  page.heading("Variants");
  std::vector<std::vector<std::string>> rows;
  std::vector<std::pair<std::string, std::string>> links;
  for (const Variant& variant : experiment.variants) {
    rows.push_back({variant.name, variant_changes(experiment, variant)});
    links.emplace_back("Report of " + variant.name, "variants/" + variant.name + "/report.html");
  }
  page.table({"variant", "changes"}, rows);
  page.links(links);
  if (!experiment.grids.empty()) {
    page.heading("Comparison");
    page.links({{"Quality against evaluations, the same seeds under every setting", "ablation/report.html"}});
  }
  page.heading("Settings");
  page.preformatted(to_toml(experiment));
  return page.render();
}

}  // namespace sdpipe
