#include <fmt/format.h>

#include <algorithm>

#include "core/base/json.hpp"
#include "core/base/text.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/example.hpp"
#include "core/host/conformance.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {
namespace {

std::vector<const Plugin*> sorted(const Registry& registry) {
  std::vector<const Plugin*> plugins;
  for (const Plugin& p : registry.plugins()) plugins.push_back(&p);
  std::sort(plugins.begin(), plugins.end(), [](const Plugin* a, const Plugin* b) {
    return std::pair(a->kind(), a->id()) < std::pair(b->kind(), b->id());
  });
  return plugins;
}

void show(const Plugin& p) {
  const sdp_descriptor& d = *p.descriptor;
  fmt::print("{} ({}, version {}, {})\n{}\nfrom {}\n", p.id(), kind_name(p.kind()), d.version,
             p.license.empty() ? "no license stated" : p.license, d.summary, p.file.string());
  if (d.level_unit && *d.level_unit) fmt::print("level in {}\n", d.level_unit);
  fmt::print("{}\n", p.schema.empty() ? "\nno parameters" : "\nparameters");
  for (const Param& param : p.schema)
    fmt::print("  {:<18} {}\n  {:<18} {}\n", param.key, param.describe(), "", param.doc);
  if (d.example && *d.example) fmt::print("\nexample\n{}\n", d.example);
}

at::Device checked_device(const std::string& name) {
  if (!is_device_name(name)) throw UsageError(fmt::format("--device must be cpu, cuda, cuda:N or auto, not {}", name));
  try {
    const at::Device device = device_named(name);
    set_arithmetic({}, device);
    work_on(device);
    return device;
  } catch (const RunError& e) {
    const std::string reason = e.what();
    throw UsageError(fmt::format("--device {}: {}", name, reason.substr(0, reason.find(';'))));
  }
}

}  // namespace

int plugins_list(Workspace& workspace, bool json) {
  Json list = Json::array();
  for (const Plugin* p : sorted(workspace.registry())) {
    if (json)
      list.push_back({{"kind", kind_name(p->kind())},
                      {"id", p->id()},
                      {"version", p->descriptor->version},
                      {"summary", p->descriptor->summary},
                      {"file", p->file.string()}});
    else
      fmt::print("{:<11} {:<20} {:<8} {}\n{:<41} {}\n", kind_name(p->kind()), p->id(), p->descriptor->version,
                 p->descriptor->summary, "", p->file.string());
  }
  if (json) fmt::print("{}\n", list.dump(1));
  return 0;
}

int plugins_show(Workspace& workspace, const std::string& id) {
  std::vector<std::string> ids;
  bool found = false;
  for (const Plugin* p : sorted(workspace.registry())) {
    ids.push_back(p->id());
    if (p->id() != id) continue;
    if (found) fmt::print("\n");
    show(*p);
    found = true;
  }
  if (!found)
    throw UsageError(
        fmt::format("no plugin named \"{}\"{}; `sdpipe plugins list` shows all", id, did_you_mean(id, ids)));
  return 0;
}

int plugins_check(Workspace&, const std::filesystem::path& file, const std::string& device_name, bool json) {
  const at::Device device = checked_device(device_name);
  Json list = Json::array();
  bool all_hold = true;
  for (const Plugin& plugin : load_library(file)) {
    for (const LawResult& law : check_laws(plugin, example_settings(plugin), {3, 16, 12}, device)) {
      all_hold = all_hold && law.holds;
      if (json)
        list.push_back({{"plugin", plugin.id()}, {"law", law.id}, {"holds", law.holds}, {"detail", law.detail}});
      else
        fmt::print("{:<4} {:<16} {:<40} {}\n", law.holds ? "pass" : "FAIL", plugin.id(), law.id, law.detail);
    }
  }
  if (json) fmt::print("{}\n", list.dump(1));
  return all_hold ? 0 : static_cast<int>(Exit::plugin);
}

}  // namespace sdpipe
