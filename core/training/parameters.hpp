// All parameters of a model in one flat buffer, each a view aligned to 64 bytes, so that clip, Adam and EMA are one
// pass and "is anything not finite" is one reduction. Frozen tensors have a buffer of their own behind it, which is
// neither trained nor averaged.
#pragma once

#include <mutex>

#include "core/diffusion/prior.hpp"
#include "core/host/operators.hpp"

namespace sdpipe {

// Where each tensor of a model stands in the flat buffers.
class Layout {
 public:
  explicit Layout(const std::vector<ModelParamInfo>& params);
  int64_t trained_size() const { return trained_size_; }  // elements, with padding
  int64_t frozen_size() const { return frozen_size_; }
  const std::vector<ModelParamInfo>& params() const { return params_; }
  int64_t count() const;  // trained elements, without padding
  // Views into `trained` and `frozen` (flat), in the model's order.
  std::vector<at::Tensor> views(const at::Tensor& trained, const at::Tensor& frozen) const;
  // The trained parameter that element `i` of the flat buffer belongs to; for messages.
  std::string name_at(int64_t i) const;

 private:
  std::vector<ModelParamInfo> params_;
  std::vector<int64_t> offsets_;
  int64_t trained_size_ = 0, frozen_size_ = 0;
};

// One set of values: trained and frozen buffers, zero at first, and the model's views of them.
class FlatParameters {
 public:
  FlatParameters(const Layout& layout, const at::TensorOptions& options);
  // Another set that shares the frozen tensors: EMA, gradients.
  FlatParameters(const Layout& layout, const FlatParameters& sharing_frozen);
  at::Tensor& flat() { return trained_; }
  const at::Tensor& flat() const { return trained_; }
  ParamSet& views() { return views_; }
  const ParamSet& views() const { return views_; }
  // From now on the model computes with copies rounded to bfloat16, all but those it keeps in float32. What is trained,
  // averaged and stored stays as it is, so that steps too small for bfloat16 add up.
  void narrow(const Layout& layout);
  // What the model is given: the views or, after narrow(), the copies, rounded anew where views().changed() was called.
  const ParamSet& for_model() const;
  NamedTensors named(const Layout& layout) const;
  // Strict: every tensor of the model must be there with its shape, and no other. Throws CheckpointError listing what
  // is missing, unexpected or misshapen.
  void load(const Layout& layout, const NamedTensors& tensors, const std::string& file);

 private:
  struct Narrowed {
    explicit Narrowed(std::vector<at::Tensor> tensors) : copies(std::move(tensors)) {}
    std::mutex mutex;
    ParamSet copies;
    uint64_t rounded = 0;  // version of the views that the copies were made of
  };

  at::Tensor trained_, frozen_;
  ParamSet views_;
  std::unique_ptr<Narrowed> narrowed_;
};

}  // namespace sdpipe
