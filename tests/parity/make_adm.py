"""Makes tests/parity/adm/*.safetensors: the U-Net of Dhariwal and Nichol (arXiv 2105.05233) written down once more, as
functions of a table of tensors, and evaluated in float64 on weights that are random, none of them zero, and exact in
half precision. Needs torch and safetensors:

    python tests/parity/make_adm.py tests/parity/adm

fixture.py says what a file holds.
"""
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from fixture import Weights, make

CONFIGS = {
    "updown": {
        "num_channels": 16, "channel_mult": [2, 2], "num_res_blocks": 1, "attention_resolutions": [8, 4],
        "num_head_channels": 8, "resblock_updown": True, "use_scale_shift_norm": True, "use_new_attention_order": True,
        "learn_sigma": True, "class_cond": True, "num_classes": 7},
    "added": {
        "num_channels": 16, "channel_mult": [2, 4], "num_res_blocks": 1, "attention_resolutions": [2],
        "num_heads": 2, "num_heads_upsample": 4, "use_scale_shift_norm": False, "resblock_updown": False},
}
SHAPES = {"updown": (2, 3, 8, 8), "added": (2, 3, 8, 4)}


def linear(w, name, x, out):
    return x @ w.get(name + ".weight", (out, x.shape[1])).T + w.get(name + ".bias", (out,))


def conv(w, name, x, out, stride=1):
    return F.conv2d(x, w.get(name + ".weight", (out, x.shape[1], 3, 3)), w.get(name + ".bias", (out,)), stride, 1)


def norm(w, name, x):
    grouped = x.reshape(x.shape[0], 32, -1)
    mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, unbiased=False, keepdim=True)
    grouped = (grouped - mean) / (variance + 1e-5).sqrt()
    gain, shift = w.get(name + ".weight", (x.shape[1],), 1.0), w.get(name + ".bias", (x.shape[1],))
    return grouped.reshape(x.shape) * gain[:, None, None] + shift[:, None, None]


def halve(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def double(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def block(w, c, name, x, e, out, resample=lambda x: x):
    h = conv(w, name + ".in_layers.2", resample(F.silu(norm(w, name + ".in_layers.0", x))), out)
    told = linear(w, name + ".emb_layers.1", F.silu(e), 2 * out if c["use_scale_shift_norm"] else out)[:, :, None, None]
    if c["use_scale_shift_norm"]:
        h = norm(w, name + ".out_layers.0", h) * (1 + told[:, :out]) + told[:, out:]
    else:
        h = norm(w, name + ".out_layers.0", h + told)
    h = conv(w, name + ".out_layers.3", F.silu(h), out)
    x = resample(x)
    if x.shape[1] != out:
        matrix = w.get(name + ".skip_connection.weight", (out, x.shape[1], 1, 1))[:, :, 0, 0]
        bias = w.get(name + ".skip_connection.bias", (out,))
        x = torch.einsum("oc,bchw->bohw", matrix, x) + bias[:, None, None]
    return x + h


def attention(w, c, name, x, heads):
    width = x.shape[1]
    flat = norm(w, name + ".norm", x).flatten(2)
    matrix, bias = w.get(name + ".qkv.weight", (3 * width, width, 1)), w.get(name + ".qkv.bias", (3 * width,))
    rows = torch.einsum("oc,bcn->bon", matrix[:, :, 0], flat) + bias[:, None]
    if c.get("use_new_attention_order"):
        q, k, v = (part.chunk(heads, 1) for part in rows.chunk(3, 1))
    else:
        q, k, v = zip(*(head.chunk(3, 1) for head in rows.chunk(heads, 1)))
    mixed = []
    for i in range(heads):
        likeness = torch.einsum("bdn,bdm->bnm", q[i], k[i]) / math.sqrt(q[i].shape[1])
        mixed.append(torch.einsum("bnm,bdm->bdn", likeness.softmax(2), v[i]))
    matrix, bias = w.get(name + ".proj_out.weight", (width, width, 1)), w.get(name + ".proj_out.bias", (width,))
    out = torch.einsum("oc,bcn->bon", matrix[:, :, 0], torch.cat(mixed, 1)) + bias[:, None]
    return x + out.reshape(x.shape)


def heads_of(c, width, upwards):
    if "num_head_channels" in c:
        return width // c["num_head_channels"]
    return c["num_heads_upsample"] if upwards else c["num_heads"]


def embedding(w, c, condition):
    half = c["num_channels"] // 2
    frequencies = torch.tensor([10000 ** (-i / half) for i in range(half)], dtype=torch.float64)
    phase = condition[:, None] * frequencies
    wide = 4 * c["num_channels"]
    return linear(w, "time_embed.2", F.silu(linear(w, "time_embed.0", torch.cat([phase.cos(), phase.sin()], 1), wide)),
                  wide)


def network(w, c, x, condition):
    e = embedding(w, c, condition)
    if c.get("class_cond"):
        w.get("label_emb.weight", (c["num_classes"], 4 * c["num_channels"]))
    widths = [mult * c["num_channels"] for mult in c["channel_mult"]]
    images, deepest = x.shape[1], len(widths) - 1
    h = conv(w, "input_blocks.0.0", x, widths[0])
    skips, n = [h], 1
    for level, width in enumerate(widths):
        for _ in range(c["num_res_blocks"]):
            h = block(w, c, f"input_blocks.{n}.0", h, e, width)
            if h.shape[3] in c["attention_resolutions"]:
                h = attention(w, c, f"input_blocks.{n}.1", h, heads_of(c, width, False))
            skips.append(h)
            n += 1
        if level < deepest:
            h = (block(w, c, f"input_blocks.{n}.0", h, e, width, halve) if c["resblock_updown"]
                 else conv(w, f"input_blocks.{n}.0.op", h, width, 2))
            skips.append(h)
            n += 1
    h = block(w, c, "middle_block.0", h, e, widths[-1])
    h = attention(w, c, "middle_block.1", h, heads_of(c, widths[-1], False))
    h = block(w, c, "middle_block.2", h, e, widths[-1])
    n = 0
    for level, width in reversed(list(enumerate(widths))):
        for i in range(c["num_res_blocks"] + 1):
            name, last = f"output_blocks.{n}", i == c["num_res_blocks"]
            h = block(w, c, name + ".0", torch.cat([h, skips.pop()], 1), e, width)
            attends = h.shape[3] in c["attention_resolutions"]
            if attends:
                h = attention(w, c, name + ".1", h, heads_of(c, width, True))
            if level > 0 and last:
                place = name + (".2" if attends else ".1")
                h = (block(w, c, place, h, e, width, double) if c["resblock_updown"]
                     else conv(w, place + ".conv", double(h), width))
            n += 1
    h = F.silu(norm(w, "out.0", h))
    return conv(w, "out.2", h, 2 * images if c.get("learn_sigma") else images)[:, :images]


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        w = Weights(sum(name.encode()))
        make(Path(sys.argv[1]) / f"{name}.safetensors", config, w,
             lambda x, condition: network(w, config, x, condition), SHAPES[name], {"data": "{}"})
