// `sdpipe restore`: corrupted images restored with a trained run, and what each method reached.
#pragma once

#include <optional>

#include "core/data/images.hpp"
#include "core/run/workspace.hpp"

namespace sdpipe {

// Give either files or held-out images. Files are observations, or clean images that are corrupted first.
struct RestorationRequest {
  std::vector<std::filesystem::path> files;  // images
  int64_t held_out = 0;                      // number of the data set's held-out images, in place of files
  bool clean = false;                        // the files are clean
  std::string method = {};                   // of restoration_methods(); empty: all that can be used
  std::string corruption = {};               // TOML; empty: the run's own
  std::optional<double> level = {};   // of the corruption. None: clean images under the run's own corruption take half
                                      // of the path's last level, another corruption its largest level
  std::optional<double> noise = {};   // standard deviation in the observation; none: that of rounding to bytes
  double strength = 1;                // of the guidance
  int64_t average = 1;                // number of samples for each image; the result is their mean
  std::filesystem::path output = {};  // folder; empty: the run's restored/
};

struct RestorationRow {
  std::string name;  // "observed", a baseline or a method
  std::vector<ByteImage> images;
  int64_t nfe = 0;            // evaluations of the network an image
  std::string basis = {};     // of the linear estimate's covariance; empty for other rows
  double psnr = 0, ssim = 0;  // means over the images, where the clean ones are known
};

struct Restoration {
  std::string what;        // what was restored: "2 images"
  std::string corruption;  // "heat_blur", or --corruption's text
  std::string level_unit;  // "px"; may be empty
  double level = 0, noise = 0;
  std::string sampler;  // id, and the steps it took
  int64_t steps = 0;
  bool is_measured = false;  // against clean images
  std::vector<RestorationRow> rows;
  std::filesystem::path grid;  // grid.png
};

// `run` is a run's folder or a checkpoint in it. Writes grid.png and, where files were given, METHOD-NNNN.png for each
// of them. Throws UsageError for a request that cannot be served, DataError for an image that cannot be read, Stopped;
// then nothing was written.
Restoration restore_run(Workspace& workspace, const std::filesystem::path& run,
                        const std::vector<std::string>& overrides, const RestorationRequest& request);

}  // namespace sdpipe
