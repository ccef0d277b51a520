// Named tensors in safetensors files: between at::Tensor and core/training/safetensors.
#pragma once

#include "core/diffusion/prior.hpp"
#include "core/training/safetensors.hpp"

namespace sdpipe {

// The content of a file, sorted by name.
std::string pack_tensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {});
// Copies out of `content`. Throws CheckpointError naming `name`.
NamedTensors unpack_tensors(std::string_view content, const std::string& name);
// The same without copies, for reading alone: `content` must outlive them. What is not aligned there is copied.
NamedTensors view_tensors(std::string_view content, const std::string& name);

}  // namespace sdpipe
