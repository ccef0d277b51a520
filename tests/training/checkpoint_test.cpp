#include "core/training/checkpoint.hpp"

#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <set>

#include "core/base/files.hpp"
#include "core/training/tensors.hpp"
#include "tests/diffusion/setup.hpp"
#include "tests/training/capture.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;
namespace fs = std::filesystem;

namespace {

FileContents small(uint64_t seed = 1) {
  return {
      {"model.safetensors", pack_tensors({{"bias", noise({3}, seed, at::kFloat)}, {"gain", noise({2, 2}, seed + 1)}})},
      {"optimizer.safetensors", pack_tensors({{"m", noise({4}, seed + 2, at::kFloat)}})},
      {"state.json", "{\n \"step\": " + std::to_string(seed) + "\n}\n"}};
}

// Without the syncs of write_file, which a test of thousands of files has no need of.
void overwrite(const fs::path& file, const std::string& content) { std::ofstream(file, std::ios::binary) << content; }

std::string flipped(std::string content, size_t byte, int bit = 0) {
  content.at(byte) = static_cast<char>(content.at(byte) ^ (1 << bit));
  return content;
}

void flip(const fs::path& file, size_t byte) { overwrite(file, flipped(read_file(file), byte)); }

std::string refusal(const fs::path& folder) {
  return message_of<CheckpointError>([&] { read_checkpoint(folder); });
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

using Names = std::set<std::string>;

// No file can grow beyond `bytes` while this lives: the disk is full, as far as the program can tell.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now = before_;
    now.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("a checkpoint reads back as it was saved, and latest points to it") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder / "checkpoints");
  CHECK_FALSE(store.newest());
  store.save(160, small(), 2);
  CHECK(read_checkpoint(folder / "checkpoints/000000160").files == small());
  CHECK(fs::read_symlink(folder / "checkpoints/latest") == "000000160");
  store.save(320, small(5), 2);
  CHECK(fs::read_symlink(folder / "checkpoints/latest") == "000000320");
  REQUIRE(store.newest());
  CHECK(store.newest()->files == small(5));
  CHECK(store.newest()->folder == folder / "checkpoints/000000320");
  CHECK(names_in(folder / "checkpoints") == Names{"000000160", "000000320", "latest"});
}

TEST_CASE("for sampling, what only a training needs is verified, but not held") {
  const TemporaryFolder folder;
  FileContents trained = small(), fitted = small();
  trained["ema.safetensors"] = small(3).at("model.safetensors");
  fitted.erase("optimizer.safetensors");
  const CheckpointStore store(folder.path());
  store.save(160, trained, 2);
  const auto held = [&] {
    Names names;
    for (const auto& [name, content] : read_checkpoint(folder / "000000160", Use::sampling).files) {
      CHECK(content == trained.at(name));
      names.insert(name);
    }
    return names;
  };
  CHECK(held() == Names{"ema.safetensors", "state.json"});
  CHECK(newest_checkpoint(folder.path())->files == trained);
  flip(folder / "000000160/optimizer.safetensors", 40);
  CHECK_THROWS_AS(read_checkpoint(folder / "000000160", Use::sampling), CheckpointError);
  store.save(160, fitted, 2);  // of a fitted model the weights are all there is
  CHECK(held() == Names{"model.safetensors", "state.json"});
}

TEST_CASE("equal contents make equal checkpoints, byte for byte") {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) CheckpointStore(folder / name).save(160, small(), 2);
  CHECK(read_file(folder / "a/000000160/MANIFEST.json") == read_file(folder / "b/000000160/MANIFEST.json"));
}

TEST_CASE("any flipped bit in any file of a checkpoint is refused with the file's name") {
  const TemporaryFolder folder;
  CheckpointStore(folder.path()).save(160, small(), 2);
  const fs::path checkpoint = folder / "000000160";
  size_t tried = 0, accepted = 0, misnamed = 0;
  for (const std::string& name : names_in(checkpoint)) {
    const std::string content = read_file(checkpoint / name);
    for (size_t bit = 0; bit < 8 * content.size(); ++bit) {
      overwrite(checkpoint / name, flipped(content, bit / 8, static_cast<int>(bit % 8)));
      const std::string message = refusal(checkpoint);
      ++tried;
      accepted += message == "no such error";
      // A damaged manifest may accuse the file that it speaks of.
      const std::string accused = name == "MANIFEST.json" ? checkpoint.string() + "/" : (checkpoint / name).string();
      misnamed += message.find("checkpoint " + accused) != 0;
    }
    overwrite(checkpoint / name, content);
  }
  CHECK(tried > 5000);
  CHECK(accepted == 0);
  CHECK(misnamed == 0);
  CHECK_NOTHROW(read_checkpoint(checkpoint));
}

TEST_CASE("a file cut anywhere is refused with its name") {
  const TemporaryFolder folder;
  CheckpointStore(folder.path()).save(160, small(), 2);
  const fs::path checkpoint = folder / "000000160";
  for (const std::string& name : names_in(checkpoint)) {
    const std::string content = read_file(checkpoint / name);
    size_t named = 0;
    for (size_t n = 0; n < content.size(); ++n) {
      overwrite(checkpoint / name, content.substr(0, n));
      named += refusal(checkpoint).find("checkpoint " + (checkpoint / name).string() + " is damaged: ") == 0;
    }
    CHECK(named == content.size());
    overwrite(checkpoint / name, content);
  }
}

TEST_CASE("what is wrong with a damaged checkpoint is said in a sentence of its own") {
  const TemporaryFolder folder;
  CheckpointStore(folder.path()).save(160, small(), 2);
  const fs::path checkpoint = folder / "000000160", model = checkpoint / "model.safetensors",
                 manifest = checkpoint / "MANIFEST.json";
  const std::string content = read_file(model), listed = read_file(manifest);
  const auto about = [](const fs::path& file, const std::string& what) {
    return "checkpoint " + file.string() + " is damaged: " + what;
  };
  overwrite(model, content + "x");
  CHECK(refusal(checkpoint) ==
        about(model, fmt::format("it has {} bytes, {} were written", content.size() + 1, content.size())));
  overwrite(model, flipped(content, content.size() - 1));
  CHECK(refusal(checkpoint) == about(model, "its content is not what was written (tensor \"gain\")"));
  std::string both = flipped(content, content.size() - 1);
  overwrite(model, flipped(both, content.size() - 4 * 8 - 1));
  CHECK(refusal(checkpoint) == about(model, "its content is not what was written (tensor \"bias\" and others)"));
  overwrite(model, flipped(content, 8));
  CHECK(refusal(checkpoint) == about(model, "its content is not what was written (its header)"));
  fs::remove(model);
  CHECK(refusal(checkpoint) == about(model, "the file is missing"));
  fs::create_directory(model);
  CHECK(refusal(checkpoint) ==
        "checkpoint " + checkpoint.string() + " cannot be read: " + model.string() + ": Is a directory");
  fs::remove(model);
  overwrite(model, content);
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string text = listed;
    overwrite(manifest, text.replace(text.find(from), from.size(), to));
    return refusal(checkpoint);
  };
  CHECK(edited("\"format\": 1", "\"format\": 2") == about(manifest, "its format is not 1; a newer sdpipe wrote it"));
  CHECK(edited("model.safetensors", "../x") == about(manifest, "it names a file outside the checkpoint, \"../x\""));
  CHECK(edited("\"bias\"", "\"bios\"") == about(manifest, "it does not fit the files"));
  CHECK(edited("{", "[").find(about(manifest, "it is not the JSON that was written: ")) == 0);
  fs::remove(manifest);
  CHECK(refusal(checkpoint) == about(manifest, "the file is missing"));
}

TEST_CASE("the checkpoint before a damaged one is used, loudly, and the damaged one is set aside") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t images : {160, 320, 480}) store.save(images, small(static_cast<uint64_t>(images)), 3);
  flip(folder / "000000480/state.json", 0);
  flip(folder / "000000320/state.json", 0);
  Capture capture;
  const auto read = newest_checkpoint(folder.path());  // a reader changes nothing
  const Names untouched = names_in(folder.path());
  const auto found = store.newest();
  const std::string said = capture.text();
  REQUIRE(read);
  REQUIRE(found);
  CHECK(read->folder == folder / "000000160");
  CHECK(found->folder == folder / "000000160");
  CHECK(untouched == Names{"000000160", "000000320", "000000480", "latest"});
  CHECK(names_in(folder.path()) == Names{"000000160", "000000320.damaged", "000000480.damaged", "latest"});
  const auto back = [&](const char* name) {
    return fmt::format(
        "warning: checkpoint {0}/{1}/state.json is damaged: its content is not what was written; going back to the "
        "checkpoint before it\n",
        folder.path().string(), name);
  };
  const auto aside = [&](const char* name) {
    return fmt::format("warning: {0}/{1} is now {0}/{1}.damaged\n", folder.path().string(), name);
  };
  const std::string twice = back("000000480") + back("000000320");
  CHECK(said == twice + twice + aside("000000480") + aside("000000320"));
}

TEST_CASE("where every checkpoint is damaged the run ends, and nothing is moved") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t images : {160, 320}) store.save(images, small(), 2);
  for (const char* name : {"000000160", "000000320"}) flip(folder / (std::string(name) + "/state.json"), 0);
  Capture capture;
  const std::string message = message_of<CheckpointError>([&] { store.newest(); });
  const std::string said = capture.text();
  CHECK(
      message ==
      fmt::format("no checkpoint in {0} is whole; the last reason: checkpoint {0}/000000160/state.json is damaged: its "
                  "content is not what was written",
                  folder.path().string()));
  CHECK(said ==
        fmt::format(
            "warning: checkpoint {0}/000000320/state.json is damaged: its content is not what was written; going back "
            "to the checkpoint before it\n",
            folder.path().string()));
  CHECK(names_in(folder.path()) == Names{"000000160", "000000320", "latest"});
}

TEST_CASE("what an interrupted write left behind is removed at the next start, and only that") {
  const TemporaryFolder folder;
  CheckpointStore(folder.path()).save(160, small(), 2);
  fs::create_directory(folder / "000000320.tmp-4711");
  overwrite(folder / "000000320.tmp-4711/model.safetensors", "half");
  fs::create_symlink("000000320", folder / "latest.tmp-4711");
  overwrite(folder / "notes.txt", "mine");
  CHECK(newest_checkpoint(folder.path())->folder == folder / "000000160");  // a reader leaves a running write alone
  CHECK(fs::exists(folder / "000000320.tmp-4711"));
  const CheckpointStore again(folder.path());
  CHECK(names_in(folder.path()) == Names{"000000160", "latest", "notes.txt"});
  CHECK(again.newest()->files == small());
}

TEST_CASE("as many checkpoints stay as are to be kept, the newest by number") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  for (const int64_t images : {10, 20, 30, 40}) store.save(images, small(), 3);
  CHECK(names_in(folder.path()) == Names{"000000020", "000000030", "000000040", "latest"});
  store.save(999999999, small(), 2);
  store.save(1000000000, small(2), 2);  // ten digits
  CHECK(names_in(folder.path()) == Names{"999999999", "1000000000", "latest"});
  CHECK(store.newest()->files == small(2));
}

TEST_CASE("a checkpoint that the disk refuses leaves the older ones intact, and nothing half written") {
  const TemporaryFolder folder;
  const CheckpointStore store(folder.path());
  store.save(160, small(), 1);
  FileContents large = small();
  large["process.safetensors"] = pack_tensors({{"pool", noise({4000}, 3)}});
  std::string message;
  {
    const FullDisk full(16000);
    message = message_of<CheckpointError>([&] { store.save(320, large, 1); });
  }
  CHECK(message ==
        fmt::format(
            "checkpoint {0}/000000320 cannot be written: {0}/000000320.tmp-{1}/process.safetensors: File too large; "
            "older checkpoints are untouched, free some space and run again",
            folder.path().string(), ::getpid()));
  CHECK(names_in(folder.path()) == Names{"000000160", "latest"});
  CHECK(store.newest()->files == small());
  store.save(320, large, 1);
  CHECK(names_in(folder.path()) == Names{"000000320", "latest"});
}
