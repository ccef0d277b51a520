#include "core/config/document.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/base/files.hpp"

namespace sdpipe {
namespace {

constexpr size_t kMaxFile = 1 << 20;
constexpr size_t kMaxLine = 1 << 13;  // a dotted key nests once for every two characters
constexpr int kMaxDepth = 32;         // tables in tables; nothing here needs more than four

std::shared_ptr<const SourceText> source_of(std::string_view text, const std::string& name) {
  auto source = std::make_shared<SourceText>();
  source->name = name;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    source->lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return source;
}

void complain(std::vector<Problem>& problems, Position where, std::string text) {
  problems.push_back({std::move(where), std::move(text)});
}

// Turns toml++'s tree into ours. Tables come out of toml++ sorted by key; their order in the file is restored.
class Reader {
 public:
  Reader(std::shared_ptr<const SourceText> source, std::vector<Problem>& problems)
      : source_(std::move(source)), problems_(problems) {}

  Table table(const toml::table& from, int depth) {
    Table out;
    out.where = position(from.source());
    if (depth > kMaxDepth) {
      complain(problems_, out.where, fmt::format("tables are nested deeper than {} levels", kMaxDepth));
      return out;
    }
    for (auto&& [key, node] : from) {
      auto read = value(node, depth + 1);
      if (read) out.entries.push_back({std::string(key.str()), position(key.source()), std::move(*read)});
    }
    const auto place = [](const Table::Entry& e) { return std::pair(e.key_where.line, e.key_where.column); };
    std::stable_sort(out.entries.begin(), out.entries.end(),
                     [&](const Table::Entry& a, const Table::Entry& b) { return place(a) < place(b); });
    return out;
  }

 private:
  Position position(const toml::source_region& region) const {
    return {source_, region.begin.line, region.begin.column};
  }

  std::optional<Value> value(const toml::node& node, int depth) {
    Value out;
    out.where = position(node.source());
    if (const auto* boolean = node.as_boolean())
      out.data = boolean->get();
    else if (const auto* integer = node.as_integer())
      out.data = integer->get();
    else if (const auto* real = node.as_floating_point())
      out.data = real->get();
    else if (const auto* text = node.as_string())
      out.data = text->get();
    else if (const auto* inner = node.as_table())
      out.data = table(*inner, depth);
    else if (const auto* list = node.as_array())
      out.data = array(*list, depth);
    else {
      complain(problems_, out.where, "a pipeline file has no dates or times: put the value in quotes");
      return std::nullopt;
    }
    return out;
  }

  Array array(const toml::array& from, int depth) {
    Array out;
    for (const toml::node& node : from) {
      auto read = depth > kMaxDepth ? std::nullopt : value(node, depth + 1);
      if (read) out.push_back(std::move(*read));
    }
    return out;
  }

  std::shared_ptr<const SourceText> source_;
  std::vector<Problem>& problems_;
};

// The parser's sentence without what the position already says.
std::string syntax_text(const toml::parse_error& error) { return fmt::format("not TOML: {}", error.description()); }

bool has_long_line(const std::shared_ptr<const SourceText>& source, std::vector<Problem>& problems) {
  const auto& lines = source->lines;
  const auto it =
      std::find_if(lines.begin(), lines.end(), [](const std::string& line) { return line.size() > kMaxLine; });
  if (it == lines.end()) return false;
  // The position has no line, so that 8 KiB are not printed.
  complain(problems, {source, 0, 0},
           fmt::format("line {} is longer than {} bytes: break it up", it - lines.begin() + 1, kMaxLine));
  return true;
}

void shift_columns(Value& value, int64_t by);

void shift_columns(Position& where, int64_t by) {
  if (where.line == 1) where.column = static_cast<uint32_t>(where.column + by);
}

void shift_columns(Table& table, int64_t by) {
  shift_columns(table.where, by);
  for (Table::Entry& entry : table.entries) {
    shift_columns(entry.key_where, by);
    shift_columns(entry.value, by);
  }
}

void shift_columns(Value& value, int64_t by) {
  shift_columns(value.where, by);
  if (auto* table = value.get_if<Table>()) shift_columns(*table, by);
  if (auto* array = value.get_if<Array>()) {
    for (Value& element : *array) shift_columns(element, by);
  }
}

// The value of `v=text`, in the columns of `text`'s own source.
std::optional<Value> one_value(std::string_view text, const std::shared_ptr<const SourceText>& source, uint32_t column,
                               std::vector<Problem>& problems) {
  constexpr std::string_view kPrefix = "v=";
  const int64_t shift = static_cast<int64_t>(column) - 1 - static_cast<int64_t>(kPrefix.size());
  try {
    const toml::table parsed = toml::parse(std::string(kPrefix) + std::string(text));
    Table table = Reader(source, problems).table(parsed, 0);
    shift_columns(table, shift);
    if (table.entries.size() == 1) return std::move(table.entries[0].value);
    if (problems.empty()) complain(problems, {source, 1, column}, "not one TOML value");
  } catch (const toml::parse_error& error) {
    Position where = {source, error.source().begin.line, error.source().begin.column};
    shift_columns(where, shift);
    complain(problems, std::move(where), syntax_text(error));
  }
  return std::nullopt;
}

}  // namespace

Document parse_document(std::string_view text, const std::string& name, std::vector<Problem>& problems) {
  Document document;
  document.source = source_of(text, name);
  document.root.where = {document.source, 0, 0};
  if (has_long_line(document.source, problems)) return document;
  try {
    const toml::table parsed = toml::parse(text, std::string_view(name));
    document.root = Reader(document.source, problems).table(parsed, 0);
    document.root.where = {document.source, 0, 0};
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    complain(problems, {document.source, at.line, at.column}, syntax_text(error));
  }
  return document;
}

Document read_document(const std::filesystem::path& file, std::vector<Problem>& problems) {
  std::error_code unknown;  // what cannot be looked at is left to reading it
  const auto kind = std::filesystem::status(file, unknown).type();
  if (kind == std::filesystem::file_type::directory || kind == std::filesystem::file_type::character) {
    throw UsageError(fmt::format("{} is not a file: name a pipeline file (.toml)", file.string()));
  }
  const auto size = std::filesystem::file_size(file, unknown);
  if (!unknown && size > kMaxFile) {
    throw UsageError(fmt::format("{} holds {} bytes: a pipeline file has at most {}", file.string(), size, kMaxFile));
  }
  std::string text;
  try {
    text = read_file(file);
  } catch (const std::system_error& error) {
    throw UsageError(fmt::format("cannot read the pipeline file: {}", error.what()));
  }
  return parse_document(text, file.string(), problems);
}

std::optional<Value> parse_argument_value(std::string_view text, std::shared_ptr<const SourceText> source,
                                          uint32_t column, std::vector<Problem>& problems) {
  std::vector<Problem> found;
  auto value = one_value(text, source, column, found);
  if (value) return value;
  const bool must_be_toml = !text.empty() && std::string_view("{[\"'").find(text[0]) != std::string_view::npos;
  if (!must_be_toml) return Value{std::string(text), {source, 1, column}};
  for (Problem& problem : found) problems.push_back(std::move(problem));
  return std::nullopt;
}

}  // namespace sdpipe
