"""NCSN++ (Song et al., arXiv 2011.13456, Appendix H), in the form in which it is published and used: modules in one
list, FIR resampling of single-channel images, 1x1 convolutions and attention as contractions over permuted axes.

Only the configuration of celeba_ncsnpp: BigGAN blocks, FIR, residual input pyramid, no output pyramid, positional
embedding, output divided by sigma. Parameters carry score_sde's names.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def filtered(x, kernel, up=1, down=1, pad=(0, 0)):
    """Sets up - 1 zeros behind each pixel, pads, convolves every channel with the kernel, keeps each down-th pixel."""
    batch, channels, height, width = x.shape
    h = x.reshape(batch * channels, 1, height, 1, width, 1)
    h = F.pad(h, [0, up - 1, 0, 0, 0, up - 1]).reshape(batch * channels, 1, height * up, width * up)
    h = F.conv2d(F.pad(h, [pad[0], pad[1], pad[0], pad[1]]), kernel.flip([0, 1])[None, None])
    h = h[:, :, ::down, ::down]
    return h.reshape(batch, channels, h.shape[2], h.shape[3])


class Filter(nn.Module):
    def __init__(self, taps):
        super().__init__()
        k = torch.tensor(taps, dtype=torch.float32)
        self.register_buffer("kernel", torch.outer(k, k) / k.sum() ** 2, persistent=False)

    def halved(self, x):
        return filtered(x, self.kernel, down=2, pad=(1, 1))

    def doubled(self, x):
        return filtered(x, self.kernel * 4, up=2, pad=(2, 1))

    def before_strided_convolution(self, x):
        return filtered(x, self.kernel, pad=(2, 2))


def norm(channels):
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class Nin(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(channels_in, channels_out))
        self.b = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x):
        y = torch.einsum("bhwc,cd->bhwd", x.permute(0, 2, 3, 1), self.W) + self.b
        return y.permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        for i in range(4):
            self.add_module(f"NIN_{i}", Nin(channels, channels))

    def forward(self, x):
        batch, channels, height, width = x.shape
        h = self.GroupNorm_0(x)
        q, k, v = self.NIN_0(h), self.NIN_1(h), self.NIN_2(h)
        w = torch.einsum("bchw,bcij->bhwij", q, k) * channels**-0.5
        w = F.softmax(w.reshape(batch, height, width, height * width), dim=-1)
        h = torch.einsum("bhwij,bcij->bchw", w.reshape(batch, height, width, height, width), v)
        return (x + self.NIN_3(h)) / math.sqrt(2)


class Block(nn.Module):
    def __init__(self, fir, width_of_embedding, channels_in, channels_out, resample=None):
        super().__init__()
        self.fir, self.resample = fir, resample
        self.GroupNorm_0 = norm(channels_in)
        self.Conv_0 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.Dense_0 = nn.Linear(width_of_embedding, channels_out)
        self.GroupNorm_1 = norm(channels_out)
        self.Conv_1 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out or resample is not None:
            self.Conv_2 = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, embedding):
        h = F.silu(self.GroupNorm_0(x))
        if self.resample is not None:
            h, x = getattr(self.fir, self.resample)(h), getattr(self.fir, self.resample)(x)
        h = self.Conv_0(h) + self.Dense_0(F.silu(embedding))[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h)))
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        return (x + h) / math.sqrt(2)


class HalvingConvolution(nn.Module):
    def __init__(self, fir, channels_in, channels_out):
        super().__init__()
        self.fir = fir
        self.Conv2d_0 = nn.Conv2d(channels_in, channels_out, 3, stride=2)

    def forward(self, x):
        return self.Conv2d_0(self.fir.before_strided_convolution(x))


class NCSNpp(nn.Module):
    """The network's y for images x (batch, channel, height, width) at times t (batch) in [0, 1] of geometric noise."""

    def __init__(self, image_channels, pixels, *, nf=128, ch_mult=(1, 2, 2, 2), num_res_blocks=4,
                 attn_resolutions=(16,), sigma_min=0.01, sigma_max=90.0, num_scales=1000, taps=(1, 3, 3, 1)):
        super().__init__()
        self.nf, self.num_res_blocks, self.levels = nf, num_res_blocks, len(ch_mult)
        self.attends = [(pixels >> level) in attn_resolutions for level in range(self.levels)]
        sigmas = torch.linspace(math.log(sigma_max), math.log(sigma_min), num_scales, dtype=torch.float64).exp()
        self.register_buffer("sigmas", sigmas.float(), persistent=False)
        fir = Filter(taps)
        widths = [nf * m for m in ch_mult]
        modules = [nn.Linear(nf, 4 * nf), nn.Linear(4 * nf, 4 * nf), nn.Conv2d(image_channels, nf, 3, padding=1)]

        def block(channels_in, channels_out, resample=None):
            modules.append(Block(fir, 4 * nf, channels_in, channels_out, resample))

        width, pyramid, skips = nf, image_channels, [nf]
        for level, wide in enumerate(widths):
            for _ in range(num_res_blocks):
                block(width, wide)
                width = wide
                if self.attends[level]:
                    modules.append(Attention(width))
                skips.append(width)
            if level + 1 < self.levels:
                block(width, width, "halved")
                modules.append(HalvingConvolution(fir, pyramid, width))
                pyramid = width
                skips.append(width)
        block(width, width)
        modules.append(Attention(width))
        block(width, width)
        for level in range(self.levels - 1, -1, -1):
            for _ in range(num_res_blocks + 1):
                block(width + skips.pop(), widths[level])
                width = widths[level]
            if self.attends[level]:
                modules.append(Attention(width))
            if level > 0:
                block(width, width, "doubled")
        modules += [norm(width), nn.Conv2d(width, image_channels, 3, padding=1)]
        self.all_modules = nn.ModuleList(modules)

    def embed(self, labels):
        half = self.nf // 2
        order = torch.arange(half, dtype=torch.float32, device=labels.device)
        phase = labels[:, None] * torch.exp(order * (-math.log(1e4) / (half - 1)))
        return torch.cat([phase.sin(), phase.cos()], dim=1)

    def forward(self, x, t):
        layer = iter(self.all_modules)
        labels = ((1 - t) * 999).round()  # score_sde's of its VE process: the index of sigma(t)
        embedding = next(layer)(self.embed(labels).to(x.dtype))
        embedding = next(layer)(F.silu(embedding))
        x = 2 * x - 1
        pyramid = x
        skips = [next(layer)(x)]
        for level in range(self.levels):
            for _ in range(self.num_res_blocks):
                h = next(layer)(skips[-1], embedding)
                if self.attends[level]:
                    h = next(layer)(h)
                skips.append(h)
            if level + 1 < self.levels:
                h = next(layer)(skips[-1], embedding)
                pyramid = (next(layer)(pyramid) + h) / math.sqrt(2)
                skips.append(pyramid)
        h = next(layer)(skips[-1], embedding)
        h = next(layer)(h)
        h = next(layer)(h, embedding)
        for level in range(self.levels - 1, -1, -1):
            for _ in range(self.num_res_blocks + 1):
                h = next(layer)(torch.cat([h, skips.pop()], dim=1), embedding)
            if self.attends[level]:
                h = next(layer)(h)
            if level > 0:
                h = next(layer)(h, embedding)
        h = F.silu(next(layer)(h))
        h = next(layer)(h)
        return h / self.sigmas[labels.long()].to(h.dtype)[:, None, None, None]
