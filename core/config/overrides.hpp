// Changes to a pipeline file from the command line.
//
//   key.path=value    sets a key; its table must stand in the file (or be [run] or [sample], which always do)
//   +key.path=value   adds: tables on the way are made, and an index one past the end extends [[corruption]]
//   ~key.path         removes what stands in the file
//
// The value is TOML, else a string. An operator of a composition is meant by its index, `corruption.0.std_max=3`.
// Whether the key is a parameter at all is asked of the schema afterwards, with the argument as the position.
#pragma once

#include <string>
#include <vector>

#include "core/config/document.hpp"

namespace sdpipe {

// Applies the arguments in order; argument i is called `<command line>#i`, from 1. A table value is merged into the
// table that is there; in [corruption], [schedule], [noise], [model] and [sampler] one that holds `type` replaces it,
// and another `type` alone drops the file's other keys (not `from`, `to` and what the command line set).
// `noise=false` removes [noise].
void apply_overrides(Document& document, const std::vector<std::string>& arguments, std::vector<Problem>& problems);

// [corruption], [schedule], [noise], [model], [sampler]: tables that choose a plugin.
bool is_plugin_slot(std::string_view name);

// Puts `value` where `entry` stands: a table is merged into a table, but one with `type` replaces it whole where it
// chooses a plugin.
void put_value(Table::Entry& entry, Value value, const Position& key_where, bool chooses_plugin);

}  // namespace sdpipe
