"""Training by rectified flow: the loop, and the command that makes the checkpoint in the package.

python -m motive.toy.train --out DIR [--steps N] [--clips N] [--seed N] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from motive.adapters.base import Adapter, Conditioning, batch_conditioning
from motive.adapters.toy import ToyAdapter, toy_transformer
from motive.config import check_choices, to_json
from motive.errors import OptionError
from motive.extras import require
from motive.toy.pool import training_clips
from motive.toy.render import MOTIONS


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the same config, data and machine give the same weights.

    Attributes:
        steps: optimiser steps; batch: clips a step.
        lr: peak learning rate, reached after `warmup` steps; then a cosine down to a twentieth of it.
        weight_decay: of AdamW, on matrices only.
        ema: decay of the running average of the weights, which is what training returns; 0 returns the last ones.
        sigma: noise levels: ``uniform`` on (0, 1) or ``logit-normal`` (sigmoid of a standard normal).
        caption_dropout: share of clips whose conditioning is zeroed, so that empty captions are known too.
        clip_norm: largest gradient norm of a step.
        seed: of batches, noise levels and noise.
    """

    steps: int = 3000
    batch: int = 16
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    sigma: Literal["uniform", "logit-normal"] = "logit-normal"
    caption_dropout: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch", 1), ("warmup", 0), ("seed", 0), ("weight_decay", 0)):
            if getattr(self, name) < low:
                raise OptionError(f"TrainConfig: {name} must be at least {low}, got {getattr(self, name)}; raise it")
        for name in ("lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise OptionError(f"TrainConfig: {name} must be above 0, got {getattr(self, name)}; raise it")
        for name in ("ema", "caption_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"TrainConfig: {name} must be in [0, 1), got {getattr(self, name)}; choose one")
        check_choices(self)


@dataclass(frozen=True)
class TrainRecord:
    """What a training run did.

    Attributes:
        config: the settings. clips: number of training clips. seconds: wall time of the loop.
        losses: mean loss of each twentieth of the run, in order.
        diverged: whether a loss was not finite (training stops there).
    """

    config: TrainConfig
    clips: int
    seconds: float
    losses: tuple[float, ...]
    diverged: bool


def train(
    adapter: Adapter,
    model: nn.Module,
    latents: Tensor,
    conditioning: Conditioning,
    config: TrainConfig,
    progress: Callable[[int, float], None] | None = None,
) -> TrainRecord:
    """Train (or fine-tune) a transformer on given latents; the model's weights change in place.

    Minimises the mean squared difference between the adapter's prediction and target over random
    clips, noise levels and noise. The global random state is neither used nor changed.

    Args:
        adapter: supplies noising, prediction and target.
        model: from adapter.load_transformer, or untrained.
        latents: [n, c, F, h, w] float32.
        conditioning: name -> [n, ...], as batch_conditioning makes it.
        config: settings.
        progress: called with (step, loss) after each step.

    Returns:
        The record; the model holds the averaged weights, in the train or eval mode it came in.
    """
    generator = torch.Generator().manual_seed(config.seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in parameters]
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * _schedule(step, config)
        loss = _loss(adapter, model, latents, conditioning, config, generator)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimiser.step()
        _update_average(average, parameters, min(config.ema, (step + 1) / (step + 10)))
        if progress is not None:
            progress(step, losses[-1])
    optimiser.zero_grad(set_to_none=True)
    if config.ema:
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
    return TrainRecord(
        config, len(latents), time.perf_counter() - began, _summary(losses), not math.isfinite(losses[-1])
    )


def _schedule(step: int, config: TrainConfig) -> float:
    """Share of the peak learning rate."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def _loss(
    adapter: Adapter,
    model: nn.Module,
    latents: Tensor,
    conditioning: Conditioning,
    config: TrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """The mean squared error of one random batch."""
    index = torch.randint(len(latents), (config.batch,), generator=generator)
    clean = latents[index]
    sigma = torch.rand(config.batch, generator=generator)
    if config.sigma == "logit-normal":
        sigma = torch.sigmoid(torch.randn(config.batch, generator=generator))
    sigma = sigma.clamp(1e-4, 1 - 1e-4)
    noise = torch.randn(clean.shape, generator=generator)
    kept = torch.rand(config.batch, generator=generator) >= config.caption_dropout
    batch = {name: value[index] * kept.view(-1, *[1] * (value.ndim - 1)) for name, value in conditioning.items()}
    device = next(model.parameters()).device
    clean, sigma, noise = clean.to(device), sigma.to(device), noise.to(device)
    batch = {name: value.to(device) for name, value in batch.items()}
    noisy, target = adapter.add_noise(clean, noise, sigma)
    return (adapter.predict(model, noisy, sigma, batch) - target).square().mean()


@torch.no_grad()
def _update_average(average: list[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    for mean, parameter in zip(average, parameters, strict=True):
        mean.lerp_(parameter, 1 - decay)


def _summary(losses: list[float], parts: int = 20) -> tuple[float, ...]:
    size = max(1, len(losses) // parts)
    means = [sum(losses[i : i + size]) / len(losses[i : i + size]) for i in range(0, len(losses), size)]
    return tuple(round(m, 5) for m in means)


def encode_training_clips(adapter: Adapter, count: int, seed: int) -> tuple[Tensor, Conditioning]:
    """Latents and conditioning of `count` training clips of the ten motion types and still clips."""
    clip_spec = adapter.clip_spec
    latents = torch.empty(count, *adapter.latent_shape(clip_spec))  # filled in place: small tensors fragment the heap
    captions: list[str] = []
    with adapter.video_encoder() as encode:
        for clip in training_clips(
            count,
            seed,
            (*MOTIONS, "static"),
            size=clip_spec.height,
            frames=clip_spec.frames,
            fps=clip_spec.fps,
        ):
            latents[len(captions)] = encode(torch.from_numpy(clip.frames))
            captions.append(clip.caption)
    with adapter.text_encoder() as encode_text:
        conditioning = batch_conditioning(encode_text(captions))
    return latents, conditioning


def main(arguments: list[str] | None = None) -> int:
    """Train the toy model from scratch and write the checkpoint folder."""
    parser = argparse.ArgumentParser(prog="python -m motive.toy.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for config.json, weights and training.json")
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--clips", type=int, default=6000, help="procedural training clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    adapter = ToyAdapter(options.out)
    model = toy_transformer(options.seed)
    config = TrainConfig(steps=options.steps, seed=options.seed)
    latents, conditioning = encode_training_clips(adapter, options.clips, options.seed)
    print(f"{len(latents)} clips, latents {tuple(latents.shape[1:])}", flush=True)

    def report(step: int, loss: float) -> None:
        if step % 50 == 0 or step + 1 == config.steps:
            print(f"step {step + 1}/{config.steps} loss {loss:.4f}", flush=True)

    record = train(adapter, model, latents, conditioning, config, report)
    if record.diverged:
        print("motive.toy.train: loss must be finite, got nan or inf; lower the learning rate", file=sys.stderr)
        return 1
    write_checkpoint(model, options.out, record)
    return 0


def write_checkpoint(model: nn.Module, out: Path, record: TrainRecord) -> None:
    """Write config.json, bf16 weights and training.json."""
    diffusers = require("diffusers", "motive.toy.train", extra="models")
    out.mkdir(parents=True, exist_ok=True)
    model.save_config(out)  # type: ignore[operator]
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, out / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    versions = {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}
    text = json.dumps({**to_json(record), "versions": versions}, indent=2, sort_keys=True)
    (out / "training.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
