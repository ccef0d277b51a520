#include "core/host/library.hpp"

#include <fmt/format.h>
#include <unistd.h>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include <algorithm>
#include <map>

#include "core/abi/fingerprint.hpp"
#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/text.hpp"
#include "core/host/services.hpp"
#include "core/host/symbols.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;
constexpr const char* entry_symbol = "sdp_plugin_v1";
constexpr std::string_view entry_prefix = "sdp_plugin_v";

[[noreturn]] void refuse(const fs::path& file, const std::string& why) {
  throw PluginError(fmt::format("plugin {}: {}", file.string(), why));
}

void require_safe_file(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::status_known(status)) refuse(file, error.message());
  if (!fs::exists(status)) refuse(file, "there is no such file");
  if (!fs::is_regular_file(status)) refuse(file, "this is not a regular file");
  if ((status.permissions() & fs::perms::others_write) != fs::perms::none) {
    refuse(file, fmt::format("everyone may write to this file, so that anyone could change what runs here; "
                             "`chmod o-w {}` if you trust it",
                             file.string()));
  }
}

std::string content_of(const fs::path& file) {
  try {
    return read_file(file);
  } catch (const std::system_error& e) {
    refuse(file, fmt::format("it cannot be read: {}", e.code().message()));
  }
}

void require_entry_symbol(const fs::path& file) {
  const std::string content = content_of(file);
  if (!content.starts_with("\x7f"
                           "ELF"))
    refuse(file, "this is not a shared library");
  const auto symbols = exported_symbols(content);
  if (!symbols)
    refuse(file, "this is not a whole shared library for 64-bit Linux: its table of exported symbols cannot be read");
  if (std::find(symbols->begin(), symbols->end(), entry_symbol) != symbols->end()) return;
  for (const std::string& symbol : *symbols) {
    if (symbol.starts_with(entry_prefix)) {
      refuse(file, fmt::format("it is made for major version {} of the plugin ABI, this sdpipe speaks {}; rebuild it "
                               "against this sdpipe's plugin.h",
                               symbol.substr(entry_prefix.size()), SDP_ABI_MAJOR));
    }
  }
  refuse(file, fmt::format("it exports no {}, so it is not an sdpipe plugin", entry_symbol));
}

// Handles are kept for ever: function pointers and static descriptors stay valid until the process ends.
std::map<std::string, boost::dll::shared_library>& open_libraries() {
  static auto* libraries = new std::map<std::string, boost::dll::shared_library>();
  return *libraries;
}

// What the dynamic linker said, without the words that Boost puts around it (the error code at their end is unrelated)
// and without the name of the file.
std::string linker_reason(std::string text, const std::string& file) {
  constexpr std::string_view before = "dlerror system message: ", after = "): ";
  if (const size_t at = text.find(before); at != text.npos) text.erase(0, at + before.size());
  if (const size_t at = text.rfind(after); at != text.npos) text.resize(at);
  return text.starts_with(file + ": ") ? text.substr(file.size() + 2) : text;
}

boost::dll::shared_library& open_library(const fs::path& file) {
  const std::string name = fs::canonical(file).string();
  if (const auto it = open_libraries().find(name); it != open_libraries().end()) return it->second;
  try {
    boost::dll::shared_library library(boost::dll::fs::path(name),
                                       boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    return open_libraries().emplace(name, std::move(library)).first->second;
  } catch (const std::exception& e) {
    refuse(file, fmt::format("the dynamic linker refuses it: {}; `ldd -r {}` shows what it lacks",
                             linker_reason(e.what(), name), name));
  }
}

void require_compatible(const fs::path& file, const sdp_library& library) {
  constexpr size_t smallest = SDP_SIZE_THROUGH(sdp_library, items);
  if (library.struct_size < smallest) {
    refuse(file, fmt::format("its sdp_library has {} bytes, at least {} are needed", library.struct_size, smallest));
  }
  if (library.needs_minor > SDP_ABI_MINOR) {
    refuse(file, fmt::format("it needs version {}.{} of the plugin ABI, this sdpipe has {}.{}; use a newer sdpipe",
                             SDP_ABI_MAJOR, library.needs_minor, SDP_ABI_MAJOR, SDP_ABI_MINOR));
  }
  const std::string_view fingerprint = library.fingerprint ? library.fingerprint : "";
  if (!fingerprint.empty() && fingerprint != SDP_FINGERPRINT) {
    refuse(file, fmt::format("it was built with {}, this sdpipe with {}; rebuild it", fingerprint, SDP_FINGERPRINT));
  }
  if (library.n_items == 0 || !library.items) refuse(file, "it holds no plugin");
}

const void* table_of(const sdp_descriptor& d) {
  switch (d.kind) {
    case SDP_KIND_CORRUPTION:
      return d.corruption;
    case SDP_KIND_SCHEDULE:
      return d.schedule;
    case SDP_KIND_MODEL:
      return d.model;
    case SDP_KIND_SAMPLER:
      return d.sampler;
    default:
      return nullptr;
  }
}

template <class... F>
bool any_missing(F... functions) {
  return ((functions == nullptr) || ...);
}

// Are the size and the required functions of the kind's table there?
bool table_is_complete(const sdp_descriptor& d) {
  if (const auto* c = d.corruption) {
    return c->struct_size >= SDP_SIZE_THROUGH(sdp_corruption_vt, adjoint) &&
           !any_missing(c->create, c->destroy, c->level_max, c->apply, c->adjoint);
  }
  if (const auto* s = d.schedule) {
    return s->struct_size >= SDP_SIZE_THROUGH(sdp_schedule_vt, select) &&
           !any_missing(s->create, s->destroy, s->select);
  }
  if (const auto* m = d.model) {
    return m->struct_size >= SDP_SIZE_THROUGH(sdp_model_vt, release) &&
           !any_missing(m->create, m->destroy, m->n_params, m->param, m->init, m->forward, m->vjp, m->release);
  }
  if (const auto* s = d.sampler) {
    return s->struct_size >= SDP_SIZE_THROUGH(sdp_sampler_vt, end) &&
           !any_missing(s->create, s->destroy, s->begin, s->step, s->end);
  }
  return false;
}

void require_valid(const fs::path& file, const sdp_descriptor* d) {
  if (!d || d->struct_size < SDP_SIZE_THROUGH(sdp_descriptor, sampler))
    refuse(file, "one of its descriptors is missing or too small");
  if (!d->id || !*d->id || !d->version || !d->summary)
    refuse(file, "one of its descriptors lacks id, version or summary");
  const int tables =
      (d->corruption != nullptr) + (d->schedule != nullptr) + (d->model != nullptr) + (d->sampler != nullptr);
  if (tables != 1 || !table_of(*d) || !table_is_complete(*d)) {
    refuse(file, fmt::format("\"{}\" does not offer the complete function table of its kind, and that alone", d->id));
  }
  if (!(d->dtypes & SDP_DTYPE_F32) || !(d->devices & SDP_ON_CPU)) {
    refuse(file, fmt::format("\"{}\" does not offer float32 on the CPU, which is obligatory", d->id));
  }
  const std::vector<std::string> errors = schema_errors(*d);
  if (!errors.empty()) refuse(file, fmt::format("the parameters of \"{}\" are invalid: {}", d->id, join(errors, "; ")));
}

const sdp_library& call_entry(const fs::path& file) {
  boost::dll::shared_library& opened = open_library(file);
  const auto& entry = opened.get<const sdp_library*(const sdp_host*, sdp_ctx*)>(entry_symbol);
  sdp_ctx context(file.filename().string());
  const sdp_library* library = entry(&host_services(), &context);
  if (!library) {
    refuse(file, fmt::format("it declines to load: {}",
                             context.failure.text.empty() ? "it gives no reason" : context.failure.text));
  }
  return *library;
}

}  // namespace

std::string_view kind_name(int32_t kind) {
  constexpr std::string_view names[] = {"", "corruption", "schedule", "model", "sampler"};
  return kind >= 1 && kind <= 4 ? names[kind] : "unknown kind";
}

std::vector<Plugin> load_library(const fs::path& file) {
  require_safe_file(file);
  require_entry_symbol(file);
  const sdp_library& library = call_entry(file);
  require_compatible(file, library);
  std::vector<Plugin> plugins;
  for (uint32_t i = 0; i < library.n_items; ++i) {
    const sdp_descriptor* d = library.items[i];
    require_valid(file, d);
    for (const Plugin& other : plugins) {
      if (other.id() == d->id && other.kind() == d->kind) {
        refuse(file, fmt::format("it holds two {}s named \"{}\"", kind_name(d->kind), d->id));
      }
    }
    plugins.push_back({d, file, library.license ? library.license : "", schema_of(*d)});
  }
  return plugins;
}

}  // namespace sdpipe
