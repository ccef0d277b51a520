/* Between sdp_tensor (plugin.h) and at::Tensor, both ways, without copies: for the host and for
 * plugins that link LibTorch. Dtypes: float32, float64, float16, bfloat16; devices: CPU and CUDA. */
#ifndef SDPIPE_TENSOR_HPP
#define SDPIPE_TENSOR_HPP

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <array>
#include <stdexcept>
#include <utility>

#include "plugin.h"

namespace sdp {

inline at::ScalarType dtype_of(const sdp_tensor& t) {
  if (t.dtype_code == 2 && t.dtype_bits == 32) return at::kFloat;
  if (t.dtype_code == 2 && t.dtype_bits == 64) return at::kDouble;
  if (t.dtype_code == 2 && t.dtype_bits == 16) return at::kHalf;
  if (t.dtype_code == 4 && t.dtype_bits == 16) return at::kBFloat16;
  throw std::invalid_argument("tensor has a dtype that is none of float32, float64, float16, bfloat16");
}

inline at::Device device_of(const sdp_tensor& t) {
  if (t.device_type == SDP_DEVICE_CPU) return at::Device(at::kCPU);
  if (t.device_type == SDP_DEVICE_CUDA) return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(t.device_id));
  throw std::invalid_argument("tensor is on a device that is neither the CPU nor a CUDA GPU");
}

/* A view of borrowed memory: valid as long as *t's data is. Writing to it writes to *t. */
inline at::Tensor as_tensor(const sdp_tensor* t) {
  const at::Device device = device_of(*t);
  return at::for_blob(t->data, at::IntArrayRef(t->shape, static_cast<size_t>(t->ndim)))
      .options(at::TensorOptions(dtype_of(*t)).device(device))
      .target_device(device)
      .make_tensor();
}

/* An at::Tensor as sdp_tensor. Keeps the tensor's memory alive; get() is valid as long as this
 * object stays where it is. A tensor without axes appears with shape (1).
 * Throws std::invalid_argument unless it is contiguous, has at most 8 axes and a dtype of the ABI. */
class TensorView {
 public:
  explicit TensorView(at::Tensor t) : tensor_(std::move(t)) { describe(); }
  TensorView(const TensorView& other) : TensorView(other.tensor_) {}
  TensorView(TensorView&& other) : TensorView(other.tensor_) {} /* shape and strides move with the object */
  TensorView& operator=(const TensorView& other) {
    if (this == &other) return *this;
    tensor_ = other.tensor_;
    describe();
    return *this;
  }

  /* Not const, as with at::Tensor: constness is the handle's, not the data's. */
  sdp_tensor* get() const { return const_cast<sdp_tensor*>(&raw_); }
  const at::Tensor& tensor() const { return tensor_; }

 private:
  void describe() {
    if (!tensor_.defined() || !tensor_.is_contiguous() || tensor_.dim() > static_cast<int64_t>(shape_.size()))
      throw std::invalid_argument("a tensor at the plugin border must be contiguous and have at most 8 axes");
    raw_ = {};
    raw_.data = tensor_.data_ptr();
    raw_.device_type = tensor_.is_cuda() ? SDP_DEVICE_CUDA : SDP_DEVICE_CPU;
    raw_.device_id = tensor_.is_cuda() ? tensor_.get_device() : 0;
    raw_.dtype_code = tensor_.scalar_type() == at::kBFloat16 ? 4 : 2;
    raw_.dtype_bits = static_cast<uint8_t>(8 * tensor_.element_size());
    raw_.dtype_lanes = 1;
    raw_.ndim = tensor_.dim() == 0 ? 1 : static_cast<int32_t>(tensor_.dim());
    shape_[0] = strides_[0] = 1;
    int64_t stride = 1;
    for (size_t i = static_cast<size_t>(tensor_.dim()); i-- > 0; stride *= shape_[i]) {
      shape_[i] = tensor_.size(static_cast<int64_t>(i));
      strides_[i] = stride; /* not at::Tensor's own, which are free on axes of length 1 */
    }
    raw_.shape = shape_.data();
    raw_.strides = strides_.data();
    if (!tensor_.is_floating_point() || tensor_.scalar_type() != dtype_of(raw_) || tensor_.device() != device_of(raw_))
      throw std::invalid_argument("a tensor at the plugin border must hold floats, on the CPU or a CUDA GPU");
  }

  at::Tensor tensor_;
  std::array<int64_t, 8> shape_{}, strides_{};
  sdp_tensor raw_{};
};

}  // namespace sdp

#endif /* SDPIPE_TENSOR_HPP */
