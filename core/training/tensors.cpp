#include "core/training/tensors.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <cstdint>
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

at::Tensor view_of(const StoredTensor& stored, at::ScalarType type) {
  const std::string_view bytes = stored.bytes;
  if (!bytes.empty() && reinterpret_cast<uintptr_t>(bytes.data()) % c10::elementSize(type) == 0)
    return at::from_blob(const_cast<char*>(bytes.data()), stored.shape, at::TensorOptions(type));
  at::Tensor copy = at::empty(stored.shape, at::TensorOptions(type));
  if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy;
}

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
  NamedTensors tensors = view_tensors(content, name);
  for (auto& [_, tensor] : tensors) tensor = tensor.clone();
  return tensors;
}

NamedTensors view_tensors(std::string_view content, const std::string& name) {
  NamedTensors tensors;
  for (const StoredTensor& stored : read_safetensors(content, name).tensors) {
    const Pair* pair = nullptr;
    for (const Pair& p : pairs) {
      if (p.name == stored.dtype) pair = &p;
    }
    if (!pair)
      throw CheckpointError(
          fmt::format("{}: tensor \"{}\" has dtype {}, which is not used here", name, stored.name, stored.dtype));
    tensors.emplace(stored.name, view_of(stored, pair->type));
  }
  return tensors;
}

}  // namespace sdpipe
