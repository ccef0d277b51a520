"""Makes the files of tests/parity/torchscript: networks written by torch.jit, good ones with what they compute, and some
that the plugin refuses. Needs torch and safetensors:

    python tests/parity/make_torchscript.py tests/parity/torchscript

NAME.safetensors holds weight.*, input.x, input.condition, input.gy, output.y and grad.x, the gradient of <gy, y>, for
NAME.pt; its metadata, for each parameter's gradient g, its Euclidean norm and sum_i g_i cos(i).
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


class Traced(nn.Module):
    """A tied matrix, a parameter and a norm that are not trained, a buffer of integers."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.time = nn.Linear(1, 8)
        self.norm = nn.GroupNorm(2, 8)
        self.first = nn.Conv2d(8, 8, 1)
        self.second = nn.Conv2d(8, 8, 1)
        self.second.weight = self.first.weight
        self.batch = nn.BatchNorm2d(8)
        self.leave = nn.Conv2d(8, 3, 3, padding=1)
        self.leave.bias.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(0.75))

    def forward(self, x, condition):
        h = self.enter(x) + self.time(condition[:, None] / 999)[:, :, None, None]
        h = F.silu(self.norm(h))
        h = h + self.second(F.silu(self.first(h)))
        return self.leave(F.dropout(self.batch(h), 0.5, self.training)) * self.scale


class Scripted(nn.Module):
    """One argument, a loop, dropout in training."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(3, 3, 3, 3, dtype=torch.float64))
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(F.conv2d(x, self.kernel, padding=1)) + self.gain * F.dropout(x, 0.5, self.training)
        return x


class Labelled(nn.Module):
    def forward(self, x, condition, labels):
        return x + condition[:, None, None, None] + labels[:, None, None, None]


class Pair(nn.Module):
    def forward(self, x, condition):
        return x, condition


class Variance(nn.Module):
    def forward(self, x, condition):
        return torch.cat([x, x], 1)


class Random(nn.Module):
    def forward(self, x, condition):
        return x + torch.rand_like(x)


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.Parameter(torch.tensor([3]), requires_grad=False)

    def forward(self, x, condition):
        return x * self.steps


class Single(nn.Module):
    def forward(self, x, condition):
        return x.reshape(1, 3, 4, 4) * condition


def projection(g):
    g = g.flatten()
    return [g.norm().item(), (g * torch.arange(g.numel(), dtype=torch.float64).cos()).sum().item()]


def randomise(model, generator):
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if t.is_floating_point():
                values = torch.randn(t.shape, generator=generator, dtype=torch.float64) * 0.4
                t.copy_(values.abs() + 0.5 if "var" in name else values)


def make(name, model, condition, folder, export):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    randomise(model, generator)
    export(model).save(folder / f"{name}.pt")
    model = model.double().eval()
    x = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64).requires_grad_()
    gy = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    y = model(x) if condition is None else model(x, condition)
    (y * gy).sum().backward()
    state = {key: t.clone() for key, t in model.state_dict().items() if t.is_floating_point() and key != "second.weight"}
    tensors = {"weight." + key: t.reshape(t.shape or (1,)) for key, t in state.items()}
    tensors |= {"input.x": x.detach(), "input.gy": gy, "output.y": y.detach(), "grad.x": x.grad}
    if condition is not None:
        tensors["input.condition"] = condition
    gradients = {key: projection(p.grad) for key, p in model.named_parameters() if p.grad is not None}
    save_file({key: t.contiguous() for key, t in tensors.items()}, folder / f"{name}.safetensors",
              metadata={"config": "{}", "data": "{}", "grad_norm_and_cos_projection": json.dumps(gradients)})


def main(folder):
    example = (torch.zeros(2, 3, 4, 4), torch.zeros(2))
    make("traced", Traced(), torch.tensor([3.0, 871.5], dtype=torch.float64), folder,
         lambda model: torch.jit.trace(model.eval(), example))
    make("scripted", Scripted(), None, folder, torch.jit.script)
    for name, model in {"labelled": Labelled(), "pair": Pair(), "variance": Variance(), "random": Random(),
                        "counted": Counted(), "single": Single()}.items():
        torch.jit.script(model).save(folder / f"{name}.pt")
    torch.save(nn.Linear(2, 2).state_dict(), folder / "pickled.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
