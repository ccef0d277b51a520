// TOML text as a tree of values that know their place. The only user of toml++.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/value.hpp"

namespace sdpipe {

struct Document {
  std::shared_ptr<const SourceText> source;
  Table root;  // `where` has no line: a message about the root names the file alone
};

// Parses `text`, called `name` in messages. What is wrong (the first syntax error, every date, lines over 8 KiB, which
// bound the nesting) is added to `problems`; the tree then holds what could be read.
Document parse_document(std::string_view text, const std::string& name, std::vector<Problem>& problems);

// The same for a file. Throws UsageError where it cannot be read or holds more than 1 MiB.
Document read_document(const std::filesystem::path& file, std::vector<Problem>& problems);

// The value of one `key=value` argument: TOML, or else the text itself as a string. `column` is where the text begins
// in `source`. Text that begins like a TOML table, array or quoted string must be one: otherwise a problem is added
// and nothing returned.
std::optional<Value> parse_argument_value(std::string_view text, std::shared_ptr<const SourceText> source,
                                          uint32_t column, std::vector<Problem>& problems);

}  // namespace sdpipe
