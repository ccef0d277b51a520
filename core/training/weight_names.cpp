#include "core/training/weight_names.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/base/error.hpp"
#include "core/base/text.hpp"
#include "core/training/tensors.hpp"

namespace sdpipe {
namespace {

constexpr std::string_view wrappers[] = {"module.", "_orig_mod."};

struct Scheme {
  std::string_view tensor;  // a name that only this network has
  const char* source;
  const char* type;
  bool diffusers;
  const char* also = "";
};
constexpr Scheme schemes[] = {
    {"all_modules.0.", "score_sde's NCSN++, DDPM++ or DDPM", "ncsnpp", false,
     "for its DDPM with resblock_type = \"ddpm\", fir = false, progressive_input = \"none\", skip_rescale = false"},
    {"temb.dense.0.weight", "the DDPM of the ddim repository", "ddpm", false},
    {"input_blocks.0.0.weight", "guided-diffusion's UNet", "adm", false},
    {"down_blocks.0.resnets.0.conv1.weight", "diffusers' UNet2DModel", "unet2d", true},
};

// Where each name may have changed on the way to ours.
struct Named {
  const StoredTensor* stored;
  std::string name;
};

std::vector<Named> without_wrappers(const std::vector<StoredTensor>& tensors, std::vector<std::string>* notes) {
  std::vector<Named> named;
  for (const StoredTensor& t : tensors) named.push_back({&t, t.name});
  const auto all_start = [&](std::string_view w) {
    return !named.empty() &&
           std::all_of(named.begin(), named.end(), [&](const Named& n) { return n.name.starts_with(w); });
  };
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view wrapper : wrappers) {
      if (!all_start(wrapper)) continue;
      for (Named& n : named) n.name.erase(0, wrapper.size());
      if (notes) notes->push_back(fmt::format("\"{}\" before every name was taken away", wrapper));
      again = true;
    }
  }
  return named;
}

class Fitting {
 public:
  Fitting(const WeightSource& source, const std::vector<ModelParamInfo>& params, const Settings& settings,
          const at::TensorOptions& options, const std::string& model)
      : source_(source),
        settings_(settings),
        options_(options),
        model_(model),
        named_(without_wrappers(source.tensors, &fitted_.notes)) {
    for (const ModelParamInfo& p : params) wanted_[p.name] = &p;
  }

  FittedWeights fit() {
    rename_attention();
    leave_out_sigmas();
    match();
    refuse_problems();
    std::vector<StoredTensor> taken;
    for (const auto& [name, stored] : matched_) {
      take(name, *stored);
      taken.push_back(*stored);
    }
    refuse_problems();
    fitted_.dtypes = dtypes_of(taken);
    return std::move(fitted_);
  }

 private:
  void rename_attention() {
    static const std::map<std::string, std::string> names = {
        {"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"}};
    size_t renamed = 0;
    std::set<std::string> taken;
    for (const Named& n : named_) taken.insert(n.name);
    for (Named& n : named_) {
      if (wanted_.contains(n.name)) continue;
      const size_t end = n.name.rfind('.');
      const size_t begin = end == std::string::npos ? end : n.name.rfind('.', end - 1);
      if (begin == std::string::npos) continue;
      const auto it = names.find(n.name.substr(begin + 1, end - begin - 1));
      if (it == names.end()) continue;
      const std::string now = n.name.substr(0, begin + 1) + it->second + n.name.substr(end);
      if (!wanted_.contains(now) || taken.contains(now)) continue;
      n.name = now;
      attention_.insert(now);
      ++renamed;
    }
    if (renamed > 0)
      fitted_.notes.push_back(fmt::format(
          "{} tensors of attention renamed from query, key, value, proj_attn to to_q, to_k, to_v, to_out.0", renamed));
  }

  // score_sde: sigma_i = sigma_max (sigma_min / sigma_max)^(i / (num_scales - 1)), a buffer beside the weights.
  void leave_out_sigmas() {
    const auto it = std::find_if(named_.begin(), named_.end(), [](const Named& n) { return n.name == "sigmas"; });
    const Settings::Entry *min = settings_.find("sigma_min"), *max = settings_.find("sigma_max"),
                          *count = settings_.find("num_scales");
    if (it == named_.end() || wanted_.contains("sigmas") || !min || !max || !count) return;
    const StoredTensor stored = *it->stored;
    named_.erase(it);
    const at::Tensor sigmas = tensor_of(stored).to(at::kDouble).contiguous();
    const auto n = std::get<int64_t>(count->value);
    const double first = std::get<double>(max->value), ratio = std::get<double>(min->value) / first;
    bool same = sigmas.dim() == 1 && sigmas.numel() == n;
    for (int64_t i = 0; same && i < n; ++i) {
      const double own = first * std::pow(ratio, static_cast<double>(i) / static_cast<double>(n - 1));
      same = std::abs(sigmas.const_data_ptr<double>()[i] / own - 1) < 1e-5;
    }
    if (same) return fitted_.notes.push_back("\"sigmas\" was left out: the model makes the same of its settings");
    const double* values = sigmas.const_data_ptr<double>();
    const std::string found = sigmas.numel() > 0 ? fmt::format("{:.5g} to {:.5g} in {} steps", values[0],
                                                               values[sigmas.numel() - 1], sigmas.numel())
                                                 : "empty";
    problems_["settings"].push_back(
        fmt::format("sigmas: {} in the file, but sigma_max = {:g}, sigma_min = {:g}, num_scales = {} in [model]", found,
                    first, std::get<double>(min->value), n));
  }

  void match() {
    for (const Named& n : named_) {
      const auto wanted = wanted_.find(n.name);
      if (wanted == wanted_.end())
        problems_["not in the model"].push_back(fmt::format("{} {}", n.stored->name, shape_text(n.stored->shape)));
      else if (!has_shape(n, wanted->second->shape))
        problems_["of another shape"].push_back(fmt::format("{} {}, the model needs {}", n.stored->name,
                                                            shape_text(n.stored->shape),
                                                            shape_text(wanted->second->shape)));
      else
        matched_[n.name] = n.stored;
      found_.insert(n.name);
    }
    for (const auto& [name, param] : wanted_) {
      if (!found_.contains(name)) problems_["missing"].push_back(fmt::format("{} {}", name, shape_text(param->shape)));
    }
  }

  // Attention was once made of 1 x 1 convolutions in some programs; the values are the same.
  bool has_shape(const Named& n, std::vector<int64_t> shape) {
    if (n.stored->shape == shape) return true;
    if (!attention_.contains(n.name) || shape.size() != 2) return false;
    shape.insert(shape.end(), {1, 1});
    return n.stored->shape == shape;
  }

  at::Tensor tensor_of(const StoredTensor& stored) const {
    return unpack_tensors(write_safetensors({stored}), source_.place.string()).begin()->second;
  }

  void take(const std::string& name, const StoredTensor& stored) {
    if (!stored.dtype.starts_with("F") && stored.dtype != "BF16")
      return problems_["no floats"].push_back(fmt::format("{} {}", stored.name, stored.dtype));
    const at::Tensor given = tensor_of(stored).view(wanted_[name]->shape), taken = given.to(options_);
    if (is_finite(taken))
      fitted_.tensors[name] = taken;
    else
      problems_[is_finite(given) ? "too large for the run's precision" : "not finite"].push_back(stored.name);
  }

  static bool is_finite(const at::Tensor& t) { return at::isfinite(t).all().item<bool>(); }

  void refuse_problems() const {
    if (problems_.empty()) return;
    std::string text = fmt::format("{} does not fit {}; nothing was written", source_.place.string(), model_);
    const NamingScheme scheme = recognise(source_.tensors);
    if (matched_.empty() && !scheme.type.empty())
      text += fmt::format("\nits tensors have the names of {}: [model] type = \"{}\"{}{}", scheme.source, scheme.type,
                          scheme.also.empty() ? "" : "; ", scheme.also);
    for (const auto& [what, names] : problems_)
      text += fmt::format("\n{} ({}):\n  {}", what, names.size(), join(names, "\n  "));
    throw CheckpointError(text);
  }

  const WeightSource& source_;
  const Settings& settings_;
  const at::TensorOptions options_;
  const std::string model_;
  FittedWeights fitted_;
  std::vector<Named> named_;
  std::map<std::string, const ModelParamInfo*> wanted_;
  std::map<std::string, const StoredTensor*> matched_;
  std::set<std::string> found_, attention_;
  std::map<std::string, std::vector<std::string>> problems_;  // what is wrong -> with which tensors
};

}  // namespace

NamingScheme recognise(const std::vector<StoredTensor>& tensors) {
  for (const Named& n : without_wrappers(tensors, nullptr)) {
    for (const Scheme& scheme : schemes) {
      if (n.name.starts_with(scheme.tensor)) return {scheme.source, scheme.type, scheme.also, scheme.diffusers};
    }
  }
  return {};
}

FittedWeights fit_weights(const WeightSource& source, const std::vector<ModelParamInfo>& params,
                          const Settings& settings, const at::TensorOptions& options, const std::string& model) {
  return Fitting(source, params, settings, options, model).fit();
}

std::string dtypes_of(const std::vector<StoredTensor>& tensors) {
  std::set<std::string> found;
  for (const StoredTensor& t : tensors) found.insert(t.dtype);
  return join({found.begin(), found.end()}, " and ");
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace sdpipe
