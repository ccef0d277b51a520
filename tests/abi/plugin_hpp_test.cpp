#include "core/abi/plugin.hpp"

#include <cstring>
#include <vector>

#include "tests/catch.h"

namespace {

enum class Mode { fast, exact };

struct Everything {
  double width = 2.5;
  int64_t count = 3;
  bool on = true;
  std::string name = "ada";
  Mode mode = Mode::exact;
  std::vector<double> weights = {1, 0.5};
  std::vector<int64_t> sizes = {4, 5};
  sdp::Image picture;
  double needed = 0;

  double level_max() const { return width; }
  template <class T>
  void apply(sdp::Call& call, const sdp::Point&, sdp::Batch<const T>, sdp::Batch<T>) const {
    if (count == 0) call.fail("must not be 0", "count");
    if (count == 1) throw std::runtime_error("one is too few");
    if (count == 2) throw std::bad_alloc();
    if (count == 4) throw sdp::PassedOn{SDP_E_CANCELLED};
    if (count == 5) throw 'x';
  }
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point&, sdp::Batch<const T>, sdp::Batch<T>) const {}
};

struct FloatAlone {
  double level_max() const { return 1; }
  void apply(sdp::Call&, const sdp::Point&, sdp::Batch<const float>, sdp::Batch<float>) const {}
  void adjoint(sdp::Call&, const sdp::Point&, sdp::Batch<const float>, sdp::Batch<float>) const {}
};

// A host that remembers the reason of the last failure.
struct {
  sdp_status code = SDP_OK;
  std::string param, text;
} reason;

sdp_status remember(sdp_ctx*, sdp_status code, const char* param, const char* text) noexcept {
  reason = {code, param ? param : "none", text};
  return code;
}

const sdp_library* library() {
  static sdp_host host{};
  host.struct_size = sizeof host;
  host.fail = remember;
  auto everything = sdp::corruption<Everything>("everything", "1.2.3", "all types");
  everything.real("width", &Everything::width, sdp::above_to(0, 10), "px", "How wide")
      .integer("count", &Everything::count, sdp::below_from(0, 9), "", "How many")
      .flag("on", &Everything::on, "Whether")
      .string("name", &Everything::name, "Whose")
      .choice("mode", &Everything::mode, {"fast", "exact"}, "Which")
      .reals("weights", &Everything::weights, sdp::at_least(0), "", "How heavy")
      .integers("sizes", &Everything::sizes, sdp::any(), "", "How large")
      .image("picture", &Everything::picture, "What")
      .real("needed", &Everything::needed, sdp::any(), "", "Must be given")
      .required()
      .level_unit("px")
      .example("needed = 1\n");
  return sdp::detail::library(&host, nullptr, "MIT", "", everything,
                              sdp::corruption<FloatAlone>("narrow", "1.0.0", "float"));
}

const sdp_descriptor& everything() { return *library()->items[0]; }
const sdp_param& param(size_t i) { return *everything().params[i]; }

sdp_value value(int32_t type) {
  sdp_value v{};
  v.struct_size = sizeof v;
  v.type = type;
  return v;
}

// An instance whose values answer the schema.
void* instance(int64_t count) {
  std::vector<sdp_value> values;
  for (uint32_t i = 0; i < everything().n_params; ++i)
    values.push_back(param(i).def ? *param(i).def : value(param(i).type));
  int64_t dims[] = {1, 1, 2}, strides[] = {2, 2, 1};
  float pixels[] = {0.25f, 0.75f};
  const sdp_tensor image = {pixels, SDP_DEVICE_CPU, 0, 3, 2, 32, 1, dims, strides, 0};
  values[1].i = count;
  values[7].image = &image;
  values[8].f = 6;
  std::vector<const sdp_value*> pointers;
  for (const sdp_value& v : values) pointers.push_back(&v);
  const sdp_sample_shape shape = {sizeof shape, 3, dims};
  void* self = nullptr;
  REQUIRE(everything().corruption->create(nullptr, &shape, pointers.data(), &self) == SDP_OK);
  return self;
}

sdp_status apply(int64_t count) {
  reason = {};
  void* self = instance(count);
  int64_t dims[] = {1, 1}, strides[] = {1, 1};
  float one = 0;
  sdp_tensor x = {&one, SDP_DEVICE_CPU, 0, 2, 2, 32, 1, dims, strides, 0};
  const sdp_point at{};
  const sdp_status status = everything().corruption->apply(nullptr, self, &at, &x, &x);
  everything().corruption->destroy(self);
  return status;
}

}  // namespace

TEST_CASE("a description becomes the descriptor that it says") {
  CHECK(library()->n_items == 2);
  CHECK(library()->needs_minor == 0);
  CHECK(std::string(library()->license) == "MIT");
  CHECK(library() == library());
  const sdp_descriptor& d = everything();
  CHECK(d.struct_size == sizeof(sdp_descriptor));
  CHECK(d.kind == SDP_KIND_CORRUPTION);
  CHECK(std::string(d.id) == "everything");
  CHECK(std::string(d.version) == "1.2.3");
  CHECK(std::string(d.level_unit) == "px");
  CHECK(std::string(d.example) == "needed = 1\n");
  CHECK(d.dtypes == (SDP_DTYPE_F32 | SDP_DTYPE_F64));
  CHECK(library()->items[1]->dtypes == SDP_DTYPE_F32);
  CHECK(d.n_params == 9);
}

TEST_CASE("a member's initialiser is the default, and the range says whether its ends belong to it") {
  CHECK(param(0).def->f == 2.5);
  CHECK(param(0).min == 0);
  CHECK(param(0).max == 10);
  CHECK(param(0).flags == SDP_PF_EXCLUSIVE_MIN);
  CHECK(std::string(param(0).unit) == "px");
  CHECK(param(1).def->i == 3);
  CHECK(param(1).flags == SDP_PF_EXCLUSIVE_MAX);
  CHECK(param(2).def->i == 1);
  CHECK(std::string(param(3).def->s) == "ada");
  CHECK(param(4).def->i == 1);
  CHECK(std::string(param(4).def->s) == "exact");
  CHECK(param(4).n_choices == 2);
  CHECK(std::string(param(4).choices[0]) == "fast");
  CHECK(std::vector<double>(param(5).def->fv, param(5).def->fv + param(5).def->n) == std::vector<double>{1, 0.5});
  CHECK(std::vector<int64_t>(param(6).def->iv, param(6).def->iv + param(6).def->n) == std::vector<int64_t>{4, 5});
  for (const size_t i : {7u, 8u}) {
    CHECK(param(i).def == nullptr);
    CHECK(param(i).flags == SDP_PF_REQUIRED);
  }
}

TEST_CASE("an instance gets its values") {
  auto* self = static_cast<Everything*>(instance(7));
  CHECK(self->width == 2.5);
  CHECK(self->count == 7);
  CHECK(self->on);
  CHECK(self->name == "ada");
  CHECK(self->mode == Mode::exact);
  CHECK(self->weights == std::vector<double>{1, 0.5});
  CHECK(self->sizes == std::vector<int64_t>{4, 5});
  CHECK(self->picture.shape == sdp::Shape{1, 1, 2});
  CHECK(self->picture.pixels == std::vector<float>{0.25f, 0.75f});
  CHECK(self->needed == 6);
  everything().corruption->destroy(self);
}

TEST_CASE("whatever a method throws becomes a status with its reason") {
  CHECK(apply(3) == SDP_OK);
  CHECK(apply(0) == SDP_E_INVALID);
  CHECK(reason.param == "count");
  CHECK(reason.text == "must not be 0");
  CHECK(apply(1) == SDP_E_INTERNAL);
  CHECK(reason.param == "none");
  CHECK(reason.text == "one is too few");
  CHECK(apply(2) == SDP_E_NOMEM);
  CHECK(reason.text == "out of memory");
  CHECK(apply(4) == SDP_E_CANCELLED);
  CHECK(reason.text == "");
  CHECK(apply(5) == SDP_E_INTERNAL);
  CHECK(reason.text == "an unknown exception was thrown");
}
