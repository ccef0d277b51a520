#include "core/base/hash.hpp"

#include <string>
#include <system_error>

#include "core/base/files.hpp"
#include "tests/catch.h"
#include "tests/temporary_folder.hpp"

using namespace sdpipe;

TEST_CASE("sha256 gives the digests of FIPS 180-4's examples") {
  CHECK(sha256(as_bytes("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(as_bytes("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(as_bytes(std::string(1000000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("the hash of a file is the hash of its content, whatever its size") {
  const testing::TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{3}, (size_t{1} << 20) - 1, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    const std::string content(size, 'x');
    write_file(folder / "f", content);
    CHECK(sha256_of_file(folder / "f") == sha256(as_bytes(content)));
  }
}

TEST_CASE("hashing a file that cannot be read names the file and the reason") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_WITH(sha256_of_file(folder / "none"), (folder / "none").string() + ": No such file or directory");
  CHECK_THROWS_WITH(sha256_of_file(folder.path()), folder.path().string() + ": Is a directory");
}

TEST_CASE("xxh3_128 gives the published digest of no bytes, as the high then the low word") {
  CHECK(xxh3_128({}) == "99aa06d3014798d86001c324468d497f");
  CHECK(xxh3_128(as_bytes("a")) == "a96faf705af16834e6c632b61e964e1f");
}
