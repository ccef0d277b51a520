"""Networks go from Python to sdpipe and back, and compute the same there: a folder of diffusers', and a checkpoint of
score_sde that is converted with the lines in docs/weights.md. Needs torch, diffusers, safetensors and Pillow:

    python tests/parity/check_exchange.py build/sdpipe

What sdpipe itself computes with these weights is tested in C++ (tests/cli/weights_test.cpp, tests/plugins).
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import UNet2DModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
SDPIPE = str(Path(sys.argv[1]).resolve())
PIPELINE = """
[run]
threads = 1
[data]
type = "idx"
path = "data"
[corruption]
type = "heat_blur"
std_max = 2.0
[schedule]
type = "linear"
[noise]
type = "geometric"
{model}
[train]
images = 64
batch = 8
[sampler]
type = "ddim"
[sample]
steps = 2
count = 2
"""


def sdpipe(*words):
    done = subprocess.run([SDPIPE, *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"sdpipe {' '.join(words)}\n{done.stderr}")
    return done.stdout


def write_images():
    folder = Path("data")
    folder.mkdir()
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (16, 16, 16))
    (folder / "train-images-idx3-ubyte").write_bytes(header + bytes(i * 7 % 256 for i in range(16**3)))


def write_pictures():
    for i in range(8):
        pixels = bytes((x * (i + 2) + y * 5 + 90 * c) % 256 for y in range(16) for x in range(16) for c in range(3))
        Path("pictures").mkdir(exist_ok=True)
        Image.frombytes("RGB", (16, 16), pixels).save(f"pictures/{i}.png")


def model_table(folder):
    text = sdpipe("weights", "info", str(folder))
    return text[text.index("[model]"):]


def check_diffusers():
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, block_out_channels=(8, 16, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), act_fn="mish", freq_shift=1,
        resnet_time_scale_shift="scale_shift").eval()
    model.save_pretrained("theirs")
    write_images()
    Path("unet.toml").write_text(PIPELINE.format(model=model_table("theirs")))
    sdpipe("weights", "import", "unet.toml", "theirs")
    sdpipe("sample", "runs/unet")
    sdpipe("weights", "export", "runs/unet", "ours", "--format", "diffusers")
    back, info = UNet2DModel.from_pretrained("ours", output_loading_info=True)
    if any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")):
        sys.exit(f"diffusers does not find all it needs: {info}")
    ours = {k: v for k, v in back.config.items() if not k.startswith("_")}
    theirs = {k: v for k, v in model.config.items() if not k.startswith("_")}
    if {k: list(v) if isinstance(v, tuple) else v for k, v in ours.items()} != {
            k: list(v) if isinstance(v, tuple) else v for k, v in theirs.items()}:
        sys.exit(f"config.json differs: {ours} {theirs}")
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([3, 800])
    with torch.no_grad():
        if not torch.equal(model(x, t).sample, back.eval()(x, t).sample):
            sys.exit("the network that came back computes something else")
    print("diffusers: equal outputs")


def documented(title):
    text = (HERE / "../../docs/weights.md").read_text()
    return re.search(r"```python\n# " + re.escape(title) + r"\n(.*?)```", text, re.DOTALL).group(1)


def check_score_sde():
    with safe_open(HERE / "ncsnpp_ve_discrete.safetensors", "pt") as file:
        weights = {name[7:]: file.get_tensor(name) for name in file.keys() if name.startswith("weight.")}
        sigmas = file.get_tensor("buffer.sigmas")
    order = sorted(weights, key=lambda name: [int(part) if part.isdigit() else part for part in name.split(".")])
    averaged = {name: weights[name] * 0.5 for name in order}
    state = {"module.sigmas": sigmas} | {"module." + name: weights[name] for name in order}
    torch.save({"model": state, "ema": {"decay": 0.999, "num_updates": 7, "shadow_params": list(averaged.values())},
                "optimizer": {}, "step": 7}, "checkpoint.pth")
    exec(documented("score_sde: the weights as trained"), {})
    exec(documented("score_sde: their moving average"), {})
    for name, expected in (("raw", weights), ("ema", averaged)):
        found = {k.removeprefix("module."): v for k, v in load_file(f"{name}.safetensors").items()}
        if not torch.equal(found.pop("sigmas"), sigmas) or set(found) != set(expected):
            sys.exit(f"{name}.safetensors does not hold the state")
        if any(not torch.equal(found[k], expected[k]) for k in expected):
            sys.exit(f"{name}.safetensors holds other values")
    print("score_sde: the documented lines write the state, as trained and averaged")
    write_pictures()
    Path("ve.toml").write_text(PIPELINE.replace('"idx"\npath = "data"', '"folder"\npath = "pictures"').format(
        model='[model]\ntype = "ncsnpp"\nnf = 16\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [16]\n'
        'centered = false\nrange = "unit"\nscale_by_sigma = true\noutput = "score"\ncondition = "sigma"\n'))
    sdpipe("weights", "import", "ve.toml", "ema.safetensors")
    sdpipe("sample", "runs/ve")
    sdpipe("weights", "export", "runs/ve", "back.safetensors")
    back = load_file("back.safetensors")
    if set(back) != set(averaged) or any(not torch.equal(back[k], averaged[k]) for k in averaged):
        sys.exit("the state that came back is another")
    print("score_sde: equal weights back")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        check_diffusers()
        check_score_sde()
