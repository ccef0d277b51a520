"""What the scripts beside this file share: random weights, and the form of a fixture. Each file holds weight.*, input.x,
input.condition, input.gy, output.y and grad.x, the gradient of <gy, y>; its metadata the configuration and, for each
parameter's gradient g, its Euclidean norm and sum_i g_i cos(i).
"""
import json
import math

import torch
from safetensors.torch import save_file


class Weights(dict):
    """Draws each tensor when it is asked for the first time."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def get(self, name, shape, around=0.0):
        if name not in self:
            fan = math.prod(shape[1:]) if len(shape) > 1 else 12
            value = around + torch.randn(shape, generator=self.generator, dtype=torch.float64) / math.sqrt(fan)
            self[name] = value.half().double().requires_grad_()
        return self[name]


def projection(g):
    g = g.flatten()
    return [g.norm().item(), (g * torch.arange(g.numel(), dtype=torch.float64).cos()).sum().item()]


def write(file, config, weights, gradients, tensors, metadata):
    """`weights` and `gradients` by the names of the parameters; `tensors`: the inputs, the output and grad.x."""
    tensors = {"weight." + key: value.detach().half() for key, value in weights.items()} | tensors
    save_file({key: value.contiguous() for key, value in tensors.items()}, file,
              metadata={"config": json.dumps(config)} | metadata |
                       {"grad_norm_and_cos_projection": json.dumps({k: projection(g) for k, g in gradients.items()})})


def make(file, config, weights, network, shape, metadata):
    """Of network(x, condition), which draws `weights`, on random input of that shape."""
    x = torch.randn(shape, generator=weights.generator, dtype=torch.float64).requires_grad_()
    gy = torch.randn(shape, generator=weights.generator, dtype=torch.float64)
    condition = torch.tensor([3.0, 871.5], dtype=torch.float64)
    y = network(x, condition)
    (y * gy).sum().backward()
    write(file, config, weights, {key: p.grad for key, p in weights.items() if p.grad is not None},
          {"input.x": x.detach(), "input.condition": condition, "input.gy": gy, "output.y": y.detach(),
           "grad.x": x.grad}, metadata)
    print(file.stem, sum(p.numel() for p in weights.values()), float(y.detach().abs().mean()))
