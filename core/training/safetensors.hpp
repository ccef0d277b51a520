// The safetensors format: a little-endian u64 with the length of a JSON header, the header, raw data. Read strictly:
// duplicate keys, overflow, holes, overlap, trailing bytes and unknown dtypes are refused by name. Free of LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sdpipe {

struct StoredTensor {
  std::string name;
  std::string dtype;  // "F32", "F64", "BF16", "F16", "I64", ...
  std::vector<int64_t> shape;
  std::string_view bytes;  // into the file's content
};

struct SafetensorsFile {
  std::vector<StoredTensor> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Bytes of one element; 0 for an unknown dtype.
size_t dtype_bytes(std::string_view dtype);

// A whole file, tensors in the order given. Names must differ. The header is padded so that data starts at a multiple
// of eight bytes; with tensors of one dtype every one is aligned.
std::string write_safetensors(const std::vector<StoredTensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

// `content` must outlive the result. `name` stands for the file in messages. Throws CheckpointError.
SafetensorsFile read_safetensors(std::string_view content, const std::string& name);

}  // namespace sdpipe
