// What a person reads where a GPU, or what runs on it, is not as it should be: from the real program.
#include <regex>

#include "tests/cli/program.hpp"

namespace sdpipe::testing {
namespace {

const Words train_on_gpu = {"run", "tiny.toml", "-q", "run.device=cuda", "train.images=16", "sample.count=4"};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

TEST_CASE("Where there is no driver, no GPU, or no such GPU, a run says so with a remedy and makes nothing") {
  const Workplace place;
  const auto said = [&](const std::string& gpus, const std::string& device) {
    const Outcome outcome = place.sdpipe(with(train_on_gpu, {"run.device=" + device}), {"SIMULATED_CUDA_GPUS=" + gpus});
    CHECK(outcome.code == 2);
    CHECK(outcome.out == "");
    return outcome.err;
  };
  CHECK(
      said("no_driver", "cuda") ==
      "error: <command line>#4:1:12: run.device = \"cuda\": no NVIDIA driver was found; install one, or set run.device "
      "= \"cpu\" to compute on the CPU\n  1 | run.device=cuda\n    |            ^\n");
  CHECK(said("none", "cuda:0") ==
        "error: <command line>#4:1:12: run.device = \"cuda:0\": the NVIDIA driver finds no GPU; set run.device = "
        "\"cpu\" to compute on the CPU\n  1 | run.device=cuda:0\n    |            ^\n");
  CHECK(said("1", "cuda:7") ==
        "error: <command line>#4:1:12: run.device = \"cuda:7\": this machine has 1 GPU; set run.device to "
        "\"cuda:0\"\n  1 | run.device=cuda:7\n    |            ^\n");
  CHECK(said("2", "cuda:2") ==
        "error: <command line>#4:1:12: run.device = \"cuda:2\": this machine has 2 GPUs; set run.device to one of "
        "\"cuda:0\" to \"cuda:1\"\n  1 | run.device=cuda:2\n    |            ^\n");
  CHECK(said("1", "gpu") ==
        "error: <command line>#4:1:12: table \"run\": parameter \"device\" must be \"auto\", \"cpu\", \"cuda\" or "
        "\"cuda:N\" with the number N of a GPU, not \"gpu\"\n  1 | run.device=gpu\n    |            ^\n\n1 problem in "
        "tiny.toml\n");
  CHECK_FALSE(fs::exists(place / "runs"));
}

TEST_CASE("A GPU that another process holds, and one whose memory is not enough, end a run with what to do") {
  const Workplace place;
  const Outcome busy = place.sdpipe(train_on_gpu, {"SIMULATED_CUDA_GPUS=busy"});
  CHECK(busy.code == 1);
  CHECK(busy.err ==
        "error: GPU 0, simulated, is in use by another process, in exclusive mode; wait for that, choose another with "
        "run.device = \"cuda:N\", or set run.device = \"cpu\" to compute on the CPU\n");
  const Outcome full = place.sdpipe(train_on_gpu, {"SIMULATED_CUDA_MEMORY=400000"});
  CHECK(full.code == 3);  // within a plugin
  const std::string memory =
      ". Training needs less with a larger train.accumulate, which computes a batch in more parts with the same "
      "result; a run that is begun anew, with --fresh, also with a smaller train.batch, with model.checkpoint = true "
      "or with "
      "run.precision = \"bfloat16\". Sampling and scores need less with a smaller sample.batch\n";
  CHECK(std::regex_replace(full.err, std::regex("[0-9]+ KiB"), "N KiB") ==
        "error: plugin \"unet\": forward failed: the GPU's memory is not enough: Tried to allocate N KiB" + memory);
  const Outcome fuller = place.sdpipe(train_on_gpu, {"SIMULATED_CUDA_MEMORY=1000"});
  CHECK(fuller.code == 1);
  CHECK(std::regex_replace(fuller.err, std::regex("[0-9]+ KiB"), "N KiB") ==
        "error: the GPU's memory is not enough: Tried to allocate N KiB" + memory);
}

TEST_CASE("The first line says where a run computes") {
  const Workplace place;
  const auto first_line = [&](const Words& more, const std::string& gpus, const std::string& capability = "9") {
    Process process(place.path(), with({"run", "tiny.toml"}, more),
                    {"SIMULATED_CUDA_GPUS=" + gpus, "SIMULATED_CUDA_CAPABILITY=" + capability});
    wait_until(process, [&] { return contains(process.err(), "\n"); });
    return process.err().substr(0, process.err().find('\n'));
  };
  CHECK(first_line({"run.name=a"}, "1") == "computing on GPU 0, simulated");
  CHECK(first_line({"run.name=b", "run.device=cuda:1"}, "2") == "computing on GPU 1, simulated");
  CHECK(first_line({"run.name=c"}, "none") == "computing on the CPU: the NVIDIA driver finds no GPU");
  CHECK(first_line({"run.name=d", "run.device=cpu"}, "1") == "computing on the CPU");
  CHECK(first_line({"run.name=e"}, "1", "7") ==
        "computing on the CPU: cuda:0, simulated, has compute capability 7.0, and this build has kernels for 8.0 and "
        "newer");
}

TEST_CASE("doctor lists the GPUs and CUDA's versions, and which device a run would use") {
  const Workplace place;
  const auto gpu_lines = [&](const std::string& gpus) {
    const std::string out = place.sdpipe({"doctor"}, {"SIMULATED_CUDA_GPUS=" + gpus}).out;
    const size_t begin = out.find("GPUs "), end = out.find("plugins ", begin);
    return out.substr(begin, end - begin);
  };
  CHECK(gpu_lines("2") ==
        "GPUs          cuda:0, simulated, compute capability 9.0, 8.0 GiB\n"
        "              cuda:1, simulated, compute capability 9.0, 8.0 GiB\n"
        "CUDA          13.0, the driver's 13.0, cuDNN not found, NCCL not found\n"
        "a run uses    GPU 0, simulated, unless run.device says otherwise\n");
  CHECK(
      gpu_lines("no_driver") ==
      "GPUs          none: no NVIDIA driver was found; install one, or set run.device = \"cpu\" to compute on the CPU\n"
      "a run uses    the CPU, unless run.device says otherwise\n");
}

TEST_CASE("A plugin that writes past its tensor on the GPU ends the run, and is named") {
  const Workplace place;
  const Outcome outcome =
      place.sdpipe(with({"--plugin", SDPIPE_FAULTY}, with(train_on_gpu, {"corruption={ type = \"past_the_end\" }"})));
  CHECK(outcome.code == 3);
  CHECK(outcome.err ==
        "\nerror: the program crashed inside plugin \"past_the_end\"; checkpoints already written are whole, run again "
        "without it or with a mended one\n");
}

TEST_CASE("With run.synchronous a plugin whose kernel fails on the GPU is named, where its own call ended well") {
  const Workplace place;
  const Words words =
      with({"--plugin", SDPIPE_FAULTY}, with(train_on_gpu, {"corruption={ type = \"at_two_barriers\" }"}));
  const Words deferred = {"SIMULATED_CUDA_STREAMS=deferred"};
  const Outcome by_itself = place.sdpipe(words, deferred),
                waiting = place.sdpipe(with(words, {"run.synchronous=true"}), deferred);
  CHECK_FALSE(contains(by_itself.err, "plugin \"at_two_barriers\": apply failed"));
  CHECK(contains(waiting.err,
                 "plugin \"at_two_barriers\": apply failed on the GPU: simulated CUDA: threads of a block "
                 "wait at different __syncthreads(), of lines "));
  CHECK(waiting.code == 3);
}

TEST_CASE("plugins check holds a plugin to its laws on the GPU, a third party's with a kernel of its own too") {
  const Workplace place;
  for (const std::string file :
       {SDPIPE_SHADE, SDPIPE_BUILD_DIR "/plugins/heat_blur.sdp.so", SDPIPE_BUILD_DIR "/plugins/downsample.sdp.so",
        SDPIPE_BUILD_DIR "/plugins/ddim.sdp.so"}) {
    const Outcome outcome = place.sdpipe({"plugins", "check", "--device", "cuda", file});
    CAPTURE(file, outcome.out, outcome.err);
    CHECK(outcome.code == 0);
    CHECK_FALSE(contains(outcome.out, "FAIL"));
  }
  CHECK(contains(place.sdpipe({"plugins", "check", "--device", "cuda", SDPIPE_SHADE}).out,
                 "corruption.same_as_on_cpu.float64"));
  CHECK(place.sdpipe({"plugins", "check", "--device", "gpu", SDPIPE_SHADE}).err ==
        "error: --device must be cpu, cuda, cuda:N or auto, not gpu\n");
  CHECK(place.sdpipe({"plugins", "check", "--device", "cuda", SDPIPE_SHADE}, {"SIMULATED_CUDA_GPUS=none"}).err ==
        "error: --device cuda: the NVIDIA driver finds no GPU\n");
}

}  // namespace sdpipe::testing
