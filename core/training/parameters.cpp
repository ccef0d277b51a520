#include "core/training/parameters.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/error.hpp"
#include "core/base/text.hpp"

namespace sdpipe {
namespace {

constexpr int64_t alignment = 16;  // elements: 64 bytes in float32

int64_t numel(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

}  // namespace

Layout::Layout(const std::vector<ModelParamInfo>& params) : params_(params) {
  for (const ModelParamInfo& p : params_) {
    int64_t& end = p.frozen ? frozen_size_ : trained_size_;
    offsets_.push_back(end);
    end += (numel(p.shape) + alignment - 1) / alignment * alignment;
  }
}

int64_t Layout::count() const {
  int64_t n = 0;
  for (const ModelParamInfo& p : params_) n += p.frozen ? 0 : numel(p.shape);
  return n;
}

std::vector<at::Tensor> Layout::views(const at::Tensor& trained, const at::Tensor& frozen) const {
  std::vector<at::Tensor> views;
  for (size_t i = 0; i < params_.size(); ++i) {
    const at::Tensor& flat = params_[i].frozen ? frozen : trained;
    views.push_back(flat.narrow(0, offsets_[i], numel(params_[i].shape)).view(params_[i].shape));
  }
  return views;
}

std::string Layout::name_at(int64_t element) const {
  std::string name;
  for (size_t i = 0; i < params_.size(); ++i) {
    if (!params_[i].frozen && offsets_[i] <= element) name = params_[i].name;
  }
  return name;
}

FlatParameters::FlatParameters(const Layout& layout, const at::TensorOptions& options)
    : trained_(at::zeros({layout.trained_size()}, options)),
      frozen_(at::zeros({layout.frozen_size()}, options)),
      views_(layout.views(trained_, frozen_)) {}

FlatParameters::FlatParameters(const Layout& layout, const FlatParameters& other)
    : trained_(at::zeros({layout.trained_size()}, other.trained_.options())),
      frozen_(other.frozen_),
      views_(layout.views(trained_, frozen_)) {}

void FlatParameters::narrow(const Layout& layout) {
  std::vector<at::Tensor> copies;
  for (size_t i = 0; i < layout.params().size(); ++i) {
    const at::Tensor& view = views_.tensors()[i];
    const bool kept = layout.params()[i].keep_f32;
    copies.push_back(kept ? view : at::empty(view.sizes(), view.options().dtype(at::kBFloat16)));
  }
  narrowed_ = std::make_unique<Narrowed>(std::move(copies));
}

const ParamSet& FlatParameters::for_model() const {
  if (!narrowed_) return views_;
  const std::lock_guard lock(narrowed_->mutex);
  const uint64_t version = views_.view().version;
  if (narrowed_->rounded == version) return narrowed_->copies;
  for (size_t i = 0; i < views_.tensors().size(); ++i) narrowed_->copies.tensors()[i].copy_(views_.tensors()[i]);
  narrowed_->copies.changed();
  narrowed_->rounded = version;
  return narrowed_->copies;
}

NamedTensors FlatParameters::named(const Layout& layout) const {
  NamedTensors tensors;
  for (size_t i = 0; i < layout.params().size(); ++i) tensors[layout.params()[i].name] = views_.tensors()[i];
  return tensors;
}

void FlatParameters::load(const Layout& layout, const NamedTensors& tensors, const std::string& file) {
  std::vector<std::string> wrong;
  for (size_t i = 0; i < layout.params().size(); ++i) {
    const ModelParamInfo& p = layout.params()[i];
    const auto it = tensors.find(p.name);
    if (it == tensors.end())
      wrong.push_back(fmt::format("\"{}\" is missing", p.name));
    else if (it->second.sizes() != at::IntArrayRef(p.shape)) {
      wrong.push_back(fmt::format("\"{}\" has shape [{}], the model needs [{}]", p.name,
                                  fmt::join(it->second.sizes(), ", "), fmt::join(p.shape, ", ")));
    } else {
      views_.tensors()[i].copy_(it->second);
    }
  }
  const NamedTensors own = named(layout);
  for (const auto& [name, tensor] : tensors) {
    if (!own.contains(name)) wrong.push_back(fmt::format("\"{}\" is not a parameter of the model", name));
  }
  if (!wrong.empty()) throw CheckpointError(fmt::format("{} does not fit the model: {}", file, join(wrong, "; ")));
  views_.changed();
}

}  // namespace sdpipe
