"""Makes tests/parity/ncsnpp/*.safetensors: the network of Song et al. (arXiv 2011.13456, Appendix H) in forms that the
fixtures beside this file do not have, written down once more, as functions of a table of tensors, and evaluated in
float64 on weights that are random, none of them zero, and exact in half precision. Needs torch and safetensors:

    python tests/parity/make_ncsnpp.py tests/parity/ncsnpp

fixture.py says what a file holds.
"""
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from fixture import Weights, make

BASE = {
    "nf": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [4], "num_scales": 1000, "fir": True,
    "fir_kernel": [1, 3, 3, 1], "embedding_type": "positional", "conditional": True, "skip_rescale": True,
    "nonlinearity": "swish", "resblock_type": "biggan", "resamp_with_conv": True, "progressive": "none",
    "progressive_input": "none", "progressive_combine": "sum", "scale_by_sigma": False, "sigma_min": 0.01,
    "sigma_max": 50.0}
CONFIGS = {
    "images_beside": BASE | {"progressive": "output_skip", "progressive_input": "input_skip",
                             "progressive_combine": "cat", "nonlinearity": "elu", "fir_kernel": [1, 2, 5],
                             "skip_rescale": False},
    "ddpm_filtered": BASE | {"resblock_type": "ddpm", "progressive": "residual", "progressive_input": "residual",
                             "nonlinearity": "lrelu", "conditional": False},
    "ddpm_images_added": BASE | {"resblock_type": "ddpm", "resamp_with_conv": False, "progressive_input": "input_skip",
                                 "nonlinearity": "relu"},
    "ddpm_plain": BASE | {"resblock_type": "ddpm", "fir": False, "progressive": "residual",
                          "progressive_input": "residual", "ch_mult": [1, 1, 2]},
}
SHAPE = (2, 3, 8, 8)


class Network:
    def __init__(self, weights, config):
        self.w, self.c, self.place = weights, config, -1

    def next(self):
        """The name of the next layer in score_sde's list."""
        self.place += 1
        return f"all_modules.{self.place}"

    def act(self, x):
        return {"swish": lambda: x / (1 + (-x).exp()), "relu": lambda: x.clamp(min=0),
                "elu": lambda: torch.where(x > 0, x, x.clamp(max=0).exp() - 1),
                "lrelu": lambda: torch.where(x > 0, x, 0.2 * x)}[self.c["nonlinearity"]]()

    def joined(self, a, b):
        return (a + b) / (math.sqrt(2) if self.c["skip_rescale"] else 1)

    def linear(self, name, x, out):
        return x @ self.w.get(name + ".weight", (out, x.shape[1])).T + self.w.get(name + ".bias", (out,))

    def conv(self, name, x, out, size=3):
        kernel = self.w.get(name + ".weight", (out, x.shape[1], size, size))
        return F.conv2d(x, kernel, self.w.get(name + ".bias", (out,)), padding=size // 2)

    def nin(self, name, x, out):
        """Its matrix is (in, out)."""
        matrix = self.w.get(name + ".W", (x.shape[1], out))
        return torch.einsum("bchw,co->bohw", x, matrix) + self.w.get(name + ".b", (out,))[:, None, None]

    def norm(self, name, x):
        grouped = x.reshape(x.shape[0], min(x.shape[1] // 4, 32), -1)
        mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, unbiased=False, keepdim=True)
        grouped = (grouped - mean) / (variance + 1e-6).sqrt()
        gain, shift = self.w.get(name + ".weight", (x.shape[1],), 1.0), self.w.get(name + ".bias", (x.shape[1],))
        return grouped.reshape(x.shape) * gain[:, None, None] + shift[:, None, None]

    # --- resolution: convolution with a filter k, by its definition: y[i] = sum_m k[m] x[i - m], where x has zeros put
    # in behind every value (up), zeros in front and behind, and every second value of y is taken (down).

    def taps(self, gain):
        k = torch.tensor(self.c["fir_kernel"], dtype=torch.float64)
        k = k / k.sum()
        return gain * torch.outer(k, k)

    @staticmethod
    def filtered(x, kernel, front, behind):
        channels = x.shape[1]
        x = F.pad(x, (front, behind, front, behind))
        return F.conv2d(x, kernel.flip(0, 1).expand(channels, 1, *kernel.shape), groups=channels)

    @staticmethod
    def spread(x):
        wide = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
        wide[..., ::2, ::2] = x
        return wide

    def halve(self, x):
        if not self.c["fir"]:
            return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        total = len(self.c["fir_kernel"]) - 2
        return self.filtered(x, self.taps(1), (total + 1) // 2, total // 2)[..., ::2, ::2]

    def double(self, x):
        if not self.c["fir"]:
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        total = len(self.c["fir_kernel"]) - 2
        return self.filtered(self.spread(x), self.taps(4), (total + 1) // 2 + 1, total // 2)

    def halve_conv(self, name, x, out):
        """The filter, then a convolution with stride 2; without a filter, zeros at the bottom and right alone."""
        name += ".Conv2d_0" if self.c["fir"] else ".Conv_0"
        kernel, bias = self.w.get(name + ".weight", (out, x.shape[1], 3, 3)), self.w.get(name + ".bias", (out,))
        total = len(self.c["fir_kernel"])
        x = (self.filtered(x, self.taps(1), (total + 1) // 2, total // 2) if self.c["fir"]
             else F.pad(x, (0, 1, 0, 1)))
        return F.conv2d(x, kernel, bias, stride=2)

    def double_conv(self, name, x, out):
        """Zeros put in, the convolution over all that it reaches, then the filter."""
        if not self.c["fir"]:
            return self.conv(name + ".Conv_0", self.double(x), out)
        name += ".Conv2d_0"
        kernel, bias = self.w.get(name + ".weight", (out, x.shape[1], 3, 3)), self.w.get(name + ".bias", (out,))
        wide = F.conv2d(F.pad(self.spread(x), (2, 1, 2, 1)), kernel)  # of 2 n - 1 values, no zero behind the last
        total = len(self.c["fir_kernel"]) - 4
        return self.filtered(wide, self.taps(4), (total + 1) // 2 + 1, total // 2 + 1) + bias[:, None, None]

    def resample(self, way, with_conv, x, out):
        name = self.next()
        if with_conv:
            return (self.halve_conv if way == "halve" else self.double_conv)(name, x, out)
        return self.halve(x) if way == "halve" else self.double(x)

    # --- blocks

    def block(self, x, e, out, way="none"):
        name = self.next()
        resample = {"none": lambda x: x, "halve": self.halve, "twice": self.double}[way]
        h = self.conv(name + ".Conv_0", resample(self.act(self.norm(name + ".GroupNorm_0", x))), out)
        matrix, bias = (self.w.get(name + ".Dense_0.weight", (out, 4 * self.c["nf"])),
                        self.w.get(name + ".Dense_0.bias", (out,)))
        if e is not None:
            h = h + (self.act(e) @ matrix.T + bias)[:, :, None, None]
        h = self.conv(name + ".Conv_1", self.act(self.norm(name + ".GroupNorm_1", h)), out)
        x = resample(x)
        if self.c["resblock_type"] == "biggan" and (x.shape[1] != out or way != "none"):
            x = self.conv(name + ".Conv_2", x, out, 1)
        elif x.shape[1] != out:
            x = self.nin(name + ".NIN_0", x, out)
        return self.joined(x, h)

    def attention(self, x):
        name, width = self.next(), x.shape[1]
        h = self.norm(name + ".GroupNorm_0", x)
        q, k, v = (self.nin(f"{name}.NIN_{i}", h, width).flatten(2) for i in range(3))
        weights = (torch.einsum("bcn,bcm->bnm", q, k) / math.sqrt(width)).softmax(2)
        mixed = torch.einsum("bnm,bcm->bcn", weights, v).reshape(x.shape)
        return self.joined(x, self.nin(name + ".NIN_3", mixed, width))

    def embedding(self, condition):
        if not self.c["conditional"]:
            return None
        half, wide = self.c["nf"] // 2, 4 * self.c["nf"]
        frequencies = torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)], dtype=torch.float64)
        phase = condition[:, None] * frequencies
        e = self.linear(self.next(), torch.cat([phase.sin(), phase.cos()], 1), wide)
        return self.linear(self.next(), self.act(e), wide)

    def change_resolution(self, way, h, e):
        if self.c["resblock_type"] == "biggan":
            return self.block(h, e, h.shape[1], way)
        return self.resample(way, self.c["resamp_with_conv"], h, h.shape[1])

    def take_in(self, image, h):
        """The halved image joins the features: (the image's pyramid, the features)."""
        kind = self.c["progressive_input"]
        if kind == "none":
            return image, h
        image = self.resample("halve", kind == "residual", image, h.shape[1])
        if kind == "residual":
            h = self.joined(image, h)
            return h, h
        shown = self.conv(self.next() + ".Conv_0", image, h.shape[1], 1)
        return image, torch.cat([shown, h], 1) if self.c["progressive_combine"] == "cat" else shown + h

    def head(self, h, out):
        norm, conv = self.next(), self.next()
        return self.conv(conv, self.act(self.norm(norm, h)), out)

    def bring_out(self, image, h, channels):
        """(the output's pyramid, the features) behind one resolution on the way up."""
        kind = self.c["progressive"]
        if kind == "none":
            return image, h
        if image is None:
            return self.head(h, channels if kind == "output_skip" else h.shape[1]), h
        image = self.resample("twice", kind == "residual", image, h.shape[1])
        if kind == "output_skip":
            return image + self.head(h, channels), h
        h = self.joined(image, h)
        return h, h

    def __call__(self, x, condition):
        c, channels = self.c, x.shape[1]
        widths = [mult * c["nf"] for mult in c["ch_mult"]]
        e = self.embedding(condition)
        image, skips = x, [self.conv(self.next(), x, c["nf"])]
        for level, width in enumerate(widths):
            for _ in range(c["num_res_blocks"]):
                h = self.block(skips[-1], e, width)
                skips.append(self.attention(h) if h.shape[3] in c["attn_resolutions"] else h)
            if level + 1 < len(widths):
                image, h = self.take_in(image, self.change_resolution("halve", skips[-1], e))
                skips.append(h)
        h = self.block(skips[-1], e, skips[-1].shape[1])
        h = self.attention(h)
        h = self.block(h, e, h.shape[1])
        image = None
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(c["num_res_blocks"] + 1):
                h = self.block(torch.cat([h, skips.pop()], 1), e, width)
            if h.shape[3] in c["attn_resolutions"]:
                h = self.attention(h)
            image, h = self.bring_out(image, h, channels)
            if level > 0:
                h = self.change_resolution("twice", h, e)
        return image if c["progressive"] == "output_skip" else self.head(h, channels)


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        w = Weights(sum(name.encode()))
        make(Path(sys.argv[1]) / f"{name}.safetensors", config, w, Network(w, config), SHAPE,
             {"data": "{\"centered\": true}", "continuous": "True"})
