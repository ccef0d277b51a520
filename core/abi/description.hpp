/* Part of plugin.hpp: descriptor and parameter schema, and how parameters reach the members of a class. */
#ifndef SDPIPE_DESCRIPTION_HPP
#define SDPIPE_DESCRIPTION_HPP

#include <cmath>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "call.hpp"

namespace sdp {

struct Range {
  double min = -HUGE_VAL, max = HUGE_VAL;
  uint32_t flags = 0;
};
inline Range any() { return {}; }
inline Range at_least(double min) { return {min, HUGE_VAL, 0}; }
inline Range above(double min) { return {min, HUGE_VAL, SDP_PF_EXCLUSIVE_MIN}; }
inline Range between(double min, double max) { return {min, max, 0}; }
inline Range above_to(double min, double max) { return {min, max, SDP_PF_EXCLUSIVE_MIN}; }
inline Range below_from(double min, double max) { return {min, max, SDP_PF_EXCLUSIVE_MAX}; }

/* An image parameter: (channel, height, width), values 0 to 1. */
struct Image {
  Shape shape;
  std::vector<float> pixels;
};

/* Collects descriptor, schema and the setters that fill the class's members. */
template <class P>
class Description {
 public:
  Description(int32_t kind, const char* id, const char* version, const char* summary) {
    d_ = {};
    d_.struct_size = sizeof(sdp_descriptor);
    d_.kind = kind;
    d_.id = id;
    d_.version = version;
    d_.summary = summary;
    d_.level_unit = "";
    d_.example = "";
    d_.caps = SDP_CAP_DETERMINISTIC;
    d_.dtypes = SDP_DTYPE_F32;
    d_.devices = SDP_ON_CPU;
  }

  Description& real(const char* key, double P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_FLOAT);
    def.f = initial.*member;
    return add(key, SDP_P_FLOAT, range, unit, doc, def, [member](P& p, const sdp_value& v) { p.*member = v.f; });
  }
  Description& integer(const char* key, int64_t P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_INT);
    def.i = initial.*member;
    return add(key, SDP_P_INT, range, unit, doc, def, [member](P& p, const sdp_value& v) { p.*member = v.i; });
  }
  Description& flag(const char* key, bool P::*member, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_BOOL);
    def.i = initial.*member ? 1 : 0;
    return add(key, SDP_P_BOOL, any(), "", doc, def, [member](P& p, const sdp_value& v) { p.*member = v.i != 0; });
  }
  Description& string(const char* key, std::string P::*member, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_STRING);
    def.s = text(initial.*member);
    return add(key, SDP_P_STRING, any(), "", doc, def, [member](P& p, const sdp_value& v) { p.*member = v.s; });
  }
  /* The member is an enum (or integer); choices are listed in its order from 0. */
  template <class E>
  Description& choice(const char* key, E P::*member, std::initializer_list<const char*> choices, const char* doc) {
    P initial;
    choices_.emplace_back(choices);
    sdp_value def = value(SDP_P_CHOICE);
    def.i = static_cast<int64_t>(initial.*member);
    def.s = choices_.back()[static_cast<size_t>(def.i)];
    add(key, SDP_P_CHOICE, any(), "", doc, def,
        [member](P& p, const sdp_value& v) { p.*member = static_cast<E>(v.i); });
    params_.back().n_choices = static_cast<uint32_t>(choices_.back().size());
    params_.back().choices = choices_.back().data();
    return *this;
  }
  Description& reals(const char* key, std::vector<double> P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    lists_.push_back(initial.*member);
    sdp_value def = value(SDP_P_FLOATS);
    def.fv = lists_.back().data();
    def.n = static_cast<uint32_t>(lists_.back().size());
    return add(key, SDP_P_FLOATS, range, unit, doc, def,
               [member](P& p, const sdp_value& v) { (p.*member).assign(v.fv, v.fv + v.n); });
  }
  Description& integers(const char* key, std::vector<int64_t> P::*member, Range range, const char* unit,
                        const char* doc) {
    P initial;
    int_lists_.push_back(initial.*member);
    sdp_value def = value(SDP_P_INTS);
    def.iv = int_lists_.back().data();
    def.n = static_cast<uint32_t>(int_lists_.back().size());
    return add(key, SDP_P_INTS, range, unit, doc, def,
               [member](P& p, const sdp_value& v) { (p.*member).assign(v.iv, v.iv + v.n); });
  }
  /* Required: the pipeline file names an image, the host decodes it. */
  Description& image(const char* key, Image P::*member, const char* doc) {
    add(key, SDP_P_IMAGE, any(), "", doc, value(SDP_P_IMAGE), [member](P& p, const sdp_value& v) {
      const sdp_tensor& t = *v.image;
      (p.*member).shape.assign(t.shape, t.shape + t.ndim);
      const float* first = static_cast<const float*>(t.data);
      (p.*member).pixels.assign(first, first + numel(t));
    });
    return required();
  }
  /* Required: the pipeline file names a file. The member is its absolute path, or empty in tests of the
   * example, where there is no file: use a stand-in then. */
  Description& file(const char* key, std::string P::*member, const char* doc) {
    add(key, SDP_P_FILE, any(), "", doc, value(SDP_P_FILE), [member](P& p, const sdp_value& v) { p.*member = v.s; });
    return required();
  }
  /* The parameter added last has no default. */
  Description& required() {
    params_.back().flags |= SDP_PF_REQUIRED;
    params_.back().def = nullptr;
    return *this;
  }
  Description& level_unit(const char* unit) {
    d_.level_unit = unit;
    return *this;
  }
  /* TOML body with small settings, for tests and docs. */
  Description& example(const char* toml) {
    d_.example = toml;
    return *this;
  }
  Description& caps(uint32_t bits) {
    d_.caps |= bits;
    return *this;
  }
  Description& dtypes(uint32_t bits) {
    d_.dtypes |= bits;
    return *this;
  }
  Description& devices(uint32_t bits) {
    d_.devices |= bits;
    return *this;
  }

  sdp_descriptor& raw() { return d_; }
  const sdp_descriptor* finish() {
    pointers_.clear();
    for (const sdp_param& p : params_) pointers_.push_back(&p);
    d_.n_params = static_cast<uint32_t>(pointers_.size());
    d_.params = pointers_.data();
    return &d_;
  }
  void set_members(P& p, const sdp_value* const* values) const {
    for (size_t i = 0; i < setters_.size(); ++i) setters_[i]->set(p, *values[i]);
  }

 private:
  struct AnySetter {
    virtual ~AnySetter() = default;
    virtual void set(P&, const sdp_value&) const = 0;
  };
  template <class F>
  struct SetterOf : AnySetter {
    explicit SetterOf(F f_in) : f(std::move(f_in)) {}
    void set(P& p, const sdp_value& v) const override { f(p, v); }
    F f;
  };

  static sdp_value value(int32_t type) {
    sdp_value v{};
    v.struct_size = sizeof(sdp_value);
    v.type = type;
    return v;
  }
  const char* text(const std::string& s) {
    texts_.push_back(s);
    return texts_.back().c_str();
  }

  template <class F>
  Description& add(const char* key, int32_t type, Range range, const char* unit, const char* doc, sdp_value def,
                   F set) {
    defaults_.push_back(def);
    sdp_param p{};
    p.struct_size = sizeof(sdp_param);
    p.type = type;
    p.flags = range.flags;
    p.key = key;
    p.doc = doc;
    p.unit = unit;
    p.min = range.min;
    p.max = range.max;
    p.def = &defaults_.back();
    params_.push_back(p);
    setters_.push_back(std::make_unique<SetterOf<F>>(std::move(set)));
    return *this;
  }

  sdp_descriptor d_;
  std::deque<sdp_param> params_; /* deques: elements never move */
  std::deque<sdp_value> defaults_;
  std::deque<std::vector<const char*>> choices_;
  std::deque<std::vector<double>> lists_;
  std::deque<std::vector<int64_t>> int_lists_;
  std::deque<std::string> texts_;
  std::vector<const sdp_param*> pointers_;
  std::vector<std::unique_ptr<AnySetter>> setters_;
};

}  // namespace sdp

#endif /* SDPIPE_DESCRIPTION_HPP */
