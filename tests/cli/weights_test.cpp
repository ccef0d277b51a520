// `sdpipe weights`: networks of other programs come in, are sampled from and trained on, and go back.
#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include "core/base/json.hpp"
#include "core/config/pipeline.hpp"
#include "core/data/images.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/training/checkpoint.hpp"
#include "core/training/loop.hpp"
#include "core/training/tensors.hpp"
#include "tests/cli/program.hpp"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const fs::path parity = SDPIPE_SOURCE_DIR "/tests/parity";

struct Raw {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
  bool operator==(const Raw&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Raw& raw) {
  return out << raw.dtype << " of " << raw.bytes.size() << " bytes";
}
using State = std::map<std::string, Raw>;

State state_in(const std::string& content) {
  State state;
  for (const StoredTensor& t : read_safetensors(content, "a file").tensors)
    state[t.name] = {t.dtype, t.shape, std::string(t.bytes)};
  return state;
}
State state_of(const fs::path& file) { return state_in(read_file(file)); }

void save(const fs::path& file, const State& state) {
  std::vector<StoredTensor> tensors;
  for (const auto& [name, raw] : state) tensors.push_back({name, raw.dtype, raw.shape, raw.bytes});
  write_file(file, write_safetensors(tensors));
}

// The tensors of a parity fixture whose names begin with `prefix`, without it.
State part(const std::string& fixture, const std::string& prefix) {
  State found;
  for (const auto& [name, raw] : state_of(parity / fixture)) {
    if (name.starts_with(prefix)) found[name.substr(prefix.size())] = raw;
  }
  return found;
}

// What score_sde's DataParallel saves for the network of the fixture.
State score_sde_state() {
  State state;
  for (const auto& [name, raw] : part("ncsnpp_ve_discrete.safetensors", "weight.")) state["module." + name] = raw;
  state["module.sigmas"] = part("ncsnpp_ve_discrete.safetensors", "buffer.").at("sigmas");
  return state;
}

const std::string rest = R"(
[run]
threads = 1

[data]
type = "folder"
path = "pictures"

[schedule]
type = "linear"

[noise]
type = "geometric"

[train]
images = 16
batch = 8

[sampler]
type = "ddim"

[sample]
steps = 2
count = 2
prior = "noise"
)";

const std::string score_sde = R"(
[corruption]
type = "identity"

[model]
type = "ncsnpp"
nf = 16
ch_mult = [1, 2]
num_res_blocks = 1
attn_resolutions = [16]
centered = false
range = "unit"
scale_by_sigma = true
output = "score"
condition = "sigma"
)";

const std::string diffusers = R"(
[corruption]
type = "heat_blur"
std_max = 2.0

[model]
type = "unet2d"
block_out_channels = [8, 16]
layers_per_block = 1
norm_num_groups = 4
down_block_types = "DownBlock2D, AttnDownBlock2D"
up_block_types = "AttnUpBlock2D, UpBlock2D"
flip_sin_to_cos = false
freq_shift = 1
downsample_padding = 0
attention_head_dim = 0
norm_eps = 1e-6
)";

ByteImage picture(int64_t side, int seed) {
  ByteImage image{{3, side, side}, {}};
  for (int64_t i = 0; i < image.shape.elements(); ++i)
    image.pixels.push_back(static_cast<uint8_t>(40 + (seed + 3) * (i % side) + 7 * (i / side % side)));
  return image;
}

const Workplace& place() {
  static const Workplace workplace;
  static const bool done = [] {
    for (const int side : {8, 16}) {
      const fs::path folder = workplace / (side == 16 ? "pictures" : "small");
      fs::create_directories(folder);
      for (int i = 0; i < 8; ++i) write_png(folder / fmt::format("{}.png", i), picture(side, i));
    }
    write_file(workplace / "ve.toml", rest + score_sde);
    std::string small = rest;
    small.replace(small.find("pictures"), 8, "small");
    write_file(workplace / "unet.toml", small + diffusers);
    save(workplace / "state.safetensors", score_sde_state());
    fs::copy(parity / "diffusers_folder", workplace / "theirs");
    return true;
  }();
  (void)done;
  return workplace;
}

Outcome weights(testing::Words words) {
  words.insert(words.begin(), "weights");
  return place().sdpipe(words);
}

Outcome bring(const std::string& name, testing::Words words) {
  words.insert(words.begin(), "import");
  words.push_back("run.name=" + name);
  return weights(std::move(words));
}

void succeed(const Outcome& outcome) {
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

void check_refusal(const testing::Words& words, int code, const std::string& sentence) {
  const Outcome outcome = weights(words);
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err == "error: " + sentence + "\n");
}

State stored(const std::string& run, const std::string& checkpoint, const std::string& file) {
  return state_of(place() / ("runs/" + run) / "checkpoints" / checkpoint / file);
}

// What the run's network makes of the fixture's images, against what diffusers' made of them.
double deviation(const fs::path& run, const fs::path& fixture) {
  const Registry registry(PluginSearch{{}, {SDPIPE_BUILD_DIR "/plugins"}});
  const Pipeline pipeline = load_pipeline(run / "resolved.toml", {}, registry);
  const StoredCheckpoint checkpoint = newest_checkpoint(run / "checkpoints").value();
  const Model model = make_model(pipeline, stored_shape(checkpoint));
  const auto trained = load_trained(pipeline, checkpoint, model);
  const std::string content = read_file(fixture);
  const NamedTensors known = unpack_tensors(content, fixture.string());
  const at::Tensor steps = known.at("input.condition"), y = known.at("output.y");
  Points at;
  for (int64_t b = 0; b < steps.numel(); ++b) {
    at.t.push_back(steps.const_data_ptr<double>()[b] / 999);
    at.level.push_back(0);
    at.sigma.push_back(0.5);
    at.key.push_back(0);
  }
  const at::Tensor found = model.forward({trained->ema.views(), at}, known.at("input.x").to(tensor_options(pipeline)));
  return (found.to(at::kDouble) - y).norm().item<double>() / y.norm().item<double>();
}

}  // namespace

TEST_CASE("a state of score_sde comes in, is sampled from at once, and goes on under another corruption") {
  const Outcome imported = bring("ve", {"ve.toml", "state.safetensors", "corruption={type=\"heat_blur\"}"});
  succeed(imported);
  CHECK(imported.out == "runs/ve\n");
  CHECK(imported.err ==
        "state.safetensors: a safetensors file, with the names of score_sde's NCSN++, DDPM++ or DDPM\n"
        "  \"module.\" before every name was taken away\n"
        "  \"sigmas\" was left out: the model makes the same of its settings\n");
  const State theirs = part("ncsnpp_ve_discrete.safetensors", "weight.");
  CHECK(stored("ve", "000000000", "model.safetensors") == theirs);
  CHECK(stored("ve", "000000000", "ema.safetensors") == theirs);
  succeed(place().sdpipe({"sample", "runs/ve", "-o", "drawn", "-q"}));
  CHECK(fs::exists(place() / "drawn/grid.png"));
  const Outcome trained = place().sdpipe({"run", "ve.toml", "run.name=ve", "corruption={type=\"heat_blur\"}"});
  succeed(trained);
  CHECK(contains(trained.err, "continuing from runs/ve/checkpoints/000000000 (0 of 16 images)\n"));
  CHECK_FALSE(contains(trained.err, "warning"));
  CHECK(stored("ve", "000000016", "model.safetensors") != theirs);
}

TEST_CASE("what does not fit is listed whole, and nothing is written") {
  State state = score_sde_state();
  state.erase("module.all_modules.0.bias");
  state.erase("module.all_modules.10.Conv_0.bias");
  state["module.extra"] = {"F32", {1}, std::string(4, '\0')};
  state["module.more"] = {"I64", {}, std::string(8, '\0')};
  state["module.all_modules.2.bias"].shape = {1, 16};
  state["module.all_modules.2.weight"].shape = {16, 3, 9};
  save(place() / "wrong.safetensors", state);
  const std::string start = "wrong.safetensors does not fit model \"ncsnpp\" of ve.toml; nothing was written\n";
  check_refusal({"import", "ve.toml", "wrong.safetensors", "run.name=none", "model.sigma_max=90"}, 5,
                start +
                    "missing (2):\n  all_modules.0.bias [64]\n  all_modules.10.Conv_0.bias [32]\n"
                    "not in the model (2):\n  module.extra [1]\n  module.more []\n"
                    "of another shape (2):\n  module.all_modules.2.bias [1, 16], the model needs [16]\n"
                    "  module.all_modules.2.weight [16, 3, 9], the model needs [16, 3, 3, 3]\n"
                    "settings (1):\n  sigmas: 50 to 0.01 in 1000 steps in the file, but sigma_max = 90, sigma_min = "
                    "0.01, num_scales = 1000 in [model]");
  state = score_sde_state();
  state["module.all_modules.0.bias"] = {"I32", {64}, std::string(256, '\0')};
  state["module.all_modules.1.bias"].bytes.replace(0, 4, "\0\0\xc0\x7f", 4);  // not a number
  const std::vector<double> large(16, 1e39);                                  // finite in float64 alone
  state["module.all_modules.2.bias"] = {
      "F64", {16}, std::string(reinterpret_cast<const char*>(large.data()), 16 * sizeof(double))};
  save(place() / "wrong.safetensors", state);
  check_refusal({"import", "ve.toml", "wrong.safetensors", "run.name=none"}, 5,
                start +
                    "no floats (1):\n  module.all_modules.0.bias I32\n"
                    "not finite (1):\n  module.all_modules.1.bias\n"
                    "too large for the run's precision (1):\n  module.all_modules.2.bias");
  const Outcome other = bring("none", {"ve.toml", "theirs", "model={type=\"ddpm\",ch=32,ch_mult=[1]}"});
  CHECK(other.code == 2);  // config.json is compared before the tensors
  const Outcome names = bring("none", {"ve.toml", "state.safetensors", "model={type=\"ddpm\",ch=32,ch_mult=[1]}"});
  CHECK(names.code == 5);
  CHECK(contains(
      names.err,
      "its tensors have the names of score_sde's NCSN++, DDPM++ or DDPM: [model] type = \"ncsnpp\"; for its "
      "DDPM with resblock_type = \"ddpm\", fir = false, progressive_input = \"none\", skip_rescale = false\n"));
  CHECK_FALSE(fs::exists(place() / "runs/none"));
}

TEST_CASE("a folder of diffusers' comes in, computes the same, and goes back") {
  const Outcome imported = bring("unet", {"unet.toml", "theirs"});
  succeed(imported);
  CHECK(
      imported.err ==
      "theirs: a diffusers folder of 3 files, with the names of diffusers' UNet2DModel\n  F16 was converted to F32\n");
  CHECK(deviation(place() / "runs/unet", parity / "unet2d/ddpm.safetensors") < 1e-5);
  succeed(place().sdpipe({"sample", "runs/unet", "-q"}));
  const Outcome exported = weights({"export", "runs/unet", "ours", "--format", "diffusers"});
  succeed(exported);
  CHECK(exported.out == "ours\n");
  CHECK(state_of(place() / "ours/diffusion_pytorch_model.safetensors") ==
        stored("unet", "000000000", "ema.safetensors"));
  const Json theirs = Json::parse(read_file(place() / "theirs/config.json"));
  Json ours = Json::parse(read_file(place() / "ours/config.json"));
  for (const auto& [key, value] : theirs.items()) {
    INFO(key);
    if (key != "_diffusers_version") CHECK(ours.at(key) == value);
    ours.erase(key);
  }
  CHECK(ours.empty());
  succeed(bring("again", {"unet.toml", "ours"}));
  CHECK(stored("again", "000000000", "model.safetensors") == stored("unet", "000000000", "model.safetensors"));
}

TEST_CASE("a file in a folder of diffusers' is held to the config.json beside it") {
  State state;
  for (const auto& entry : fs::directory_iterator(place() / "theirs"))
    if (entry.path().extension() == ".safetensors") state.merge(state_of(entry.path()));
  fs::create_directories(place() / "half");
  fs::copy(place() / "theirs/config.json", place() / "half/config.json");
  const std::string file = "half/diffusion_pytorch_model.fp16.safetensors";
  save(place() / file, state);
  check_refusal({"import", "unet.toml", file, "run.name=none", "model.freq_shift=0"}, 2,
                file +
                    " is another network than [model] of unet.toml; nothing was written\n"
                    "  freq_shift: 1 in config.json, 0 in [model]\n"
                    "`sdpipe weights info " +
                    file + "` prints a table to paste");
  const Outcome imported = bring("half", {"unet.toml", file});
  succeed(imported);
  CHECK(imported.err ==
        file +
            ": a safetensors file and the config.json beside it, with the names of diffusers' UNet2DModel\n"
            "  F16 was converted to F32\n");
}

TEST_CASE("an export over a folder of shards leaves no weights there but its own") {
  succeed(bring("over", {"unet.toml", "theirs"}));
  fs::copy(place() / "theirs", place() / "replaced");
  write_file(place() / "replaced/diffusion_pytorch_model.fp16.safetensors", "of the network before");
  write_file(place() / "replaced/README.md", "mine");
  succeed(weights({"export", "runs/over", "replaced", "--format", "diffusers", "--force"}));
  testing::Words names;
  for (const auto& [name, content] : contents(place() / "replaced")) names.push_back(name);
  CHECK(names == testing::Words{"README.md", "config.json", "diffusion_pytorch_model.safetensors"});
  CHECK(state_of(place() / "replaced/diffusion_pytorch_model.safetensors") ==
        stored("over", "000000000", "ema.safetensors"));
}

TEST_CASE("half precision becomes double in an exact run") {
  succeed(bring("exact", {"unet.toml", "theirs", "+run.precision=float64"}));
  CHECK(deviation(place() / "runs/exact", parity / "unet2d/ddpm.safetensors") < 1e-9);
}

TEST_CASE("a folder of diffusers' for another network is refused key by key") {
  check_refusal({"import", "unet.toml", "theirs", "run.name=none", "model.norm_eps=1e-5", "model.freq_shift=0",
                 "model.attention_head_dim=4", "+model.act_fn=relu", "+model.dropout=0.5",
                 "model.down_block_types=DownBlock2D AttnDownBlock2D"},
                2,
                "theirs is another network than [model] of unet.toml; nothing was written\n"
                "  act_fn: \"silu\" in config.json, \"relu\" in [model]\n"
                "  attention_head_dim: null in config.json, 4 in [model]\n"
                "  freq_shift: 1 in config.json, 0 in [model]\n"
                "  norm_eps: 1e-06 in config.json, 1e-05 in [model]\n"
                "`sdpipe weights info theirs` prints a table to paste");
  CHECK_FALSE(fs::exists(place() / "runs/none"));
}

TEST_CASE("attention under the names of old diffusers is renamed") {
  State state;
  const std::map<std::string, std::string> names = {
      {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
  for (const auto& [name, raw] : part("unet2d/ddpm.safetensors", "weight.")) {
    std::string old = name;
    Raw changed = raw;
    for (const auto& [now, before] : names) {
      if (const size_t at = old.find(now); at != std::string::npos) {
        old.replace(at, now.size(), before);
        if (raw.shape.size() == 2) changed.shape.insert(changed.shape.end(), {1, 1});
      }
    }
    state[old] = changed;
  }
  save(place() / "old.safetensors", state);
  const Outcome outcome = bring("old", {"unet.toml", "old.safetensors"});
  succeed(outcome);
  CHECK(
      contains(outcome.err,
               "  32 tensors of attention renamed from query, key, value, proj_attn to to_q, to_k, to_v, to_out.0\n"));
  succeed(bring("new", {"unet.toml", "theirs"}));
  CHECK(stored("old", "000000000", "model.safetensors") == stored("new", "000000000", "model.safetensors"));
}
