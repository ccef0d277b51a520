#include "core/training/tensors.hpp"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <cstring>

#include "core/base/error.hpp"

namespace sdpipe {
namespace {

struct Pair {
  at::ScalarType type;
  std::string_view name;
};
constexpr Pair pairs[] = {
    {at::kFloat, "F32"}, {at::kDouble, "F64"}, {at::kBFloat16, "BF16"}, {at::kHalf, "F16"}, {at::kLong, "I64"}};

}  // namespace

std::string pack_tensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> contiguous;  // keeps the bytes alive
  std::vector<StoredTensor> stored;
  for (const auto& [name, tensor] : tensors) {
    contiguous.push_back(tensor.cpu().contiguous());
    const at::Tensor& t = contiguous.back();
    std::string_view dtype;
    for (const Pair& p : pairs) {
      if (p.type == t.scalar_type()) dtype = p.name;
    }
    if (dtype.empty()) throw RunError(fmt::format("tensor \"{}\" has a dtype that checkpoints do not hold", name));
    stored.push_back(
        {name, std::string(dtype), t.sizes().vec(), {static_cast<const char*>(t.const_data_ptr()), t.nbytes()}});
  }
  return write_safetensors(stored, metadata);
}

NamedTensors unpack_tensors(std::string_view content, const std::string& name) {
  NamedTensors tensors;
  for (const StoredTensor& stored : read_safetensors(content, name).tensors) {
    const Pair* pair = nullptr;
    for (const Pair& p : pairs) {
      if (p.name == stored.dtype) pair = &p;
    }
    if (!pair)
      throw CheckpointError(
          fmt::format("{}: tensor \"{}\" has dtype {}, which is not used here", name, stored.name, stored.dtype));
    at::Tensor tensor = at::empty(stored.shape, at::TensorOptions(pair->type));
    if (!stored.bytes.empty()) std::memcpy(tensor.data_ptr(), stored.bytes.data(), stored.bytes.size());
    tensors.emplace(stored.name, std::move(tensor));
  }
  return tensors;
}

}  // namespace sdpipe
