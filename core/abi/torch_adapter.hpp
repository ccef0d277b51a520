/* How torch.hpp, which includes it, turns a torch::nn::Module into the function table of a model. */
#ifndef SDPIPE_TORCH_ADAPTER_HPP
#define SDPIPE_TORCH_ADAPTER_HPP

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "torch.hpp"

namespace sdp {
namespace detail {

/* LibTorch's global state is the host's: whatever a network does to it ends with the call. */
class TorchState {
 public:
  explicit TorchState(bool gradients) : gradients_(gradients) {}
  ~TorchState() {
    if (c10::get_default_dtype() != dtype_) c10::set_default_dtype(dtype_);
    if (at::get_num_threads() != threads_) at::set_num_threads(threads_);
  }
  TorchState(const TorchState&) = delete;
  TorchState& operator=(const TorchState&) = delete;

 private:
  c10::InferenceMode no_inference_mode_{false}; /* inside it, no graph could be recorded */
  at::AutoGradMode gradients_;
  caffe2::TypeMeta dtype_ = c10::get_default_dtype();
  int threads_ = at::get_num_threads();
};

/* Layers draw initial values, which nobody uses, when they are built. */
class TorchRandomState {
 public:
  TorchRandomState() : generator_(at::detail::getDefaultCPUGenerator()) {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    state_ = generator_.get_state();
  }
  ~TorchRandomState() {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(state_);
  }
  TorchRandomState(const TorchRandomState&) = delete;
  TorchRandomState& operator=(const TorchRandomState&) = delete;

 private:
  at::Generator generator_;
  at::Tensor state_;
};

/* Runs f; LibTorch's errors lose the stack trace in their text. */
template <class F>
auto torch_errors(F&& f) {
  try {
    return f();
  } catch (const c10::OutOfMemoryError& e) {
    throw Failure(SDP_E_NOMEM, {}, e.what_without_backtrace());
  } catch (const c10::Error& e) {
    throw Failure(SDP_E_INTERNAL, {}, e.what_without_backtrace());
  }
}

template <class P, class = void>
struct offers_init : std::false_type {};
template <class P>
struct offers_init<P, std::void_t<decltype(std::declval<const P&>().init(
                          std::declval<const Draw&>(), std::string(), std::declval<at::Tensor&>()))>> : std::true_type {
};

template <class P, class = void>
struct offers_keeps_f32 : std::false_type {};
template <class P>
struct offers_keeps_f32<P, std::void_t<decltype(std::declval<const P&>().keeps_f32(std::string()))>> : std::true_type {
};

/* A network, and its parameters in the ABI's order: those that are trained, then the buffers. */
template <class Net>
struct BuiltNet {
  std::shared_ptr<Net> net;
  std::vector<std::string> names;
  std::vector<at::Tensor> tensors;
  size_t n_trained = 0;
  bool is_narrow = false; /* computes in bfloat16 */

  explicit BuiltNet(std::shared_ptr<Net> built) : net(std::move(built)) {
    for (const auto& item : net->named_parameters()) add(item.key(), item.value());
    n_trained = tensors.size();
    for (const auto& item : net->named_buffers()) add(item.key(), item.value());
  }
  void add(const std::string& name, const at::Tensor& t) {
    names.push_back(name);
    tensors.push_back(t);
  }
  /* Grows with each write through LibTorch. */
  std::vector<int64_t> versions() const {
    std::vector<int64_t> versions;
    for (const at::Tensor& t : tensors) versions.push_back(t._version());
    return versions;
  }
  /* Is this the network that computes with the host's tensors p? */
  bool uses(const sdp_params& p) const {
    for (uint32_t i = 0; i < p.n; ++i)
      if (tensors[i].const_data_ptr() != p.tensor[i]->data || tensors[i].scalar_type() != dtype_of(*p.tensor[i]))
        return false;
    return true;
  }
  /* Until use(): the values that build() gave them take as much memory as the weights. */
  void drop_values() {
    for (at::Tensor& t : tensors) t.set_data(at::empty({}, t.options().requires_grad(false)).expand(t.sizes()));
  }
  void use(const sdp_params& p) {
    for (uint32_t i = 0; i < p.n; ++i) {
      tensors[i].set_data(as_tensor(p.tensor[i]).view(tensors[i].sizes()));
      tensors[i].set_requires_grad(i < n_trained);
      is_narrow = is_narrow || tensors[i].scalar_type() == at::kBFloat16;
    }
  }
};

/* plugin.hpp's model class for an author's class P. */
template <class P>
class TorchPlugin {
 public:
  using Net = typename decltype(std::declval<const P&>().build(std::declval<const Shape&>()))::element_type;

  P author;

  void prepare(Call& call, const Shape& sample) {
    if constexpr (has_prepare<void, P, Shape>::value) author.prepare(call, sample);
    sample_ = sample;
    const TorchState state(false);
    torch_errors([&] {
      built_ = build();
      n_trained_ = built_->n_trained;
      for (size_t i = 0; i < built_->tensors.size(); ++i) list(call, built_->names[i], built_->tensors[i]);
      built_->drop_values();
    });
  }

  std::vector<ModelParam> params() const { return params_; }

  void init(Call& call, const std::vector<sdp_tensor*>& tensors) const {
    const TorchState state(false);
    torch_errors([&] {
      for (size_t i = 0; i < tensors.size(); ++i) {
        at::Tensor p = as_tensor(tensors[i]);
        if (i >= n_trained_)
          p.copy_(buffers_[i - n_trained_]);
        else
          init_one(Draw(call, i), params_[i].name, p);
      }
    });
  }

  void* forward(Call& call, const sdp_params& params, const Point& at, const sdp_tensor* x, sdp_tensor* y,
                uint32_t flags) const {
    const bool save = (flags & SDP_FWD_SAVE) != 0;
    const TorchState state(save);
    return torch_errors([&] {
      auto saved = std::make_unique<Saved>(network_of(call, params), call);
      const BuiltNet<Net>& net = *saved->net;
      /* x's memory is lent for this call alone, the graph lives longer. */
      const at::Tensor input = saved->x = save ? as_tensor(x).clone().requires_grad_() : as_tensor(x);
      saved->pass.emplace(Pass{saved->call, copied(at.t, at, input), copied(at.level, at, input),
                               copied(at.sigma, at, input), (flags & SDP_FWD_TRAIN) != 0, input});
      const std::vector<int64_t> versions = net.versions();
      saved->y = net.net->forward(*saved->pass, net.is_narrow ? input.to(at::kBFloat16) : input);
      refuse_writes(call, versions, net.versions());
      write(call, saved->y, y);
      return save ? static_cast<void*>(saved.release()) : nullptr;
    });
  }

  void vjp(Call& call, const sdp_params& params, const Point&, const sdp_tensor*, void* saved, const sdp_tensor* gy,
           sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) const {
    const TorchState state(false);
    torch_errors([&] {
      Saved& s = *static_cast<Saved*>(saved);
      s.call = call;
      std::vector<at::Tensor> inputs, outputs;
      const auto want = [&](const at::Tensor& input, const sdp_tensor* out) {
        if (!out) return;
        outputs.push_back(as_tensor(out).view(input.sizes()));
        if (input.requires_grad()) return inputs.push_back(input);
        outputs.back().zero_();
        outputs.pop_back();
      };
      want(s.x, gx);
      for (uint32_t i = 0; gparams && i < params.n; ++i) want(s.net->tensors[i], gparams[i]);
      differentiate(s.y, as_tensor(gy), inputs, outputs, (flags & SDP_VJP_LAST) == 0);
    });
  }

  void release(void* saved) const noexcept { delete static_cast<Saved*>(saved); }

 private:
  struct Saved {
    Saved(std::shared_ptr<const BuiltNet<Net>> the_net, const Call& now) : net(std::move(the_net)), call(now) {}
    std::shared_ptr<const BuiltNet<Net>> net;
    Call call;       /* forward's, then each vjp's: blocks that run again for the gradient draw from it */
    at::Tensor x, y; /* ends of the recorded graph */
    std::optional<Pass> pass;
  };

  std::shared_ptr<BuiltNet<Net>> build() const {
    const TorchRandomState random;
    return std::make_shared<BuiltNet<Net>>(author.build(sample_));
  }

  void list(const Call& call, const std::string& name, const at::Tensor& t) {
    if (!t.is_floating_point())
      call.fail("the network's tensor \"" + name + "\" does not hold floats, so that it cannot be stored", {},
                SDP_E_UNSUPPORTED);
    const bool frozen = params_.size() >= n_trained_;
    params_.push_back({name, t.dim() == 0 ? Shape{1} : t.sizes().vec(), frozen ? SDP_PARAM_FROZEN : 0u});
    if constexpr (offers_keeps_f32<P>::value)
      if (author.keeps_f32(name)) params_.back().flags |= SDP_PARAM_KEEP_F32;
    if (frozen) buffers_.push_back(t.detach().clone().view(params_.back().shape));
  }

  void init_one(const Draw& draw, const std::string& name, at::Tensor& p) const {
    if constexpr (offers_init<P>::value)
      author.init(draw, name, p);
    else
      initial_value(draw, name, p);
  }

  /* One network for each set of parameters (raw, averaged): binding one to another set between
   * forward and vjp would change the values that the recorded graph refers to. */
  std::shared_ptr<const BuiltNet<Net>> network_of(const Call& call, const sdp_params& params) const {
    constexpr size_t sets = 8; /* more than a host keeps; older ones may be of freed memory */
    if (params.n != params_.size()) call.fail("the number of parameters is not what this model listed");
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& net : networks_)
      if (net->uses(params)) return net;
    const auto net = built_ ? std::exchange(built_, nullptr) : build();
    net->use(params);
    networks_.push_back(net);
    if (networks_.size() > sets) networks_.pop_front();
    return net;
  }

  static at::Tensor copied(const double* values, const Point& at, const at::Tensor& x) {
    const at::Tensor borrowed = at::from_blob(const_cast<double*>(values), {at.batch}, at::kDouble);
    return borrowed.to(x.device(), at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  }

  void refuse_writes(const Call& call, const std::vector<int64_t>& before, const std::vector<int64_t>& after) const {
    for (size_t i = 0; i < before.size(); ++i)
      if (before[i] != after[i])
        call.fail("the network writes its tensor \"" + params_[i].name +
                      "\" in forward(); a model is a pure function of parameters, x and point",
                  {}, SDP_E_UNSUPPORTED);
  }

  static void write(const Call& call, const at::Tensor& result, sdp_tensor* y) {
    at::Tensor out = as_tensor(y);
    if (result.sizes() != out.sizes()) call.fail("forward() returned another shape than that of x", {}, SDP_E_INTERNAL);
    out.copy_(result.detach());
  }

  /* outputs[i] = (d y / d inputs[i])^T gy; zero where y does not depend on it. */
  static void differentiate(const at::Tensor& y, const at::Tensor& gy, const std::vector<at::Tensor>& inputs,
                            const std::vector<at::Tensor>& outputs, bool again) {
    std::vector<at::Tensor> gradients(inputs.size());
    if (y.requires_grad() && !inputs.empty())
      gradients = torch::autograd::grad({y}, inputs, {gy.to(y.scalar_type())}, again, /*create_graph=*/false,
                                        /*allow_unused=*/true);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (gradients[i].defined())
        outputs[i].copy_(gradients[i]);
      else
        outputs[i].zero_();
    }
  }

  Shape sample_;
  std::vector<ModelParam> params_;
  size_t n_trained_ = 0;
  std::vector<at::Tensor> buffers_; /* as built */
  mutable std::mutex mutex_;
  mutable std::shared_ptr<BuiltNet<Net>> built_; /* by prepare(), for the first set of parameters */
  mutable std::deque<std::shared_ptr<const BuiltNet<Net>>> networks_;
};

/* model_create for TorchPlugin: the schema's members are the author's. */
template <class P>
sdp_status torch_create(sdp_ctx* ctx, const sdp_sample_shape* sample, const sdp_value* const* values,
                        void** self) noexcept {
  return guarded(ctx, [&] {
    auto m = std::make_unique<ModelSelf<TorchPlugin<P>>>();
    description<P>()->set_members(m->plugin.author, values);
    Call call(ctx);
    m->plugin.prepare(call, shape_of(sample));
    m->params = m->plugin.params();
    *self = m.release();
  });
}

template <class P>
sdp_model_vt torch_table() {
  sdp_model_vt table = model_table<TorchPlugin<P>>();
  table.create = torch_create<P>;
  return table;
}

}  // namespace detail
}  // namespace sdp

#endif /* SDPIPE_TORCH_ADAPTER_HPP */
