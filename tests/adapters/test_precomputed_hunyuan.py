"""Latents of HunyuanVideo 1.5 that musubi-tuner cached, and why those of HunyuanVideo are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from motive.adapters import Adapter, load_adapter
from motive.adapters.precomputed.base import Seen
from motive.adapters.precomputed.use import TOLERANCE, difference, open_latents
from motive.data import ClipSpec
from motive.data.video.buckets import ClipSpecs
from motive.errors import ClipError, OptionError
from tests.adapters.test_precomputed import scene

SPEC = ClipSpec(fps=24, frames=9, height=64, width=64)
METADATA = {"architecture": "hunyuan_video_1_5", "width": "64", "height": "64", "format_version": "1.0.1"}


def frames_of(seed: int) -> Tensor:
    return torch.from_numpy(scene(seed, 9, 64, 64))


def cached(folder: Path, latents: Tensor, **about: str) -> Path:
    """A cache of musubi-tuner 0.3.4 with one clip, in the encoder's own space and half precision."""
    folder.mkdir()
    key = f"latents_{'x'.join(map(str, latents.shape[1:]))}_float16"
    file = folder / "a_00000-009_0064x0064_hv15.safetensors"
    save_file({key: latents.half().contiguous()}, file, metadata={**METADATA, **about})
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_folder: Callable[[str], Path]) -> Adapter:
    return load_adapter(tiny_folder("hunyuan15"))


def take(cache: Path, adapter: Adapter, frames: Tensor) -> Tensor:
    found = open_latents(cache, adapter, ClipSpecs(SPEC))
    assert found.identity() == {"tool": "musubi-tuner", "dtype": "float16", "rules": 1}
    with adapter.clip_encoder() as run:
        return found.take(Seen(Path("a.mp4"), 0, 8, True, 9, 24.0, 64, 64), frames, run)["latents"]


def test_the_encoders_mode_is_normalised_and_proved(adapter: Adapter, tmp_path: Path) -> None:
    with adapter.video_encoder() as run:
        ours, other = run(frames_of(0)), run(frames_of(1))
    factor = float(adapter._vae["scaling_factor"])  # type: ignore[attr-defined]
    taken = take(cached(tmp_path / "cache", ours / factor), adapter, frames_of(0))
    torch.testing.assert_close(taken, ours, rtol=2e-3, atol=2e-3 * float(ours.abs().max()))
    for name, wrong in (("scaled twice", 2 * ours), ("another clip", other / factor)):
        with pytest.raises(ClipError, match="latents_differ"):
            take(cached(tmp_path / name, wrong), adapter, frames_of(0))
    wan = cached(tmp_path / "wan", ours, architecture="wan")
    with pytest.raises(OptionError, match=r"says architecture wan and version 1\.0\.1, not hunyuan_video_1_5"):
        open_latents(wan, adapter, ClipSpecs(SPEC))


def test_a_first_frame_proves_a_clip_only_of_a_causal_encoder(
    adapter: Adapter, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """HunyuanVideo's group norms see the whole clip, so it is refused by name."""
    old, off = load_adapter(tiny_folder("hunyuan")), {}
    for name, each in (("hunyuan", old), ("hunyuan15", adapter)):
        with each.video_encoder() as run:
            off[name] = difference(run(frames_of(0)[:1]), run(frames_of(0))[:, :1])
    assert off["hunyuan15"] < 1e-3, "causal"
    assert off["hunyuan"] > TOLERANCE / 2, "not causal"
    with pytest.raises(OptionError, match="latents must be left out: HunyuanVideo's encoder normalises over the whole"):
        open_latents(cached(tmp_path / "cache", torch.zeros(4, 3, 4, 4)), old, ClipSpecs(SPEC))
