#include "core/config/pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/text.hpp"
#include "core/config/check_pipeline.hpp"
#include "core/config/data_table.hpp"
#include "core/config/plugin_tables.hpp"
#include "core/config/tables.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {
namespace {

constexpr std::string_view kTables[] = {"run",   "data",  "corruption", "schedule", "noise",
                                        "model", "train", "sampler",    "sample"};

std::vector<std::string> table_names() { return {std::begin(kTables), std::end(kTables)}; }

// Of a model: is it fitted in closed form, and never trained?
bool offers_fit(const sdp_descriptor& d) { return SDP_HAS(d.model, sdp_model_vt, fit); }

// What it takes to turn a document into a pipeline.
class Checker {
 public:
  Checker(const Document& document, const std::filesystem::path& file, const Registry& registry,
          std::vector<Problem>& problems)
      : document_(document),
        file_(file),
        plugins_(registry, std::filesystem::absolute(file).parent_path(), problems),
        problems_(problems) {}

  Pipeline check() {
    check_table_names();
    Pipeline pipeline;
    pipeline.source = document_.source->name;
    check_run(pipeline);
    check_data(pipeline);
    check_plugins(pipeline);
    check_train(pipeline);
    check_sample(pipeline);
    check_capabilities(pipeline);
    return pipeline;
  }

 private:
  void complain(const Position& where, std::string text) { problems_.push_back({where, std::move(text)}); }

  void check_table_names() {
    for (const Table::Entry& entry : document_.root.entries) {
      const bool of_experiment = entry.key == "variant" || entry.key == "ablate";  // core/config/experiment.cpp
      if (!of_experiment && !std::count(std::begin(kTables), std::end(kTables), entry.key)) check_stray(entry);
    }
  }

  void check_stray(const Table::Entry& entry) {
    const std::vector<std::string> names = table_names();
    // A table that is not there yet is meant rather than one that is.
    std::string hint = did_you_mean(entry.key, missing_tables());
    if (hint.empty()) hint = did_you_mean(entry.key, names);
    if (hint.empty()) hint = "; known: " + join(names);
    const bool is_table = entry.value.get_if<Table>() || entry.value.get_if<Array>();
    complain(entry.key_where, is_table ? fmt::format("unknown table \"{}\"{}", entry.key, hint)
                                       : fmt::format("key \"{}\" stands outside the tables{}", entry.key, hint));
  }

  std::vector<std::string> missing_tables() const {
    std::vector<std::string> names;
    for (const std::string_view name : kTables) {
      if (!document_.root.find(name)) names.emplace_back(name);
    }
    return names;
  }

  // Null where the table is absent or not a table; then that has been said, if it matters.
  const Table* table(std::string_view name) {
    const Table::Entry* entry = document_.root.find(name);
    if (!entry) return nullptr;
    const Table* found = entry->value.get_if<Table>();
    if (!found) {
      complain(entry->key_where, fmt::format("\"{}\" must be a table, not {}", name, entry->value.type_name()));
    }
    return found;
  }

  void require(std::string_view name, std::string_view remedy) {
    if (document_.root.find(name)) return;
    complain(document_.root.where, fmt::format("table \"{}\" is missing: {}", name, remedy));
  }

  Settings host_table(const Schema& schema, std::string_view name, const Table* found) {
    Table absent;
    absent.where = document_.root.where;
    return check_table(schema, found ? *found : absent, fmt::format("table \"{}\"", name), {}, problems_);
  }

  void check_run(Pipeline& pipeline) {
    pipeline.run = host_table(run_schema(), "run", table("run"));
    check_device(pipeline.run);
    Settings::Entry* name = pipeline.run.find("name");
    if (!name) return;
    if (!name->is_set) name->value = file_.stem().string();
    const std::string& text = std::get<std::string>(name->value);
    if (is_plain_folder_name(text)) return;
    complain(name->where, fmt::format("table \"run\": parameter \"name\" must be a plain folder name (no \"/\", no "
                                      "\".\" or \"-\" in front, at most 200 bytes), not {}",
                                      toml_text(text)));
  }

  void check_device(const Settings& run) {
    const Settings::Entry* device = run.find("device");
    if (!device || is_device_name(std::get<std::string>(device->value))) return;
    complain(
        device->where,
        fmt::format("table \"run\": parameter \"device\" must be \"auto\", \"cpu\", \"cuda\" or \"cuda:N\" with the "
                    "number N of a GPU, not {}",
                    toml_text(device->value)));
  }

  void check_data(Pipeline& pipeline) {
    require("data", "add [data] with type and path of the images");
    const Table* found = table("data");
    if (!found) return;
    DataTable data = check_data_table(*found, problems_);
    pipeline.data = std::move(data.settings);
    pipeline.crop = data.crop;
  }

  void check_plugins(Pipeline& pipeline) {
    require_plugin("corruption", SDP_KIND_CORRUPTION, 0);
    require_plugin("schedule", SDP_KIND_SCHEDULE, SDP_CAP_FILLS_LEVEL);
    require_plugin("model", SDP_KIND_MODEL, 0);
    require_plugin("sampler", SDP_KIND_SAMPLER, 0);
    if (const auto* entry = document_.root.find("corruption")) pipeline.corruption = plugins_.corruption(entry->value);
    if (const Table* schedule = table("schedule")) pipeline.schedule = plugins_.levels(*schedule);
    if (const Table* noise = table("noise")) pipeline.noise = plugins_.sigma(*noise);
    plugins_.check_pair(pipeline.schedule, pipeline.noise, document_.root.find("noise"));
    if (const Table* model = table("model")) pipeline.model = plugins_.one(SDP_KIND_MODEL, *model, "model");
    if (const Table* sampler = table("sampler")) pipeline.sampler = plugins_.one(SDP_KIND_SAMPLER, *sampler, "sampler");
  }

  void require_plugin(std::string_view name, int32_t kind, uint32_t capability) {
    require(name, fmt::format("add [{}] with type = \"...\"{}", name, plugins_.known(kind, capability)));
  }

  void check_train(Pipeline& pipeline) {
    const Table* found = table("train");
    if (found) pipeline.train = host_table(train_schema(), "train", found);
    if (pipeline.model.plugin) check_model_against_train(pipeline, found);
    if (!pipeline.train) return;
    Settings& train = *pipeline.train;
    const Settings::Entry* betas = train.find("betas");
    if (betas && std::get<std::vector<double>>(betas->value).size() != 2) {
      complain(betas->where,
               "table \"train\": parameter \"betas\" must have 2 elements, the decays of Adam's two moments");
    }
    check_train_lengths(train);
    check_parts(train);
  }

  void check_model_against_train(const Pipeline& pipeline, const Table* train) {
    const std::string id = pipeline.model.plugin->id();
    const bool is_fitted = offers_fit(*pipeline.model.plugin->descriptor);
    const bool has_train = document_.root.find("train") != nullptr;
    if (is_fitted && train)
      complain(train->where, fmt::format("model \"{}\" is fitted, not trained: remove [train]", id));
    if (!is_fitted && !has_train) {
      complain(pipeline.model.where, fmt::format("model \"{}\" is trained: add [train] with images = N", id));
    }
  }

  void check_parts(const Settings& train) {
    const Settings::Entry *batch = train.find("batch"), *parts = train.find("accumulate");
    if (!batch || !parts) return;
    const int64_t images = std::get<int64_t>(batch->value), n = std::get<int64_t>(parts->value);
    if (n <= images) return;
    complain(parts->where,
             fmt::format("table \"train\": parameter \"accumulate\" is the number of parts of a batch, and a batch of "
                         "{} has at most {}, not {}",
                         images, images, n));
  }

  void check_train_lengths(Settings& train) {
    const Settings::Entry* images = train.find("images");
    const Settings::Entry* batch = train.find("batch");
    Settings::Entry* every = train.find("checkpoint_every_images");
    if (!images || !batch || !every) return;
    const int64_t n = std::get<int64_t>(images->value), b = std::get<int64_t>(batch->value);
    if (n < b) {
      complain(images->where,
               fmt::format("table \"train\": parameter \"images\" must be at least one batch of {}, not {}", b, n));
    }
    if (std::get<int64_t>(every->value) == 0) every->value = std::max(b, n / 10);
  }

  void check_sample(Pipeline& pipeline) {
    pipeline.sample = host_table(sample_schema(), "sample", table("sample"));
    Settings::Entry* seed = pipeline.sample.find("seed");
    const Settings::Entry* run_seed = pipeline.run.find("seed");
    if (seed && run_seed && !seed->is_set) seed->value = run_seed->value;
  }

  void check_capabilities(const Pipeline& pipeline) {
    check_capability(pipeline.run, pipeline.model, problems_);
    check_capability(pipeline.run, pipeline.sampler, problems_);
    for (const PluginChoice& choice : pipeline.corruption) check_capability(pipeline.run, choice, problems_);
  }

  const Document& document_;
  std::filesystem::path file_;
  PluginTables plugins_;
  std::vector<Problem>& problems_;
};

}  // namespace

std::vector<std::string> pipeline_tables() { return table_names(); }

bool is_plain_folder_name(std::string_view text) {
  const bool control = std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  const bool plain = !text.empty() && text.find('/') == std::string::npos && text[0] != '.' && text[0] != '-';
  return plain && !control && text.size() <= 200;
}

void check_capability(const Settings& run, const PluginChoice& choice, std::vector<Problem>& problems) {
  if (!choice.plugin) return;
  const sdp_descriptor& d = *choice.plugin->descriptor;
  const auto set_to = [&](std::string_view key, std::string_view value) {
    const Settings::Entry* entry = run.find(key);
    return entry && std::get<std::string>(entry->value) == value;
  };
  const auto refuse = [&](std::string_view setting, std::string_view lacks) {
    problems.push_back({choice.where, fmt::format("{} \"{}\" cannot be used with run.{}: it does not offer {}",
                                                  kind_name(d.kind), d.id, setting, lacks)});
  };
  if (set_to("precision", "float64") && !(d.dtypes & SDP_DTYPE_F64)) refuse("precision = \"float64\"", "float64");
  if (set_to("precision", "bfloat16") && d.kind == SDP_KIND_MODEL && !(d.dtypes & SDP_DTYPE_BF16))
    refuse("precision = \"bfloat16\"", "bfloat16; remove run.precision to compute in float32");
  // Corruptions, samplers and fitted models that compute on the CPU alone get copies there; trained ones would spend
  // their time in them.
  const bool is_trained = d.kind == SDP_KIND_MODEL && !offers_fit(d);
  const Settings::Entry* device = run.find("device");
  const std::string name = device ? std::get<std::string>(device->value) : "";
  if (is_trained && is_device_name(name) && name.starts_with("cuda") && !(d.devices & SDP_ON_CUDA))
    refuse(fmt::format("device = \"{}\"", name), "CUDA; set run.device = \"cpu\"");
}

Pipeline check_pipeline(const Document& document, const std::filesystem::path& file, const Registry& registry,
                        std::vector<Problem>& problems) {
  return Checker(document, file, registry, problems).check();
}

Position position_of(const PluginChoice& choice, std::string_view key) {
  const Settings::Entry* entry = choice.settings.find(key);
  return entry ? entry->where : choice.where;
}

}  // namespace sdpipe
