#include "core/config/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/config/check_pipeline.hpp"
#include "core/config/overrides.hpp"
#include "core/config/variants.hpp"

namespace sdpipe {
namespace {

std::string all_of(const std::vector<Problem>& problems, const std::string& name) {
  std::string text;
  for (const Problem& problem : problems) text += problem.render() + "\n\n";
  return text + fmt::format("{} problem{} in {}", problems.size(), problems.size() == 1 ? "" : "s", name);
}

// File first, then the command line, each from top to bottom.
void sort_by_place(std::vector<Problem>& problems, const Document& document) {
  const auto place = [&](const Problem& p) {
    const bool from_file = p.where.source == document.source;
    return std::tuple(!from_file, from_file || !p.where.source ? "" : p.where.source->name, p.where.line,
                      p.where.column);
  };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return place(a) < place(b); });
}

Experiment check_document(Document document, const std::filesystem::path& file,
                          const std::vector<std::string>& overrides, const Registry& registry,
                          std::vector<Problem> problems) {
  Experiment experiment;
  // A file that is no TOML is not looked at any further: every key would be missing.
  if (problems.empty()) {
    apply_overrides(document, overrides, problems);
    experiment.base = check_pipeline(document, file, registry, problems);
    experiment.variants = check_variants(document, experiment.base, file, registry, problems);
    experiment.grids = check_ablations(document, experiment, file, registry, problems);
  }
  if (problems.empty()) return experiment;
  sort_by_place(problems, document);
  throw PipelineErrors(std::move(problems), document.source->name);
}

}  // namespace

PipelineErrors::PipelineErrors(std::vector<Problem> found, const std::string& name)
    : UsageError(all_of(found, name)), problems(std::move(found)) {}

const Pipeline& Experiment::pipeline(std::string_view variant) const {
  if (variant.empty()) return base;
  return std::find_if(variants.begin(), variants.end(), [&](const Variant& v) { return v.name == variant; })->pipeline;
}

Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                           const Registry& registry) {
  std::vector<Problem> problems;
  Document document = read_document(file, problems);
  return check_document(std::move(document), file, overrides, registry, std::move(problems));
}

Experiment parse_experiment(std::string_view text, const std::filesystem::path& name,
                            const std::vector<std::string>& overrides, const Registry& registry) {
  std::vector<Problem> problems;
  Document document = parse_document(text, name.string(), problems);
  return check_document(std::move(document), name, overrides, registry, std::move(problems));
}

Pipeline load_pipeline(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                       const Registry& registry) {
  return load_experiment(file, overrides, registry).base;
}

Pipeline parse_pipeline(std::string_view text, const std::filesystem::path& name,
                        const std::vector<std::string>& overrides, const Registry& registry) {
  return parse_experiment(text, name, overrides, registry).base;
}

}  // namespace sdpipe
