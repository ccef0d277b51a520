"""Makes tests/parity/ddpm_scheduler/*.safetensors with diffusers' DDPMScheduler, evaluated in float64 on random
estimates and noise. Needs torch, diffusers and safetensors:

    python tests/parity/make_ddpm_scheduler.py tests/parity/ddpm_scheduler

Each file holds a trajectory of n steps: alpha_bar (n + 1), from where it ends to where it starts; input.x, the start;
input.x0_hat and input.noise (n, ...), the estimate and the noise of each step, and output.x (n, ...), what it made of
them. Its metadata holds the scheduler's configuration.
"""
import json
import sys
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from safetensors.torch import save_file

SHAPE = (2, 3, 4, 4)
COMMON = {"num_train_timesteps": 1000, "beta_schedule": "linear", "variance_type": "fixed_small",
          "clip_sample": False, "prediction_type": "sample"}
# Of the scheduler's settings, the number of its steps and those that are kept.
CASES = {
    "ten_steps": ({}, 10, slice(None)),
    "first_of_thousand": ({}, 1000, slice(0, 12)),
    "last_of_thousand": ({}, 1000, slice(-12, None)),
    "nothing_left": ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 8, slice(None)),
}


def in_float64(scheduler):
    """The scheduler keeps its tables in float32, in which 1 - alpha_bar has lost three digits where it is small."""
    c = scheduler.config
    betas = torch.linspace(c.beta_start, c.beta_end, c.num_train_timesteps, dtype=torch.float64)
    if c.rescale_betas_zero_snr:
        betas = rescale_zero_terminal_snr(betas)
    scheduler.betas, scheduler.alphas = betas, 1 - betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
    scheduler.one = torch.ones((), dtype=torch.float64)
    return scheduler


def draw(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(name, settings, steps, kept, folder):
    scheduler = in_float64(DDPMScheduler(**(COMMON | settings)))
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps[kept].tolist()
    end = scheduler.previous_timestep(times[-1])
    alpha_bar = [scheduler.alphas_cumprod[t] if t >= 0 else scheduler.one for t in [end] + times[::-1]]
    x = draw(1)
    tensors = {"alpha_bar": torch.stack(list(alpha_bar)), "input.x": x}
    estimates, noises, results = [], [], []
    for k, t in enumerate(times):
        estimates.append(draw(1000 + k).clamp(-1, 1))
        noises.append(draw(2000 + k))
        x = scheduler.step(estimates[-1], t, x, generator=torch.Generator().manual_seed(2000 + k)).prev_sample
        results.append(x)
    tensors |= {"input.x0_hat": torch.stack(estimates), "input.noise": torch.stack(noises),
                "output.x": torch.stack(results)}
    save_file(tensors, folder / f"{name}.safetensors", metadata={"config": json.dumps(dict(scheduler.config))})
    print(name, times[0], end, float(tensors["alpha_bar"][-1]), float(x.abs().mean()))


if __name__ == "__main__":
    for name, (settings, steps, kept) in CASES.items():
        make(name, settings, steps, kept, Path(sys.argv[1]))
