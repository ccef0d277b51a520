"""Do both sides compute the same? Outputs and gradients on the same weights and inputs."""

import torch
from safetensors.torch import load_file, save_file

from torch_worker import loaded, network_of

# Of differences(). sdpipe in bfloat16 is compared with PyTorch in float32, which says little about the gradient of a
# single parameter where that is small.
BOUNDS = {
    "float32": {"output": 1e-3, "output in training": 1e-3, "gradient": 1e-3, "worst parameter": 1e-3},
    "bfloat16": {"output": 5e-2, "output in training": 5e-2, "gradient": 1e-1},
}


def write_weights(pipeline, file):
    """Random values under which every parameter matters: none is zero, as some are when a training begins."""
    torch.manual_seed(0)
    network = network_of(pipeline)
    weights = {}
    for name, p in network.named_parameters():
        if p.dim() > 1:
            weights[name] = torch.randn_like(p) * (p[0].numel() ** -0.5)
        else:
            weights[name] = 0.1 * torch.randn_like(p) + (1 if name.endswith("weight") else 0)
    save_file(weights, file)


def write_inputs(pipeline, file):
    torch.manual_seed(1)
    batch = min(pipeline["train"]["batch"], 2)
    data = pipeline["data"]
    shape = (batch, data["channels"], data["resize"], data["resize"])
    t = (torch.arange(batch, dtype=torch.float64) + 1) / (batch + 1)
    save_file({"x": torch.randn(shape), "gy": torch.randn(shape), "t": t}, file)


def relative(a, b, floor=0.0):
    return float((a.double() - b.double()).norm() / (b.double().norm() + floor))


def differences(pipeline, weights, given, found):
    """Relative differences in Euclidean norm: outputs of inference and training, all gradients, the worst parameter's
    gradient (against its norm plus a thousandth of the whole's)."""
    network, given, found = loaded(pipeline, weights), load_file(given), load_file(found)
    y = network(given["x"], given["t"].float())
    y.backward(given["gy"])
    gradients = {name: p.grad for name, p in network.named_parameters()}
    ours = {name: found["gradient." + name] for name in gradients}
    whole = torch.cat([g.flatten().double() for g in gradients.values()])
    floor = 1e-3 * float(whole.norm())
    return {
        "output": relative(found["y"], y.detach()),
        "output in training": relative(found["y.training"], y.detach()),
        "gradient": relative(torch.cat([g.flatten().double() for g in ours.values()]), whole),
        "worst parameter": max(relative(ours[name], g, floor) for name, g in gradients.items()),
    }


def agree(differences, precision):
    """False where one is not a number, too."""
    return all(differences[what] <= bound for what, bound in BOUNDS[precision].items())
