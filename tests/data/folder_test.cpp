#include <algorithm>

#include "core/base/files.hpp"
#include "core/base/hash.hpp"
#include "core/base/log.hpp"
#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

DataOptions folder_options(const std::filesystem::path& path) {
  DataOptions options;
  options.type = "folder";
  options.path = path;
  return options;
}

// Drops the warnings that a test provokes on purpose.
struct Quiet {
  LogLevel before = log_level();
  Quiet() { set_log_level(LogLevel::error); }
  ~Quiet() { set_log_level(before); }
};

std::vector<std::string> names(const Source& source, const std::filesystem::path& folder) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < source.size(); ++i)
    out.push_back(std::filesystem::path(source.name_of(i)).lexically_relative(folder).string());
  return out;
}

}  // namespace

TEST_CASE("a folder's pictures come in the order of their names' bytes, subfolders included") {
  const TemporaryFolder folder;
  for (const char* name : {"b.png", "B.PNG", "a/2.png", "a/10.png", "a.png", ".hidden.png", ".thumbs/x.png"})
    write_picture(folder / name, plain(1, 4, 4, 7));
  write_text(folder / "notes.txt", "not a picture");
  const auto source = open_source(folder_options(folder.path()));
  REQUIRE(names(*source, folder.path()) == std::vector<std::string>{"B.PNG", "a.png", "a/10.png", "a/2.png", "b.png"});
  DataOptions two = folder_options(folder.path());
  two.limit = 2;
  REQUIRE(names(*open_source(two), folder.path()) == std::vector<std::string>{"B.PNG", "a.png"});
}

TEST_CASE("a folder gives exactly the bytes of its files, again from memory after they are gone") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", ramp(3, 5, 4));
  write_picture(folder / "b.png", plain(3, 5, 4, 9));
  const auto source = open_source(folder_options(folder.path()));
  REQUIRE(source->shape() == ImageShape{3, 5, 4});
  REQUIRE(source->read(0).pixels == ramp(3, 5, 4).pixels);
  REQUIRE(source->read(1).pixels == plain(3, 5, 4, 9).pixels);
  std::filesystem::remove(folder / "a.png");
  REQUIRE(source->read(0).pixels == ramp(3, 5, 4).pixels);
}

TEST_CASE("a crop at the centre and one at a point take exactly their squares") {
  const TemporaryFolder folder;
  const ByteImage image = ramp(1, 9, 7);
  write_picture(folder / "a.png", image);
  const auto first_pixel = [&](std::optional<CropOptions::Center> center, int64_t size) {
    DataOptions options = folder_options(folder.path());
    options.crop = {size, center};
    const auto source = open_source(options);
    REQUIRE(source->shape() == ImageShape{1, size, size});
    return source->read(0).pixels[0];
  };
  const auto at = [&](int64_t x, int64_t y) { return image.pixels[y * 7 + x]; };
  REQUIRE(first_pixel(std::nullopt, 4) == at(1, 2));  // (7 - 4) / 2, (9 - 4) / 2
  REQUIRE(first_pixel(std::nullopt, 7) == at(0, 1));
  REQUIRE(first_pixel(CropOptions::Center{3, 5}, 4) == at(1, 3));
  REQUIRE(first_pixel(CropOptions::Center{4, 4}, 5) == at(2, 2));
}

TEST_CASE("CelebA's two crops cover the documented rows and columns") {
  const TemporaryFolder folder;
  ByteImage face = plain(1, 218, 178, 0);
  face.pixels[39 * 178 + 19] = 200;  // first pixel of 140 at the centre
  face.pixels[57 * 178 + 25] = 100;  // first pixel of 128 at (89, 121)
  write_picture(folder / "000001.png", face);
  DataOptions options = folder_options(folder.path());
  options.crop = {140, std::nullopt};
  REQUIRE(open_source(options)->read(0).pixels[0] == 200);
  options.crop = {128, CropOptions::Center{89, 121}};
  REQUIRE(open_source(options)->read(0).pixels[0] == 100);
}

TEST_CASE("a crop that leaves the picture is refused with rows and columns") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(1, 9, 7, 0));
  DataOptions options = folder_options(folder.path());
  options.crop = {4, CropOptions::Center{6, 5}};
  REQUIRE(data_error([&] { open_source(options); }) ==
          in_quotes(folder / "a.png") +
              " is 7 x 9 pixels (width x height): data.crop takes columns 4 to 7 and rows 3 to 6, which are not all "
              "inside. Repair or remove it, or set data.on_bad_file = \"skip\"");
}

TEST_CASE("resize without a crop takes the largest square at the centre and makes all sizes equal") {
  const TemporaryFolder folder;
  ByteImage wide = plain(3, 16, 40, 0);
  for (int64_t row = 0; row < 48; ++row) std::fill_n(wide.pixels.begin() + row * 40 + 12, 16, uint8_t{180});
  write_picture(folder / "a.png", wide);
  write_picture(folder / "b.png", plain(3, 30, 24, 60));
  DataOptions options = folder_options(folder.path());
  options.resize = 8;
  const auto source = open_source(options);
  REQUIRE(source->shape() == ImageShape{3, 8, 8});
  REQUIRE(source->read(0).pixels == plain(3, 8, 8, 180).pixels);
  REQUIRE(source->read(1).pixels == plain(3, 8, 8, 60).pixels);
}

TEST_CASE("a folder describes how its pictures are prepared, and its hash depends on it") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(3, 20, 20, 60));
  DataOptions options = folder_options(folder.path());
  options.resize = 8;
  const auto square = open_source(options);
  REQUIRE(square->describe() == "1 images of 3 x 8 x 8 from " + in_quotes(folder.path()) +
                                    " (folder, largest square at the centre, resized to 8 with lanczos3)");
  options.crop = {12, std::nullopt};
  const auto centred = open_source(options);
  REQUIRE(centred->describe() == "1 images of 3 x 8 x 8 from " + in_quotes(folder.path()) +
                                     " (folder, crop 12 at the centre, resized to 8 with lanczos3)");
  options.crop.center = {9, 8};
  REQUIRE(open_source(options)->describe() == "1 images of 3 x 8 x 8 from " + in_quotes(folder.path()) +
                                                  " (folder, crop 12 at (9, 8), resized to 8 with lanczos3)");
  REQUIRE(square->content_hash() == square->content_hash());
  REQUIRE(square->content_hash() != centred->content_hash());
}

TEST_CASE("the content hash follows the bytes and the names of the files, not the folder") {
  const TemporaryFolder folder;
  write_picture(folder / "one/a.png", plain(1, 4, 4, 1));
  write_picture(folder / "two/a.png", plain(1, 4, 4, 1));
  write_picture(folder / "three/b.png", plain(1, 4, 4, 1));
  write_picture(folder / "four/a.png", plain(1, 4, 4, 2));
  const auto hash = [&](const char* name) { return open_source(folder_options(folder / name))->content_hash(); };
  REQUIRE(hash("one") == hash("two"));
  REQUIRE(hash("one") != hash("three"));
  REQUIRE(hash("one") != hash("four"));
}

TEST_CASE("channels follow the first file, or the option") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(1, 4, 4, 50));
  write_picture(folder / "b.png", plain(3, 4, 4, 70));
  DataOptions options = folder_options(folder.path());
  REQUIRE(open_source(options)->read(1).pixels == plain(1, 4, 4, 70).pixels);
  options.channels = 3;
  REQUIRE(open_source(options)->read(0).pixels == plain(3, 4, 4, 50).pixels);
}

TEST_CASE("a bad file is an error that names it and says what to do") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(1, 4, 4, 1));
  write_text(folder / "b.png", "no picture");
  const auto source = open_source(folder_options(folder.path()));
  REQUIRE(data_error([&] { source->try_read(1); }) ==
          in_quotes(folder / "b.png") +
              " is not an image that sdpipe reads (png, jpeg, webp, bmp, tiff). Repair or remove it, or set "
              "data.on_bad_file = \"skip\"");
}

TEST_CASE("a file of another size is an error with both names and sizes") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(1, 4, 5, 1));
  write_picture(folder / "b.png", plain(1, 6, 7, 1));
  const auto source = open_source(folder_options(folder.path()));
  REQUIRE(data_error([&] { source->read(1); }) ==
          in_quotes(folder / "b.png") + " is 7 x 6 pixels (width x height), but " + in_quotes(folder / "a.png") +
              " is 5 x 4; data.resize or data.crop makes them equal");
}

TEST_CASE("with on_bad_file = skip bad files are passed over and listed once") {
  const Quiet quiet;
  const TemporaryFolder folder;
  write_text(folder / "a.png", "");
  write_picture(folder / "b.png", plain(1, 4, 4, 2));
  write_picture(folder / "c.png", plain(1, 5, 4, 3));
  DataOptions options = folder_options(folder.path());
  options.on_bad_file = "skip";
  const auto source = open_source(options);
  REQUIRE(source->size() == 3);
  REQUIRE(source->shape() == ImageShape{1, 4, 4});
  REQUIRE(source->skipped().empty());
  for (int round = 0; round < 2; ++round) {
    REQUIRE(!source->try_read(0));
    REQUIRE(source->try_read(1)->pixels == plain(1, 4, 4, 2).pixels);
    REQUIRE(!source->try_read(2));
  }
  const std::vector<BadImage> bad = source->skipped();
  REQUIRE(bad.size() == 2);
  REQUIRE(bad[0].index == 0);
  REQUIRE(bad[0].reason == in_quotes(folder / "a.png") + " is empty");
  REQUIRE(bad[1].index == 2);
}

TEST_CASE("a folder that is missing, empty, or has no good picture is an error") {
  const TemporaryFolder folder;
  const auto message = [&](const char* name, const char* on_bad_file) {
    DataOptions options = folder_options(folder / name);
    options.on_bad_file = on_bad_file;
    return data_error([&] { open_source(options); });
  };
  const auto path = [&](const char* name) { return in_quotes(folder / name); };
  REQUIRE(message("none", "error") == "data.path: there is no folder " + path("none"));
  std::filesystem::create_directory(folder / "empty");
  REQUIRE(message("empty", "skip") ==
          "data.path: no image (.png .jpg .jpeg .webp .bmp .tif .tiff) in " + path("empty"));
  write_text(folder / "bad/a.png", "");
  write_text(folder / "bad/b.png", "x");
  REQUIRE(message("bad", "error") ==
          path("bad/a.png") + " is empty. Repair or remove it, or set data.on_bad_file = \"skip\"");
  REQUIRE(message("bad", "skip") == "data.path: none of the 2 images in " + path("bad") +
                                        " can be used; the first: " + path("bad/a.png") + " is empty");
}

TEST_CASE("options out of their range are refused by name") {
  const auto message = [](auto change) {
    DataOptions options = folder_options("x");
    change(options);
    return usage_error([&] { open_source(options); });
  };
  REQUIRE(message([](DataOptions& o) { o.type = "foldr"; }) ==
          "data.type = \"foldr\" is none of folder, idx, cifar; did you mean \"folder\"?");
  REQUIRE(message([](DataOptions& o) { o.on_bad_file = "ignore"; }) ==
          "data.on_bad_file = \"ignore\" is none of error, skip");
  REQUIRE(message([](DataOptions& o) { o.split = "training"; }) == "data.split = \"training\" is none of train, test");
  REQUIRE(message([](DataOptions& o) { o.resize = -1; }) == "data.resize = -1 must not be negative");
  REQUIRE(message([](DataOptions& o) { o.channels = 2; }) ==
          "data.channels = 2 must be 1 or 3, or 0 for what the first file has");
  REQUIRE(message([](DataOptions& o) {
            o.crop.center = CropOptions::Center{1, 1};
          }) == "data.crop has a center but no size");
}

TEST_CASE(
    "held_out keeps the pictures whose names have the least hashes out of training, in whatever order they come") {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, std::string>> by_hash;
  for (int i = 0; i < 12; ++i) {
    const std::string name = fmt::format("{}/{}.png", i % 3, i);
    write_picture(folder / name, plain(1, 4, 4, i));
    by_hash.emplace_back(xxh3_128(as_bytes(name)), name);
  }
  std::sort(by_hash.begin(), by_hash.end());
  DataOptions options = folder_options(folder.path());
  const std::vector<std::string> all = names(*open_source(options), folder.path());
  options.held_out = 4;
  const auto training = open_source(options);
  options.split = "test";
  const auto held = open_source(options);
  std::vector<std::string> least, rest = names(*training, folder.path());
  for (int i = 0; i < 4; ++i) least.push_back(by_hash[static_cast<size_t>(i)].second);
  std::sort(least.begin(), least.end());
  REQUIRE(names(*held, folder.path()) == least);
  REQUIRE(rest.size() == 8);
  REQUIRE(std::is_sorted(rest.begin(), rest.end()));
  rest.insert(rest.end(), least.begin(), least.end());
  std::sort(rest.begin(), rest.end());
  REQUIRE(rest == all);
  REQUIRE(training->describe() == "8 images of 1 x 4 x 4 from " + in_quotes(folder.path()) + " (folder, 4 held out)");
  REQUIRE(held->describe() ==
          "4 images of 1 x 4 x 4 from " + in_quotes(folder.path()) + " (folder, the part held out)");
  REQUIRE(training->content_hash() != held->content_hash());
}

TEST_CASE("a new picture moves none between training and test but at the border") {
  const TemporaryFolder folder;
  for (int i = 0; i < 12; ++i) write_picture(folder / fmt::format("{}.png", i), plain(1, 4, 4, i));
  DataOptions options = folder_options(folder.path());
  options.held_out = 5;
  options.split = "test";
  const std::vector<std::string> before = names(*open_source(options), folder.path());
  write_picture(folder / "new.png", plain(1, 4, 4, 99));
  int64_t stayed = 0;
  for (const std::string& name : names(*open_source(options), folder.path()))
    stayed += std::count(before.begin(), before.end(), name);
  REQUIRE(stayed >= 4);
}

TEST_CASE("a held-out part that is empty or leaves nothing is refused") {
  const TemporaryFolder folder;
  write_picture(folder / "a.png", plain(1, 4, 4, 1));
  write_picture(folder / "b.png", plain(1, 4, 4, 1));
  DataOptions options = folder_options(folder.path());
  options.split = "test";
  REQUIRE(data_error([&] { open_source(options); }) ==
          "no images of " + in_quotes(folder.path()) + " are held out: data.held_out is 0, and training saw them all");
  options.held_out = 2;
  REQUIRE(data_error([&] { open_source(options); }) ==
          "data.held_out = 2 leaves none of the 2 images in " + in_quotes(folder.path()) + " for training");
}
