"""The network of plugins/models/unet.cpp as a user of PyTorch would write it; parameters carry the same names."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, groups, width_of_embedding, channels_in, channels_out):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.position = nn.Linear(width_of_embedding, 2 * channels_out)
        self.norm2 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, embedding):
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.position(embedding)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm2(h), scale + 1))
        return self.shortcut(x) + self.conv2(h)


class Attention(nn.Module):
    def __init__(self, groups, channels):
        super().__init__()
        self.heads = channels // 32 if channels % 32 == 0 else 1
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.project(mixed.reshape(batch, channels, height, width))


class Level(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList()
        self.attentions = []
        self.resample = None

    def add(self, block, attention=None):
        self.blocks.append(block)
        if attention is not None:
            name = f"attention{len(self.attentions)}"
            self.attentions.append(name)
            self.add_module(name, attention)

    def run(self, i, x, embedding):
        h = self.blocks[i](x, embedding)
        return getattr(self, self.attentions[i])(h) if i < len(self.attentions) else h


class UNet(nn.Module):
    """x0_hat - x of images x (batch, channel, height, width) at times t (batch) in [0, 1]."""

    def __init__(self, image_channels, *, channels=32, multipliers=(1, 2), blocks=1, patch=1, groups=8, attention=(),
                 middle_attention=True):
        super().__init__()
        self.channels, self.patch = channels, patch
        widths = [channels * m for m in multipliers]
        last = len(widths) - 1

        def block(channels_in, channels_out):
            return Block(groups, 4 * channels, channels_in, channels_out)

        def attends(level):
            return Attention(groups, widths[level]) if level in attention else None

        self.embed1 = nn.Linear(channels, 4 * channels)
        self.embed2 = nn.Linear(4 * channels, 4 * channels)
        self.stem = nn.Conv2d(image_channels * patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for l, width in enumerate(widths):
            level = Level()
            for i in range(blocks):
                level.add(block(widths[l - 1] if i == 0 and l > 0 else width, width), attends(l))
            if l < last:
                level.resample = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.down.append(level)
        self.middle = Level()
        self.middle.add(block(widths[-1], widths[-1]), Attention(groups, widths[-1]) if middle_attention else None)
        self.middle.add(block(widths[-1], widths[-1]))
        self.up = nn.ModuleList()
        for l in range(last, -1, -1):
            level = Level()
            for i in range(blocks):
                level.add(block(2 * widths[l], widths[l]), attends(l))
            if l > 0:
                level.resample = nn.Conv2d(widths[l], widths[l - 1], 3, padding=1)
            self.up.append(level)
        self.norm = nn.GroupNorm(groups, widths[0])
        self.output = nn.Conv2d(widths[0], image_channels * patch**2, 3, padding=1)

    def embed(self, t):
        half = self.channels // 2
        order = torch.arange(half, dtype=torch.float32, device=t.device)
        phase = 1000 * t[:, None] * torch.exp(order * (-math.log(1e4) / half))
        angles = torch.cat([phase.cos(), phase.sin()], dim=1).to(self.embed1.weight.dtype)
        return F.silu(self.embed2(F.silu(self.embed1(angles))))

    def forward(self, x, t):
        embedding = self.embed(t)
        h = self.stem(x if self.patch == 1 else F.pixel_unshuffle(x, self.patch))
        skips = []
        for level in self.down:
            for i in range(len(level.blocks)):
                h = level.run(i, h, embedding)
                skips.append(h)
            if level.resample is not None:
                h = level.resample(h)
        for i in range(2):
            h = self.middle.run(i, h, embedding)
        for level in self.up:
            for i in range(len(level.blocks)):
                h = level.run(i, torch.cat([h, skips.pop()], dim=1), embedding)
            if level.resample is not None:
                h = level.resample(F.interpolate(h, scale_factor=2, mode="nearest"))
        h = self.output(F.silu(self.norm(h)))
        return h if self.patch == 1 else F.pixel_shuffle(h, self.patch)
