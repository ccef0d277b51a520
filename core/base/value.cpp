#include "core/base/value.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sdpipe {

std::string Problem::render() const {
  if (!where.source) return text;
  std::string out = where.line ? fmt::format("{}:{}:{}: {}", where.source->name, where.line, where.column, text)
                               : fmt::format("{}: {}", where.source->name, text);
  if (where.line == 0 || where.line > where.source->lines.size()) return out;
  const std::string& line = where.source->lines[where.line - 1];
  const std::string number = std::to_string(where.line);
  // Tabs are kept in the caret's line, so that the caret stands where the terminal puts the column.
  std::string indent;
  uint32_t column = 1;
  for (size_t i = 0; i < line.size() && column < where.column; ++i) {
    if ((line[i] & 0xC0) == 0x80) continue;  // inside a UTF-8 sequence
    indent += line[i] == '\t' ? '\t' : ' ';
    ++column;
  }
  return out + fmt::format("\n  {} | {}\n  {} | {}^", number, line, std::string(number.size(), ' '), indent);
}

const Table::Entry* Table::find(std::string_view key) const {
  const auto it = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
  return it == entries.end() ? nullptr : &*it;
}

Table::Entry* Table::find(std::string_view key) { return const_cast<Entry*>(std::as_const(*this).find(key)); }

std::vector<std::string> Table::keys() const {
  std::vector<std::string> names;
  for (const Entry& e : entries) names.push_back(e.key);
  return names;
}

std::string_view Value::type_name() const {
  constexpr std::string_view names[] = {"a boolean", "an integer", "a float", "a string", "an array", "a table"};
  return names[data.index()];
}

}  // namespace sdpipe
