#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "core/base/log.hpp"
#include "core/base/memory.hpp"
#include "core/base/text.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/host/gpu.hpp"
#include "core/host/services.hpp"

namespace sdpipe {
namespace {

ColorChoice color_choice(const std::string& word) {
  const std::map<std::string, ColorChoice> choices = {
      {"auto", ColorChoice::automatic}, {"always", ColorChoice::always}, {"never", ColorChoice::never}};
  const auto found = choices.find(word);
  if (found != choices.end()) return found->second;
  throw CLI::ValidationError("--color", fmt::format("must be auto, always or never, not {}", word));
}

// Fills `action` with the verb's work while the command line is parsed.
class CommandLine {
 public:
  CommandLine() {
    app_.description(
        "Diffusion models for general linear corruptions: train, sample and compare, from a pipeline file.");
    app_.set_version_flag("--version", "sdpipe " SDPIPE_VERSION);
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.add_option("--plugin", options_.plugin_files, "Load this plugin file first; may be given again");
    app_.add_option("--runs", options_.runs, "Folder in which run folders are made")->capture_default_str();
    app_.add_flag("-q,--quiet", quiet_, "No progress, only warnings and errors");
    app_.add_flag("-v,--verbose", verbose_, "Debug messages too");
    app_.add_option_function<std::string>(
        "--color", [this](const std::string& word) { color_ = color_choice(word); }, "auto, always or never");
    add_run();
    add_sample();
    add_restore();
    add_ablate();
    add_schedule();
    add_plugins();
    add_data();
    add_weights();
    on(app_.add_subcommand("doctor", "Say what this machine and this build offer"), doctor);
  }

  int parse_and_act(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& e) {
      return app_.exit(e);  // --help, --version
    } catch (const CLI::ParseError& e) {
      throw UsageError(explain(e, {argv + 1, argv + argc}));
    }
    set_log_level(verbose_ ? LogLevel::debug : quiet_ ? LogLevel::warning : LogLevel::info);
    options_.progress = progress_on_stderr(color_, quiet_);
    options_.command_line.assign(argv, argv + argc);
    Workspace workspace(options_, stop_requested());
    return action_(workspace);
  }

 private:
  void on(CLI::App* verb, std::function<int(Workspace&)> action) {
    verb->callback([this, action = std::move(action)] { action_ = action; });
  }

  void add_file(CLI::App* verb, std::filesystem::path& file, std::vector<std::string>& overrides) {
    verb->add_option("file", file, "Pipeline file")->required();
    verb->add_option("overrides", overrides, "key=value, +key=value, ~key");
  }

  void add_run() {
    CLI::App* run_verb = app_.add_subcommand("run", "Train, sample and report; goes on where it was");
    add_file(run_verb, run_.file, run_.overrides);
    run_verb->add_flag("--fresh", run_.fresh, "Move an existing run of that name aside and begin anew");
    run_verb->add_flag("--force", run_.force, "Compare by scores of too few samples too, which mean nothing");
    on(run_verb, [this](Workspace& workspace) { return run(workspace, run_); });
    CLI::App* check_verb = app_.add_subcommand("check", "Check a pipeline file and print the plan, without running it");
    add_file(check_verb, check_.file, check_.overrides);
    check_verb->add_flag("--loss", check_.loss,
                         "Say where the loss goes along the path too; reads the data and selects the schedule");
    on(check_verb, [this](Workspace& workspace) { return check(workspace, check_); });
  }

  void add_sample() {
    CLI::App* verb = app_.add_subcommand("sample", "Draw samples from a run or one of its checkpoints");
    verb->add_option("run", sample_.run, "Folder of a run, or of a checkpoint")->required();
    verb->add_option("overrides", sample_.overrides, "sampler.type=ddim, sample.steps=25, ...");
    verb->add_option("-o,--output", sample_.output,
                     "Folder for the images, in place of samples there; default: samples-SAMPLER-STEPS, in the run's");
    on(verb, [this](Workspace& workspace) { return sample(workspace, sample_); });
  }

  void add_restore() {
    CLI::App* verb = app_.add_subcommand("restore", "Restore corrupted images with a run's model");
    verb->add_option("run", restore_.run, "Folder of a run, or of a checkpoint")->required();
    verb->add_option("words", restore_.words, "Image files; sampler.type=ddim, sample.steps=25, ...");
    verb->add_option("--method", restore_.request.method,
                     "reverse, projection or guidance; default: all that can be used");
    verb->add_option("--level", restore_.request.level, "At which level the images are corrupted");
    verb->add_option("--noise", restore_.request.noise,
                     "Standard deviation of their noise; default: rounding to bytes");
    verb->add_option("--corruption", restore_.request.corruption,
                     "Another corruption than the run's, as TOML: '{ type = \"mask\", image = \"my_mask.png\" }'");
    verb->add_option("--strength", restore_.request.strength, "Of the guidance")->capture_default_str();
    verb->add_option("--average", restore_.request.average, "Mean of so many samples of each image")
        ->capture_default_str();
    verb->add_flag("--clean", restore_.request.clean,
                   "The files are clean: corrupt them first, and print PSNR and SSIM");
    verb->add_option("--held-out", restore_.request.held_out, "The same with so many images that the run has not seen");
    verb->add_flag("--json", restore_.json, "Print JSON");
    verb->add_option("-o,--output", restore_.request.output,
                     "Folder for the images; default: restored, in the run's folder");
    on(verb, [this](Workspace& workspace) { return restore(workspace, restore_); });
  }

  void add_ablate() {
    CLI::App* verb =
        app_.add_subcommand("ablate", "Compare samplers and settings of trained models; goes on where it was");
    verb->add_option("place", ablate_.place, "Folder of a run, or its pipeline file")->required();
    verb->add_option("overrides", ablate_.overrides,
                     "ablate.0.count=100, '+ablate=[{ sample.steps = [10, 50] }]', ...");
    verb->add_flag("--json", ablate_.json, "Print JSON");
    verb->add_flag("--force", ablate_.force, "Take scores of too few samples too, which mean nothing");
    on(verb, [this](Workspace& workspace) { return ablate(workspace, ablate_); });
  }

  void add_schedule() {
    CLI::App* verb = app_.add_subcommand("schedule", "Print the path that a pipeline's schedule chooses");
    add_file(verb, schedule_.file, schedule_.overrides);
    verb->add_option("--svg", schedule_.svg, "Draw the path into this file too");
    verb->add_flag("--json", schedule_.json, "Print JSON");
    on(verb, [this](Workspace& workspace) { return schedule(workspace, schedule_); });
  }

  void add_plugins() {
    CLI::App* verb = app_.add_subcommand("plugins", "What plugins there are")->require_subcommand(1);
    CLI::App* list = verb->add_subcommand("list", "Each plugin and where it came from");
    list->add_flag("--json", json_, "Print JSON");
    on(list, [this](Workspace& workspace) { return plugins_list(workspace, json_); });
    CLI::App* show = verb->add_subcommand("show", "What a plugin does and its parameters");
    show->add_option("id", word_, "Id of the plugin")->required();
    on(show, [this](Workspace& workspace) { return plugins_show(workspace, word_); });
    CLI::App* check_verb = verb->add_subcommand("check", "Test a plugin file against the laws of its kind");
    check_verb->add_option("file", path_, "A .sdp.so file")->required();
    check_verb->add_option("--device", device_, "Where it computes: cpu, cuda, cuda:N or auto")->capture_default_str();
    check_verb->add_flag("--json", json_, "Print JSON");
    on(check_verb, [this](Workspace& workspace) { return plugins_check(workspace, path_, device_, json_); });
  }

  void add_data() {
    CLI::App* verb = app_.add_subcommand("data", "Make and inspect data sets")->require_subcommand(1);
    CLI::App* emoji = verb->add_subcommand("emoji", "Write the colour emoji of a font as PNG files");
    emoji->add_option("folder", path_, "Where to write them")->required();
    emoji->add_option("--font", font_, "Noto Color Emoji's file")->capture_default_str();
    on(emoji, [this](Workspace& workspace) { return data_emoji(workspace, path_, font_); });
    CLI::App* info = verb->add_subcommand("info", "Say what a pipeline's data set holds");
    add_file(info, run_.file, run_.overrides);
    on(info, [this](Workspace& workspace) { return data_info(workspace, run_.file, run_.overrides); });
  }

  void add_weights() {
    const auto choose = [](CLI::App* verb, bool& raw) {
      verb->add_flag("--raw", raw, "Of a run, the weights as trained instead of their moving average");
    };
    CLI::App* verb = app_.add_subcommand("weights", "Look into weights, bring them in, take them out");
    verb->require_subcommand(1);
    CLI::App* info = verb->add_subcommand("info", "Say what a file or folder of weights holds");
    info->add_option("place", path_, "A .safetensors file, a diffusers folder, a run or a checkpoint")->required();
    choose(info, raw_);
    info->add_flag("--json", json_, "Print JSON");
    on(info, [this](Workspace& workspace) { return weights_info(workspace, path_, raw_, json_); });
    CLI::App* in = verb->add_subcommand("import", "Make a pipeline's run with weights from elsewhere, to go on from");
    in->add_option("file", import_.file, "Pipeline file")->required();
    in->add_option("source", import_.what.source, "A .safetensors file, a diffusers folder, a run or a checkpoint")
        ->required();
    in->add_option("overrides", import_.overrides, "key=value, +key=value, ~key");
    choose(in, import_.what.raw);
    in->add_flag("--fresh", import_.what.fresh, "Move an existing run of that name aside");
    on(in, [this](Workspace& workspace) { return weights_import(workspace, import_); });
    CLI::App* out = verb->add_subcommand("export", "Write a run's weights for other programs");
    out->add_option("run", export_.run, "Folder of a run, or of a checkpoint")->required();
    out->add_option("output", export_.output, "The file to write; with --format diffusers, the folder")->required();
    choose(out, export_.raw);
    out->add_option("--format", export_.format, "safetensors or diffusers")->capture_default_str();
    out->add_flag("--force", export_.force, "Replace what is there");
    on(out, [this](Workspace& workspace) { return weights_export(workspace, export_); });
  }

  bool takes_value(const CLI::App& level, const std::string& name) const {
    const CLI::Option* option = level.get_option_no_throw(name);
    if (!option) option = app_.get_option_no_throw(name);
    return option && option->get_items_expected_max() > 0;
  }

  // CLI11's sentence, with a nearer one where a word is mistyped.
  std::string explain(const CLI::ParseError& error, const std::vector<std::string>& words) const {
    const CLI::App* level = &app_;
    std::string path;       // "plugins show "
    bool is_value = false;  // of the option before it
    for (const std::string& word : words) {
      if (std::exchange(is_value, false)) continue;
      std::vector<std::string> verbs, options;
      for (const CLI::App* sub : level->get_subcommands([](const CLI::App*) { return true; }))
        verbs.push_back(sub->get_name());
      if (word.starts_with("--")) {
        for (const CLI::App* app : {static_cast<const CLI::App*>(&app_), level}) {
          for (const CLI::Option* option : app->get_options()) options.push_back(option->get_name());
        }
        const std::string name = word.substr(0, word.find('='));
        if (std::find(options.begin(), options.end(), name) == options.end() && name != "--help") {
          return fmt::format("unknown option {}{}", name, did_you_mean(name, options));
        }
        is_value = word == name && takes_value(*level, name);
      } else if (!word.starts_with("-") && !verbs.empty()) {
        if (std::find(verbs.begin(), verbs.end(), word) == verbs.end()) {
          return fmt::format("unknown verb \"{}\"{}; known: {}", word, did_you_mean(word, verbs), join(verbs));
        }
        level = level->get_subcommand(word);
        path += word + " ";
      }
    }
    return fmt::format("{}\nRun `sdpipe {}--help` for what there is.", error.what(), path);
  }

  CLI::App app_{"", "sdpipe"};
  Workspace::Options options_;
  bool quiet_ = false, verbose_ = false;
  ColorChoice color_ = ColorChoice::automatic;
  std::function<int(Workspace&)> action_;
  RunArguments run_;
  CheckArguments check_;
  SampleArguments sample_;
  RestoreArguments restore_;
  AblateArguments ablate_;
  ScheduleArguments schedule_;
  ImportArguments import_;
  WeightsExport export_;
  bool json_ = false, raw_ = false;
  std::string word_, device_ = "cpu";
  std::filesystem::path path_, font_ = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";
};

int guarded_main(int argc, char** argv) {
  keep_freed_memory();
  install_crash_handlers();
  try {
    return CommandLine().parse_and_act(argc, argv);
  } catch (const Stopped& e) {
    log(LogLevel::info, e.what());
    return static_cast<int>(e.code());
  } catch (const Cancelled&) {
    log(LogLevel::info, "stopped; nothing was written");
    return static_cast<int>(Exit::stopped);
  } catch (const Error& e) {
    log(LogLevel::error, e.what());
    return static_cast<int>(e.code());
  } catch (const c10::OutOfMemoryError& e) {
    log(LogLevel::error, out_of_memory(e.what_without_backtrace()));
    return static_cast<int>(Exit::run_failed);
  } catch (const c10::Error& e) {  // of LibTorch; on a GPU it may be about work that was queued before
    const std::string text = e.what_without_backtrace();
    const bool is_of_gpu = text.find("CUDA") != std::string::npos;
    log(LogLevel::error,
        fmt::format("{}{}", text.substr(0, text.find('\n')),
                    is_of_gpu ? "; run again with run.synchronous=true to learn whose work failed" : ""));
    return static_cast<int>(Exit::run_failed);
  } catch (const std::system_error& e) {  // a file that cannot be read or written, the disk full
    log(LogLevel::error, e.what());
    return static_cast<int>(Exit::checkpoint);
  } catch (const std::exception& e) {
    log(LogLevel::error, e.what());
    return static_cast<int>(Exit::run_failed);
  }
}

}  // namespace
}  // namespace sdpipe

int main(int argc, char** argv) { return sdpipe::guarded_main(argc, argv); }
