#include <fmt/format.h>

#include <cmath>

#include "core/base/json.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/run/restoration_run.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

// Of the words after the run, those that are files or look like no override are images.
bool is_override(const std::string& word) {
  std::error_code no_name;  // a long override is too long for a file
  if (fs::exists(word, no_name)) return false;
  return word.starts_with('~') || word.find('=') != std::string::npos;
}

std::string label(const RestorationRow& row) {
  return row.basis.empty() ? row.name : fmt::format("{} (LMMSE, {})", row.name, row.basis);
}

void print_table(const Restoration& done) {
  fmt::print("{}\nunder {}, level {:g}{}{}, noise {:.4g}\n", done.what, done.corruption, done.level,
             done.level_unit.empty() ? "" : " ", done.level_unit, done.noise);
  if (done.is_measured) {
    fmt::print("\n{:<25}{:>10}{:>9}{:>7}\n", "", "PSNR (dB)", "SSIM", "NFE");
    for (const RestorationRow& r : done.rows)
      fmt::print("{:<25}{:>10.2f}{:>9.4f}{:>7}\n", label(r), r.psnr, r.ssim, r.nfe);
    fmt::print("\n");
  }
  fmt::print("{}\n", done.grid.string());
}

void print_json(const Restoration& done) {
  Json results = Json::array();
  for (const RestorationRow& r : done.rows) {
    Json result = {{"method", r.name}, {"nfe", r.nfe}};
    if (!r.basis.empty()) result["basis"] = r.basis;
    if (done.is_measured) {
      // JSON has no infinity, which equal pictures have.
      result["psnr"] = std::isfinite(r.psnr) ? Json(r.psnr) : Json();
      result["ssim"] = r.ssim;
    }
    results.push_back(result);
  }
  fmt::print("{}\n", Json{{"images", done.rows.front().images.size()},
                          {"what", done.what},
                          {"corruption", done.corruption},
                          {"level", done.level},
                          {"noise", done.noise},
                          {"steps", done.steps},
                          {"sampler", done.sampler},
                          {"results", results},
                          {"grid", done.grid.string()}}
                         .dump(1));
}

}  // namespace

int restore(Workspace& workspace, const RestoreArguments& arguments) {
  install_stop_handlers();
  RestorationRequest request = arguments.request;
  std::vector<std::string> overrides;
  for (const std::string& word : arguments.words) {
    if (is_override(word))
      overrides.push_back(word);
    else
      request.files.push_back(word);
  }
  const Restoration done = restore_run(workspace, arguments.run, overrides, request);
  arguments.json ? print_json(done) : print_table(done);
  return 0;
}

}  // namespace sdpipe
