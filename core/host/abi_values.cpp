#include <algorithm>

#include "core/host/schema.hpp"

namespace sdpipe {
namespace {

sdp_value plain_value(const Param& param, const Settings::Entry& entry) {
  sdp_value v{};
  v.struct_size = sizeof(sdp_value);
  v.type = static_cast<int32_t>(param.type);
  v.is_set = entry.is_set;
  if (const auto* flag = std::get_if<bool>(&entry.value)) v.i = *flag;
  if (const auto* integer = std::get_if<int64_t>(&entry.value)) v.i = *integer;
  if (const auto* real = std::get_if<double>(&entry.value)) v.f = *real;
  if (const auto* text = std::get_if<std::string>(&entry.value)) v.s = text->c_str();
  if (const auto* reals = std::get_if<std::vector<double>>(&entry.value)) {
    v.fv = reals->data();
    v.n = static_cast<uint32_t>(reals->size());
  }
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&entry.value)) {
    v.iv = integers->data();
    v.n = static_cast<uint32_t>(integers->size());
  }
  if (param.type == ParamType::choice) {
    v.i = std::find(param.choices.begin(), param.choices.end(), v.s) - param.choices.begin();
  }
  return v;
}

// Row-major strides follow the shape in one vector: (shape..., strides...).
sdp_tensor image_tensor(const ImageSetting& image, std::vector<int64_t>& dims) {
  const size_t n = image.shape.size();
  dims = image.shape;
  dims.resize(2 * n, 1);
  for (size_t i = n; i-- > 1;) dims[n + i - 1] = dims[n + i] * dims[i];
  sdp_tensor t{};
  t.data = const_cast<float*>(image.pixels.data());
  t.device_type = SDP_DEVICE_CPU;
  t.ndim = static_cast<int32_t>(n);
  t.dtype_code = 2;
  t.dtype_bits = 32;
  t.dtype_lanes = 1;
  t.shape = dims.data();
  t.strides = dims.data() + n;
  return t;
}

}  // namespace

AbiValues::AbiValues(const Schema& schema, const Settings& settings) {
  for (const Param& param : schema) {
    const Settings::Entry& entry = settings.at(param.key);
    values_.push_back(plain_value(param, entry));
    if (const auto* image = std::get_if<ImageSetting>(&entry.value)) {
      images_.push_back(image_tensor(*image, shapes_.emplace_back()));
      values_.back().image = &images_.back();
    }
    pointers_.push_back(&values_.back());
  }
}

}  // namespace sdpipe
