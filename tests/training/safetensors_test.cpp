#include "core/training/safetensors.hpp"

#include <cstring>

#include "core/training/tensors.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

std::string file_of(const std::string& header, const std::string& data, uint64_t claimed) {
  std::string content(8, '\0');
  for (size_t i = 0; i < 8; ++i) content[i] = static_cast<char>(claimed >> (8 * i));
  return content + header + data;
}

std::string file_of(const std::string& header, const std::string& data) { return file_of(header, data, header.size()); }

// What is wrong with a file, without the words that begin every such message.
std::string refusal(const std::string& content) {
  const std::string text = message_of<CheckpointError>([&] { read_safetensors(content, "f.safetensors"); });
  const std::string start = "f.safetensors: not a valid safetensors file: ";
  CHECK(text.substr(0, start.size()) == start);
  return text.size() > start.size() ? text.substr(start.size()) : text;
}

std::string refusal(const std::string& header, const std::string& data) { return refusal(file_of(header, data)); }

const std::string small_header =
    R"({"__metadata__":{"by":"hand"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}})";
const std::string small_data("\x01\x02\x03\x04\x00\x00\x80\x3f\x00\x00\x00\xc0", 12);

}  // namespace

TEST_CASE("a file made by hand reads as what it says") {
  const std::string content = file_of(small_header, small_data);
  const SafetensorsFile file = read_safetensors(content, "f");
  CHECK(file.metadata == std::map<std::string, std::string>{{"by", "hand"}});
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].name == "a");  // in the order of the data
  CHECK(file.tensors[0].dtype == "U8");
  CHECK(file.tensors[0].shape == std::vector<int64_t>({2, 2}));
  CHECK(file.tensors[0].bytes == std::string_view("\x01\x02\x03\x04"));
  CHECK(file.tensors[1].name == "b");
  REQUIRE(file.tensors[1].bytes.size() == 2 * sizeof(float));
  float b[2];  // copied: a header of any length may leave the data unaligned
  std::memcpy(b, file.tensors[1].bytes.data(), sizeof b);
  CHECK(b[0] == 1.0F);
  CHECK(b[1] == -2.0F);
}

TEST_CASE("an empty file, a scalar and an empty tensor are valid") {
  CHECK(read_safetensors(file_of("{}", ""), "f").tensors.empty());
  const std::string content = file_of(
      R"({"none":{"dtype":"F64","shape":[0,3],"data_offsets":[0,0]},"one":{"dtype":"I8","shape":[],"data_offsets":[0,1]}})",
      "x");
  const SafetensorsFile file = read_safetensors(content, "f");
  REQUIRE(file.tensors.size() == 2);
  for (const StoredTensor& t : file.tensors) CHECK(t.bytes.size() == (t.name == "one" ? 1 : 0));
}

TEST_CASE("what is written is the format to the byte") {
  const std::string data("\x00\x00\x80\x3f", 4);
  const std::string header = R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const size_t padded = (header.size() + 7) / 8 * 8;
  CHECK(write_safetensors({{"w", "F32", {1}, data}}, {{"k", "v"}}) ==
        file_of(header + std::string(padded - header.size(), ' '), data));
}

TEST_CASE("tensors of every dtype in use survive the way through a file, bit for bit") {
  NamedTensors tensors = {{"f32", noise({2, 3}, 1, at::kFloat)},         {"f64", noise({4}, 2)},
                          {"bf16", noise({5}, 3, at::kBFloat16)},        {"f16", noise({1, 1, 2}, 4, at::kHalf)},
                          {"i64", (noise({3}, 5) * 1e15).to(at::kLong)}, {"scalar", noise({}, 6)},
                          {"transposed", noise({2, 3}, 7).t()}};
  const std::string content = pack_tensors(tensors);
  const NamedTensors back = unpack_tensors(content, "f");
  REQUIRE(back.size() == tensors.size());
  for (const auto& [name, t] : tensors) {
    CHECK(back.at(name).scalar_type() == t.scalar_type());
    CHECK(back.at(name).sizes() == t.sizes());
    CHECK(bit_equal(back.at(name), t));
  }
  CHECK(pack_tensors(back) == content);
}

TEST_CASE("a dtype that checkpoints do not hold is refused in both directions") {
  CHECK(message_of<RunError>([] {
          pack_tensors({{"w", noise({2}, 1).to(at::kInt)}});
        }) == "tensor \"w\" has a dtype that checkpoints do not hold");
  CHECK(message_of<CheckpointError>([] { unpack_tensors(file_of(small_header, small_data), "f"); }) ==
        "f: tensor \"a\" has dtype U8, which is not used here");
}

TEST_CASE("malformed files are each refused with their own sentence") {
  CHECK(refusal("") == "it is shorter than the 8 bytes of the header's length");
  CHECK(refusal("1234567") == "it is shorter than the 8 bytes of the header's length");
  CHECK(refusal(file_of("{}", "", 3)) == "the header claims 3 bytes, the file has 10");
  CHECK(refusal(file_of("{}", "", 100000001)) == "the header claims 100000001 bytes, the file has 10");
  CHECK(refusal(file_of("{}", "", ~uint64_t{0})) == "the header claims 18446744073709551615 bytes, the file has 10");
  CHECK(refusal("[1]", "") == "the header is not a JSON object");
  CHECK(refusal("{\"w\"", "").substr(0, 31) == "the header is not valid JSON: [");
  CHECK(refusal(R"({"w":1,"w":2})", "") == "the header holds \"w\" twice");
  CHECK(refusal(R"({"__metadata__":[]})", "") == "__metadata__ is not an object");
  CHECK(refusal(R"({"__metadata__":{"a":1}})", "") == "__metadata__ \"a\" is not a string");
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"F32"}})", "1234") ==
        "the header holds \"dtype\" twice");
}

TEST_CASE("malformed tensors are each refused with their own sentence") {
  const std::string fields = "tensor \"w\" must have dtype, shape and data_offsets, and nothing else";
  CHECK(refusal(R"({"w":1})", "") == fields);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1]}})", "") == fields);
  CHECK(refusal(R"({"w":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", "1234") == fields);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":0}})", "1234") == fields);
  CHECK(refusal(R"({"w":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "1234") ==
        "tensor \"w\" has the unknown dtype \"F31\"");
  const std::string overflow = "the shape of tensor \"w\" overflows";
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "1234") == overflow);
  CHECK(refusal(R"({"w":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]}})", "1234") == overflow);
  CHECK(refusal(R"({"w":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}})", "") == overflow);
  CHECK(refusal(R"({"w":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", "") == overflow);
  const std::string outside = "tensor \"w\" lies outside the file's data";
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "123") == outside);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "1234") == outside);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "1234") == outside);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234") ==
        "tensor \"w\" has 4 bytes of data, its shape needs 8");
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "1234") ==
        "tensor \"w\": shape and data_offsets must be lists");
  const std::string whole = "tensor \"w\": shape and data_offsets hold whole numbers, not negative";
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234") == whole);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234") == whole);
  CHECK(refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,36893488147419103232]}})", "1234") == whole);
}

TEST_CASE("holes, overlap and trailing bytes are refused") {
  const auto two = [](int a, int b, int c, int d) {
    return fmt::format(
        R"({{"v":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},"w":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
        b - a, a, b, d - c, c, d);
  };
  const std::string gap = "there is a hole or an overlap before tensor \"w\"";
  CHECK(refusal(two(0, 2, 3, 5), "12345") == gap);
  CHECK(refusal(two(0, 3, 2, 5), "12345") == gap);
  CHECK(refusal(two(0, 5, 0, 5), "12345") == gap);
  CHECK(refusal(two(1, 3, 3, 5), "12345") == "there is a hole or an overlap before tensor \"v\"");
  CHECK(refusal(two(0, 2, 2, 4), "12345") == "1 bytes follow the last tensor");
  CHECK(refusal("{}", "12") == "2 bytes follow the last tensor");
  CHECK_NOTHROW(read_safetensors(file_of(two(0, 2, 2, 5), "12345"), "f"));
}

TEST_CASE("a flipped bit in the header or its length, and a missing end, are refused or harmless") {
  const std::string content = file_of(small_header, small_data);
  size_t refused = 0, read = 0;
  const auto try_it = [&](const std::string& damaged) {
    try {
      for (const StoredTensor& t : read_safetensors(damaged, "f").tensors) {
        REQUIRE(t.bytes.data() >= damaged.data());
        REQUIRE(t.bytes.data() + t.bytes.size() <= damaged.data() + damaged.size());
      }
      ++read;
    } catch (const CheckpointError&) {
      ++refused;
    }
  };
  for (size_t bit = 0; bit < 8 * content.size(); ++bit) {
    std::string damaged = content;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    try_it(damaged);
  }
  CHECK(refused > 500);
  CHECK(read >= 8 * small_data.size());  // the format has no hash: the manifest's are for that
  refused = read = 0;
  for (size_t n = 0; n < content.size(); ++n) try_it(content.substr(0, n));
  CHECK(refused == content.size());
  CHECK(read == 0);
}

TEST_CASE("a header of very many tensors is read, and a name that stands twice in it is found") {
  std::string header = "{";
  for (int i = 0; i < 100000; ++i)
    header += fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", i == 0 ? "" : ",", i);
  CHECK(read_safetensors(file_of(header + "}", ""), "f").tensors.size() == 100000);
  CHECK(refusal(header + R"(,"t0":1})", "") == "the header holds \"t0\" twice");
}

TEST_CASE("deep nesting in a header is refused without using the stack up") {
  const std::string deep(1000000, '[');
  CHECK(refusal(deep, "").substr(0, 31) == "the header is not valid JSON: [");
  const std::string closed = std::string(200000, '[') + std::string(200000, ']');
  CHECK(refusal(closed, "") == "the header is not a JSON object");
}
