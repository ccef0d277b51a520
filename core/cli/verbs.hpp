// One function a verb; each prints its result on stdout and returns the exit code. Errors are thrown.
#pragma once

#include "core/run/ablation_run.hpp"
#include "core/run/export_weights.hpp"
#include "core/run/import_weights.hpp"
#include "core/run/restoration_run.hpp"

namespace sdpipe {

struct RunArguments {
  std::filesystem::path file;
  std::vector<std::string> overrides;
  bool fresh = false;  // move an existing run aside
  bool force = false;  // compare by scores of too few samples
};
int run(Workspace& workspace, const RunArguments& arguments);

struct CheckArguments {
  std::filesystem::path file;
  std::vector<std::string> overrides;
  bool loss = false;  // say where the loss goes along the path, for which data and schedule are read
};
int check(Workspace& workspace, const CheckArguments& arguments);

struct SampleArguments {
  std::filesystem::path run;     // a run's folder, or a checkpoint in it
  std::filesystem::path output;  // default: the run's samples-SAMPLER-STEPS/
  std::vector<std::string> overrides;
};
int sample(Workspace& workspace, const SampleArguments& arguments);

struct RestoreArguments {
  std::filesystem::path run;       // a run's folder, or a checkpoint in it
  std::vector<std::string> words;  // images, and overrides
  RestorationRequest request;      // without the images
  bool json = false;
};
int restore(Workspace& workspace, const RestoreArguments& arguments);

struct AblateArguments {
  std::filesystem::path place;  // a run's folder, or the pipeline file of one
  std::vector<std::string> overrides;
  bool json = false;
  bool force = false;  // compare by scores of too few samples
};
int ablate(Workspace& workspace, const AblateArguments& arguments);
// Tables and files of an ablation, as `run` and `ablate` show them.
void print_ablation(const AblationRun& done);

struct ScheduleArguments {
  std::filesystem::path file, svg;
  std::vector<std::string> overrides;
  bool json = false;
};
int schedule(Workspace& workspace, const ScheduleArguments& arguments);

int plugins_list(Workspace& workspace, bool json);
int plugins_show(Workspace& workspace, const std::string& id);
int plugins_check(Workspace& workspace, const std::filesystem::path& file, const std::string& device, bool json);

int data_emoji(Workspace& workspace, const std::filesystem::path& folder, const std::filesystem::path& font);
int data_info(Workspace& workspace, const std::filesystem::path& file, const std::vector<std::string>& overrides);

int weights_info(Workspace& workspace, const std::filesystem::path& place, bool raw, bool json);

struct ImportArguments {
  std::filesystem::path file;  // the pipeline
  std::vector<std::string> overrides;
  WeightsImport what;
};
int weights_import(Workspace& workspace, const ImportArguments& arguments);

int weights_export(Workspace& workspace, const WeightsExport& what);

int doctor(Workspace& workspace);

}  // namespace sdpipe
