// Networks with which the test of core/abi/torch.hpp tries what it accepts, refuses and puts right.
#include "core/abi/torch.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>

namespace {

// y = gain * scale * x, with a parameter that nothing depends on.
struct Scaled : torch::nn::Module {
  Scaled()
      : gain(register_parameter("gain", at::ones({}))),
        unused(register_parameter("unused", at::ones({2, 3}))),
        scale(register_buffer("scale", at::ones({2}) * 1.5)) {}
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x) { return gain * scale[0] * x; }
  at::Tensor gain, unused, scale;
};

struct Writing : Scaled {
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x) {
    scale.add_(1);
    return x;
  }
};

struct Counting : torch::nn::Module {
  Counting() { register_buffer("steps", at::ones({1}, at::kLong)); }
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x) { return x; }
};

struct Shrinking : Scaled {
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x) { return x.sum(); }
};

struct Failing : Scaled {
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x) { return x.view({-1, 7}); }
};

// Leaves LibTorch's global state as it should not.
struct Rude : Scaled {
  Rude() { register_buffer("random", at::rand({3})); }
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x) {
    c10::set_default_dtype(caffe2::TypeMeta::Make<double>());
    at::set_num_threads(at::get_num_threads() + 1);
    c10::GradMode::set_enabled(!c10::GradMode::is_enabled());
    return Scaled::forward(pass, x);
  }
};

template <class Net>
struct Model {
  std::shared_ptr<Net> build(const sdp::Shape&) const { return std::make_shared<Net>(); }
};

template <class Net>
auto model(const char* id) {
  return sdp::torch_model<Model<Net>>(id, "1.0.0", "a network of the tests");
}

}  // namespace

SDP_PLUGIN("Apache-2.0", model<Scaled>("scaled"), model<Writing>("writing"), model<Counting>("counting"),
           model<Shrinking>("shrinking"), model<Failing>("failing"), model<Rude>("rude"))
