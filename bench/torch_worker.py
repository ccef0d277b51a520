"""PyTorch's side of script/benchmark, as a careful user writes it: fused Adam, foreach clipping and averaging, no
gradient recorded where none is needed. Speaks the protocol of bench.cpp:

    torch_worker.py MODE ROW PIPELINE WEIGHTS     MODE: eager | compile, or either with +bfloat16 or +channels_last
                                                  ROW: train | infer | sample
For each line N on standard input it does N units and prints seconds, peak memory in KiB, and the CPU's seconds.
"""

import pathlib
import sys
import time
import tomllib

import torch
from safetensors.torch import load_file

from ncsnpp import NCSNpp
from unet import UNet

PICTURES = 256


def network_of(pipeline):
    """The twin of the pipeline's [model], its values still to be loaded."""
    settings = dict(pipeline["model"])
    channels, pixels = pipeline["data"]["channels"], pipeline["data"]["resize"]
    if settings.pop("type") == "unet":
        return UNet(channels, **settings)
    fixed = {"scale_by_sigma": True, "centered": False, "condition": "sigma"}
    if any(settings.pop(key) != value for key, value in fixed.items()):
        raise SystemExit("ncsnpp.py has celeba_ncsnpp's form alone")
    return NCSNpp(channels, pixels, **settings)


def loaded(pipeline, weights):
    network = network_of(pipeline)
    network.load_state_dict(load_file(weights), strict=True)
    return network


class Noise:
    """sigma(t), geometric."""

    def __init__(self, settings):
        self.low, self.high = settings["sigma_min"], settings["sigma_max"]

    def __call__(self, t):
        return self.low * (self.high / self.low) ** t


class Worker:
    def __init__(self, mode, pipeline, weights):
        words = mode.split("+")
        self.compiles, self.bfloat16 = "compile" in words, "bfloat16" in words
        self.format = torch.channels_last if "channels_last" in words else torch.contiguous_format
        self.pipeline = pipeline
        self.sigma = Noise(pipeline["noise"])
        self.network = loaded(pipeline, weights).to(memory_format=self.format)
        self.batch = pipeline["train"]["batch"]
        data = pipeline["data"]
        self.shape = (data["channels"], data["resize"], data["resize"])
        self.pictures = torch.randint(0, 256, (PICTURES, *self.shape), dtype=torch.uint8)
        self.call = torch.compile(self.network) if self.compiles else self.network

    def estimate(self, x, t):
        """x0_hat."""
        x = x.contiguous(memory_format=self.format)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return x + self.call(x, t)

    # Training: x_t = x_0 + sigma eps, |x0_hat - x_0|^2, clip, Adam, EMA.
    def prepare_train(self):
        self.parameters = list(self.network.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=2e-4, fused=True)
        self.steps = 0

    def train(self):
        x_0 = self.pictures[torch.randint(0, PICTURES, (self.batch,))].float().div_(127.5).sub_(1)
        t = 1e-3 + (1 - 1e-3) * torch.rand(self.batch)
        x_t = x_0 + self.sigma(t)[:, None, None, None] * torch.randn_like(x_0)
        loss = (self.estimate(x_t, t) - x_0).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        self.steps += 1
        decay = min(0.9999, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)

    def prepare_inference(self):
        self.network.eval().requires_grad_(False)
        if self.bfloat16:
            self.network.bfloat16()

    def prepare_infer(self):
        self.prepare_inference()
        self.x = torch.randn(self.batch, *self.shape)
        self.t = torch.arange(1, self.batch + 1) / (self.batch + 1)

    def infer(self):
        with torch.inference_mode():
            self.estimate(self.x, self.t)

    def prepare_sample(self):
        self.prepare_inference()

    def sample(self):
        """The ancestral sampler of docs/method.md with C = I; as many evaluations as steps."""
        steps, count = self.pipeline["sample"]["steps"], self.pipeline["sample"]["count"]
        nodes = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        with torch.inference_mode():
            x = self.sigma(1.0) * torch.randn(count, *self.shape)
            for k in range(steps - 1, 0, -1):
                high, low = float(self.sigma(nodes[k])), float(self.sigma(nodes[k - 1]))
                x0_hat = self.estimate(x, torch.full((count,), float(nodes[k])))
                share = (low / high) ** 2
                x = torch.lerp(x0_hat, x, share).add_(torch.randn_like(x), alpha=low / high * (high**2 - low**2) ** 0.5)
            x = self.estimate(x, torch.full((count,), float(nodes[0])))
            return ((x + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)


def peak_kib():
    """Not getrusage's, which counts what the program that started this one had in memory."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])


def main():
    mode, row, pipeline, weights = sys.argv[1:]
    with open(pipeline, "rb") as file:
        pipeline = tomllib.load(file)
    torch.set_num_threads(pipeline["run"]["threads"])
    unit = None
    for line in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        if unit is None:
            torch.manual_seed(0)
            worker = Worker(mode, pipeline, weights)
            getattr(worker, "prepare_" + row)()
            unit = getattr(worker, row)
        for _ in range(int(line)):
            unit()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(seconds, peak_kib(), cpu, flush=True)


if __name__ == "__main__":
    main()
