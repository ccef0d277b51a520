// What `sdpipe restore` is given: corrupted or clean images, and how they were corrupted.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/config/pipeline.hpp"
#include "core/data/source.hpp"
#include "core/host/operators.hpp"

namespace sdpipe {

// --corruption: a TOML table, or a list of tables, as in a pipeline file; images in it are read from the current
// directory. Throws PipelineErrors.
std::vector<PluginChoice> parse_corruption(const std::string& text, const Registry& registry);

// A file as (channel, height, width) in [-1, 1]. Throws DataError where its shape is not the run's; colour becomes grey
// and grey colour.
at::Tensor read_picture(const std::filesystem::path& file, const SampleShape& shape, const at::TensorOptions& options);

// Whether the corruption at this level is another one for another key: seen by trying several on one image of noise.
bool depends_on_key(const std::shared_ptr<const Corruption>& corruption, double level, const SampleShape& shape,
                    const at::TensorOptions& options);

// The part of the run's data set that it was not trained on. Throws DataError where there is none.
std::unique_ptr<Source> held_out_images(const Pipeline& pipeline, const SampleShape& shape);

}  // namespace sdpipe
