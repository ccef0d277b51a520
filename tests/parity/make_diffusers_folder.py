"""Makes tests/parity/diffusers_folder: what diffusers' save_pretrained writes, in half precision and in shards, of the
network and the weights in tests/parity/unet2d/ddpm.safetensors. Needs torch, diffusers and safetensors:

    python tests/parity/make_diffusers_folder.py tests/parity/unet2d/ddpm.safetensors tests/parity/diffusers_folder
"""
import json
import sys

from diffusers import UNet2DModel
from safetensors import safe_open

with safe_open(sys.argv[1], "pt") as file:
    config = json.loads(file.metadata()["config"])
    state = {name[7:]: file.get_tensor(name) for name in file.keys() if name.startswith("weight.")}
model = UNet2DModel(**{key: value for key, value in config.items() if not key.startswith("_")}).half()
model.load_state_dict(state)
model.save_pretrained(sys.argv[2], max_shard_size="40KB")
