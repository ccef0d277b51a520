// One function a verb; each prints its result on stdout and returns the exit code. Errors are thrown.
#pragma once

#include "core/cli/session.hpp"

namespace sdpipe {

struct RunArguments {
  std::filesystem::path file;
  std::vector<std::string> overrides;
  bool fresh = false;  // move an existing run aside
  bool force = false;  // compare by scores of too few samples
};
int run(Session& session, const RunArguments& arguments);

struct CheckArguments {
  std::filesystem::path file;
  std::vector<std::string> overrides;
  bool loss = false;  // say where the loss goes along the path, for which data and schedule are read
};
int check(Session& session, const CheckArguments& arguments);

struct SampleArguments {
  std::filesystem::path run;     // a run's folder, or a checkpoint in it
  std::filesystem::path output;  // default: the run's samples-SAMPLER-STEPS/
  std::vector<std::string> overrides;
};
int sample(Session& session, const SampleArguments& arguments);

struct RestoreArguments {
  std::filesystem::path run;           // a run's folder, or a checkpoint in it
  std::filesystem::path output;        // default: the run's restored/
  std::vector<std::string> words;      // images, and overrides
  std::string method;                  // default: all that can be used
  std::string corruption;              // TOML; default: the run's own
  std::optional<double> level, noise;  // of the observation
  double strength = 1;                 // of the guidance
  int64_t average = 1;                 // samples an image, of which the mean is taken
  int64_t held_out = 0;                // so many of the data set's held-out images, in place of files
  bool clean = false, json = false;    // clean: the files are, and are corrupted first
};
int restore(Session& session, const RestoreArguments& arguments);

struct AblateArguments {
  std::filesystem::path place;  // a run's folder, or the pipeline file of one
  std::vector<std::string> overrides;
  bool json = false;
  bool force = false;  // compare by scores of too few samples
};
int ablate(Session& session, const AblateArguments& arguments);

struct ScheduleArguments {
  std::filesystem::path file, svg;
  std::vector<std::string> overrides;
  bool json = false;
};
int schedule(Session& session, const ScheduleArguments& arguments);

int plugins_list(Session& session, bool json);
int plugins_show(Session& session, const std::string& id);
int plugins_check(Session& session, const std::filesystem::path& file, bool json);

int data_emoji(Session& session, const std::filesystem::path& folder, const std::filesystem::path& font);
int data_info(Session& session, const std::filesystem::path& file, const std::vector<std::string>& overrides);

int weights_info(Session& session, const std::filesystem::path& place, bool raw, bool json);

struct ImportArguments {
  std::filesystem::path file;  // the pipeline
  std::filesystem::path source;
  std::vector<std::string> overrides;
  bool raw = false;    // of a run: the weights as trained instead of their average
  bool fresh = false;  // move an existing run aside
};
int weights_import(Session& session, const ImportArguments& arguments);

struct ExportArguments {
  std::filesystem::path run;  // a run's folder, or a checkpoint in it
  std::filesystem::path output;
  std::string format = "safetensors";  // or "diffusers"
  bool raw = false, force = false;
};
int weights_export(Session& session, const ExportArguments& arguments);

int doctor(Session& session);

}  // namespace sdpipe
