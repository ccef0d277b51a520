#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/report/ablation_table.hpp"

namespace sdpipe {

void print_ablation(const AblationRun& done) {
  for (const ScoreTable& score : score_tables(done.ablation))
    fmt::print("{}\n{}\n", score.header, aligned(score.table));
  for (const std::string& note : table_notes(done.ablation)) fmt::print("{}\n", note);
  fmt::print("{}\n{}\n", done.csv_file.string(), done.report_file.string());
}

int ablate(Workspace& workspace, const AblateArguments& arguments) {
  install_stop_handlers();
  const AblationRun done = ablate_trained(workspace, arguments.place, arguments.overrides, arguments.force);
  if (arguments.json)
    fmt::print("{}", read_file(done.json_file));
  else
    print_ablation(done);
  return 0;
}

}  // namespace sdpipe
