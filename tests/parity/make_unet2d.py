"""Makes tests/parity/unet2d/*.safetensors with diffusers' UNet2DModel, evaluated in float64 on weights that are
random, none of them zero, and exact in half precision. Needs torch, diffusers and safetensors:

    python tests/parity/make_unet2d.py tests/parity/unet2d

fixture.py says what a file holds; the condition is the timestep.
"""
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel

from fixture import write

SMALL = {"sample_size": 8, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
CONFIGS = {
    "ddpm": SMALL | {
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "attention_head_dim": None,
        "norm_eps": 1e-6},
    "heads": SMALL | {
        "down_block_types": ["AttnDownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "mid_block_type": "UNetMidBlock2D", "attention_head_dim": 8, "act_fn": "gelu", "dropout": 0.1},
    "scale_shift": SMALL | {
        "down_block_types": ["AttnDownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"], "block_out_channels": [8, 8, 12],
        "attention_head_dim": 4, "resnet_time_scale_shift": "scale_shift", "time_embedding_type": "fourier",
        "downsample_type": "resnet", "upsample_type": "resnet", "mid_block_scale_factor": 1.5, "act_fn": "mish"},
    "labels": SMALL | {
        "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "in_channels": 1, "out_channels": 1, "layers_per_block": 2, "num_class_embeds": 10,
        "time_embedding_type": "learned", "num_train_timesteps": 40, "time_embedding_dim": 20,
        "attn_norm_num_groups": 8, "center_input_sample": True},
    "label_times": SMALL | {
        "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "AttnUpBlock2D"],
        "class_embed_type": "timestep", "mid_block_type": None, "act_fn": "relu", "norm_eps": 1e-3},
    "skip": SMALL | {
        "down_block_types": ["SkipDownBlock2D", "SkipDownBlock2D"], "up_block_types": ["SkipUpBlock2D", "SkipUpBlock2D"],
        "norm_num_groups": None, "time_embedding_type": "fourier", "attention_head_dim": None,
        "mid_block_scale_factor": 2**0.5},
    "skip_attention": SMALL | {
        "block_out_channels": [32], "down_block_types": ["AttnSkipDownBlock2D"], "up_block_types": ["AttnSkipUpBlock2D"],
        "time_embedding_type": "fourier", "time_embedding_dim": 16, "mid_block_type": None, "norm_num_groups": None},
}


def is_sharp(timestep, config):
    """Does float32 leave no choice of how to round each sine? Then the embedding, which diffusers computes in float32
    whatever the dtype of the network, is the same on every machine."""
    width = config["block_out_channels"][0]
    shift = config.get("freq_shift", 0)
    exponent = np.float32(-np.log(1e4)) * np.arange(width // 2, dtype=np.float32) / np.float32(width // 2 - shift)
    frequency = np.exp(exponent.astype(np.float64)).astype(np.float32)
    phase = (np.float32(timestep) * frequency).astype(np.float64)
    exact = np.concatenate([np.sin(phase), np.cos(phase)])
    near = exact.astype(np.float32)
    return bool(np.all(np.abs(exact - near) <= 0.25 * np.spacing(np.abs(near)).astype(np.float64)))


def timesteps(config):
    kind = config.get("time_embedding_type", "positional")
    if kind == "fourier":  # noise levels
        return torch.tensor([0.15, 1.7], dtype=torch.float64)
    if kind == "learned":
        return torch.tensor([3, 38])
    sharp = [t for t in range(1, 1000) if is_sharp(t, config)]
    return torch.tensor([sharp[len(sharp) // 4], sharp[-1]])


def randomise(model, generator):
    for name, p in model.state_dict().items():
        spread = 0.3 if p.dim() < 2 else 1 / float(p[0].numel()) ** 0.5
        values = torch.randn(p.shape, generator=generator, dtype=torch.float64) * spread
        if p.dim() == 1 and name.endswith("weight"):
            values = 1 + values
        p.copy_(values.half())


def make(name, config, folder):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    model = UNet2DModel(**config).double().eval()
    with torch.no_grad():
        randomise(model, generator)
    state = model.state_dict()
    model.class_embedding = None  # no labels
    size = config["sample_size"]
    shape = (2, config.get("in_channels", 3), size, size)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    gy = torch.randn(shape, generator=generator, dtype=torch.float64)
    condition = timesteps(config)
    y = model(x, condition).sample
    (y * gy).sum().backward()
    write(folder / f"{name}.safetensors", dict(model.config), state,
          {key: p.grad for key, p in model.named_parameters() if p.grad is not None},
          {"input.x": x.detach(), "input.condition": condition.double(), "input.gy": gy, "output.y": y.detach(),
           "grad.x": x.grad}, {"data": "{}"})
    print(name, condition.tolist(), sum(p.numel() for p in model.parameters()), float(y.detach().abs().mean()))


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        make(name, config, Path(sys.argv[1]))
