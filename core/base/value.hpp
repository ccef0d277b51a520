// Settings as they stand in a file: a tree of values that know their place, free of any parser's types.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sdpipe {

// A text that positions refer to: a pipeline file, or one argument of the command line.
struct SourceText {
  std::string name;  // as the user wrote it: "pipelines/blur.toml", "<command line>#1"
  std::vector<std::string> lines;
};

struct Position {
  std::shared_ptr<const SourceText> source;  // null: nowhere in particular
  uint32_t line = 0, column = 0;             // from 1; columns count code points
};

// One thing that is wrong with a file.
struct Problem {
  Position where;
  std::string text;

  // `file:line:column: text`, the source line, and a caret under the column.
  std::string render() const;
};

struct Value;
using Array = std::vector<Value>;

// Keys in the order of the file.
struct Table {
  struct Entry;
  std::vector<Entry> entries;
  Position where;  // of the header

  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);
  std::vector<std::string> keys() const;
};

struct Value {
  std::variant<bool, int64_t, double, std::string, Array, Table> data;
  Position where;

  // "an integer", "a table", ... for messages.
  std::string_view type_name() const;
  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&data);
  }
  template <class T>
  T* get_if() {
    return std::get_if<T>(&data);
  }
};

struct Table::Entry {
  std::string key;
  Position key_where;
  Value value;
};

}  // namespace sdpipe
