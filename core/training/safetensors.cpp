#include "core/training/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

#include "core/base/error.hpp"
#include "core/base/json.hpp"

namespace sdpipe {
namespace {

constexpr size_t prefix = 8;
constexpr uint64_t largest_header = 100'000'000;  // the format's own limit

struct Dtype {
  std::string_view name;
  size_t bytes;
};
constexpr Dtype dtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
                            {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};

// Its keys without the file's order: the ordered kind looks through all of them for each that is added, which a header
// of millions of names turns into hours. Tensors are sorted by their data anyway.
using Header = nlohmann::json;

// The first key that stands twice in one object. A pass of its own, because the parser keeps the last of the two, and
// with a callback looks through the whole of an object at the end of every object in it.
class RepeatedKey : public nlohmann::json_sax<Header> {
 public:
  std::optional<std::string> found;

  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    found = name;
    return false;
  }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const JsonError&) override { return false; }

 private:
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

class Reader {
 public:
  Reader(std::string_view content, const std::string& name) : content_(content), name_(name) {}

  SafetensorsFile read() {
    const Header header = parse_header();
    SafetensorsFile file;
    for (const auto& [key, value] : header.items()) {
      if (key == "__metadata__")
        read_metadata(value, file.metadata);
      else
        file.tensors.push_back(read_tensor(key, value));
    }
    require_gapless(file.tensors);
    return file;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw CheckpointError(fmt::format("{}: not a valid safetensors file: {}", name_, why));
  }

  Header parse_header() {
    if (content_.size() < prefix) refuse("it is shorter than the 8 bytes of the header's length");
    uint64_t length = 0;
    for (size_t i = prefix; i-- > 0;) length = length << 8 | static_cast<unsigned char>(content_[i]);
    if (length > largest_header || length > content_.size() - prefix) {
      refuse(fmt::format("the header claims {} bytes, the file has {}", length, content_.size()));
    }
    data_ = content_.substr(prefix + length);
    Header header = parse_json(content_.substr(prefix, length));
    if (!header.is_object()) refuse("the header is not a JSON object");
    return header;
  }

  Header parse_json(std::string_view text) const {
    RepeatedKey repeated;
    Header::sax_parse(text, &repeated);  // what is no JSON is said below
    if (repeated.found) refuse(fmt::format("the header holds \"{}\" twice", *repeated.found));
    try {
      return Header::parse(text);
    } catch (const JsonError& e) {
      refuse(fmt::format("the header is not valid JSON: {}", e.what()));
    }
  }

  void read_metadata(const Header& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) refuse("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) refuse(fmt::format("__metadata__ \"{}\" is not a string", key));
      metadata[key] = text.get<std::string>();
    }
  }

  StoredTensor read_tensor(const std::string& key, const Header& value) const {
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets") || !value["dtype"].is_string()) {
      refuse(fmt::format("tensor \"{}\" must have dtype, shape and data_offsets, and nothing else", key));
    }
    StoredTensor tensor{key, value["dtype"].get<std::string>(), {}, {}};
    uint64_t bytes = dtype_bytes(tensor.dtype);
    uint64_t largest = bytes;
    if (bytes == 0) refuse(fmt::format("tensor \"{}\" has the unknown dtype \"{}\"", key, tensor.dtype));
    for (const uint64_t n : numbers(key, value["shape"])) {
      // Even beside a 0 the other sizes must multiply to something: strides are made of them.
      if (largest > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / std::max<uint64_t>(n, 1)) {
        refuse(fmt::format("the shape of tensor \"{}\" overflows", key));
      }
      largest *= std::max<uint64_t>(n, 1);
      bytes *= n;
      tensor.shape.push_back(static_cast<int64_t>(n));
    }
    const std::vector<uint64_t> range = numbers(key, value["data_offsets"]);
    if (range.size() != 2 || range[0] > range[1] || range[1] > data_.size()) {
      refuse(fmt::format("tensor \"{}\" lies outside the file's data", key));
    }
    if (range[1] - range[0] != bytes) {
      refuse(fmt::format("tensor \"{}\" has {} bytes of data, its shape needs {}", key, range[1] - range[0], bytes));
    }
    tensor.bytes = data_.substr(range[0], bytes);
    return tensor;
  }

  std::vector<uint64_t> numbers(const std::string& key, const Header& list) const {
    std::vector<uint64_t> values;
    if (!list.is_array()) refuse(fmt::format("tensor \"{}\": shape and data_offsets must be lists", key));
    for (const Header& n : list) {
      if (!n.is_number_unsigned())
        refuse(fmt::format("tensor \"{}\": shape and data_offsets hold whole numbers, not negative", key));
      values.push_back(n.get<uint64_t>());
    }
    return values;
  }

  // Every byte of the data belongs to exactly one tensor.
  void require_gapless(std::vector<StoredTensor>& tensors) const {
    std::stable_sort(tensors.begin(), tensors.end(),
                     [](const auto& a, const auto& b) { return a.bytes.data() < b.bytes.data(); });
    const char* end = data_.data();
    for (const StoredTensor& t : tensors) {
      if (t.bytes.empty()) continue;
      if (t.bytes.data() != end) refuse(fmt::format("there is a hole or an overlap before tensor \"{}\"", t.name));
      end = t.bytes.data() + t.bytes.size();
    }
    if (end != data_.data() + data_.size())
      refuse(fmt::format("{} bytes follow the last tensor", data_.data() + data_.size() - end));
  }

  std::string_view content_, data_;
  const std::string& name_;
};

}  // namespace

size_t dtype_bytes(std::string_view dtype) {
  for (const Dtype& d : dtypes) {
    if (d.name == dtype) return d.bytes;
  }
  return 0;
}

std::string write_safetensors(const std::vector<StoredTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const StoredTensor& t : tensors) {
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {offset, offset + t.bytes.size()}}};
    offset += t.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format pads with spaces
  std::string content(prefix, '\0');
  for (size_t i = 0; i < prefix; ++i) content[i] = static_cast<char>(text.size() >> (8 * i));
  content.reserve(prefix + text.size() + offset);
  content += text;
  for (const StoredTensor& t : tensors) content += t.bytes;
  return content;
}

SafetensorsFile read_safetensors(std::string_view content, const std::string& name) {
  return Reader(content, name).read();
}

}  // namespace sdpipe
