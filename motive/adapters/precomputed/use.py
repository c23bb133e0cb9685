"""Precomputed latents in the place of encoded ones: each is checked against the clip before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motive.adapters.base import Adapter
from motive.adapters.precomputed.base import LatentCache, Seen
from motive.adapters.precomputed.fastvideo import FastVideoLatents
from motive.adapters.precomputed.musubi import MusubiLatents
from motive.data.video.buckets import ClipSpecs
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ClipError, ConfigError, OptionError

TOLERANCE = 0.3
"""Largest difference between a tool's latents and ours that is accepted, as ``difference`` measures it: rounding and
another filter for resizing stay below it, another picture does not."""

_FLAT = 0.02
"""Deviation, relative to the latents themselves, below which a frame counts as flat: rounding must not refuse it."""
Encode = Callable[[Tensor], Mapping[str, Tensor]]


class PrecomputedLatents:
    """Gives a clip's latents from a tool's cache, once they are proved to be those of the clip.

    What one setting decides for the whole cache (normalisation, encoder) is proved by the first clip of each shape, which
    is encoded whole. What may differ from clip to clip is checked for each: shape, frames as the cache names them, and the first
    frame, which is encoded alone; a causal encoder gives it the same latents. The numbers do not prove the rate: an
    encoder may change little with it, so it must follow from the cache or be stated.

    Args:
        adapter: the model family.
        cache: the latents.
        clip_specs: of the clips; one for all, or those of buckets.
    """

    def __init__(self, adapter: Adapter, cache: LatentCache, clip_specs: ClipSpecs) -> None:
        self._adapter, self._cache, self._specs = adapter, cache, clip_specs
        self._proved: set[tuple[int, ...]] = set()

    def identity(self) -> Mapping[str, Any]:
        """What a store's identity says of them."""
        return self._cache.identity()

    def fitting(self, path: Path) -> ClipSpecs:
        """The clip specs without the buckets that no latents of a clip have the shape of.

        Args:
            path: of the video; its name counts.

        Raises:
            ClipError: no_latents, latents_shape: there is no such bucket, or latents_unreadable.
        """
        if not self._specs.buckets:
            return self._specs
        held = self._cache.grids(path)
        if not held:
            raise ClipError("no_latents", f"{self._cache.tool} computed no latents of {path.name}")
        fits = [b for b in self._specs.buckets if self._adapter.latent_shape(b.spec(self._specs.base))[1:] in held]
        if not fits:
            shapes = ", ".join("x".join(map(str, grid)) for grid in sorted(held)[:4])
            raise ClipError("latents_shape", f"the latents of {path.name} are {shapes} (F x h x w), and no bucket is")
        return replace(self._specs, buckets=tuple(fits))

    def take(self, seen: Seen, frames: Tensor, encode: Encode) -> dict[str, Tensor]:
        """The latents of a clip, normalised.

        Args:
            seen: what decoding showed.
            frames: [T, H, W, 3] uint8.
            encode: the adapter's clip encoder.

        Raises:
            ClipError: the cache's reasons, latents_shape, nan_latents, or latents_differ.
        """
        latents = self._cache.read(seen)
        count, height, width, _ = frames.shape
        spec = replace(self._specs.base, frames=count, height=height, width=width)
        shape = self._adapter.latent_shape(spec)
        if tuple(latents.shape) != shape:
            raise ClipError(
                "latents_shape", f"the latents are {list(latents.shape)}, the clip spec needs {list(shape)}"
            )
        if not torch.isfinite(latents).all():
            raise ClipError("nan_latents", f"{self._cache.tool}'s latents are not finite")
        latents = self._adapter.normalised(latents) if self._cache.raw else latents
        self._compare(latents[:, :1], encode(frames[:1])["latents"], "the first frame")
        if shape not in self._proved:
            self._compare(latents, encode(frames)["latents"], "the whole clip")
            self._proved.add(shape)
        return {"latents": latents}

    def _compare(self, theirs: Tensor, ours: Tensor, what: str) -> None:
        off = difference(theirs, ours)
        if off > TOLERANCE:
            raise ClipError(
                "latents_differ",
                f"{self._cache.tool}'s latents of {what} differ from the encoder's by {off:.2f} of their deviation, at "
                f"most {TOLERANCE} is accepted: other frames, or another crop, encoder or normalisation",
            )


def difference(theirs: Tensor, ours: Tensor) -> float:
    """Largest difference of a latent frame, relative to its deviation from each channel's mean in that frame.

    Args:
        theirs, ours: [c, F, h, w].
    """
    frames = (0, 2, 3)
    deviation = (ours - ours.mean(dim=(2, 3), keepdim=True)).square().sum(frames)
    least = _FLAT**2 * ours.square().sum(frames)
    off = (theirs - ours).square().sum(frames) / torch.maximum(deviation, least).clamp_min(1e-30)
    return float(off.max().sqrt())


def open_latents(
    path: Path, adapter: Adapter, clip_specs: ClipSpecs, stated_fps: float | None = None
) -> PrecomputedLatents:
    """The latents that a trainer computed: a cache directory of musubi-tuner, or Parquet files of FastVideo.

    Args:
        path: the folder, or a Parquet file.
        adapter: the model family.
        clip_specs: of the clips; one for all, or those of buckets.
        stated_fps: rate at which frames were taken, for a tool whose files do not say it.

    Raises:
        OptionError: there are none, none that this model can use, or of another rate.
    """
    if not path.exists():
        raise OptionError(f"latents must be a folder or a Parquet file, and {path} does not exist; check the spelling")
    parquet = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    tool = FastVideoLatents.tool if parquet else MusubiLatents.tool
    known = adapter.precomputed
    if tool not in known:
        if adapter.no_precomputed:
            raise OptionError(f"latents must be left out: {adapter.no_precomputed}; the videos are encoded without it")
        raise OptionError(
            f"latents must be of a tool whose latents this model can use ({', '.join(known) or 'there is none'}), got "
            f"{tool}'s; leave --latents out to encode the videos"
        )
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise OptionError(f"latents must be a folder or a Parquet file, got {path}")
    _check_rate(tool, clip_specs.base, stated_fps)
    cache = FastVideoLatents(parquet) if parquet else MusubiLatents(path, known[tool])
    return PrecomputedLatents(adapter, cache, clip_specs)


def _check_rate(tool: str, clip_spec: ClipSpec, stated_fps: float | None) -> None:
    """Refuse latents whose frames cannot be those of the clip spec.

    Raises:
        ConfigError: the rate is not stated, or is another one.
    """
    if tool == MusubiLatents.tool:
        if stated_fps is not None:
            raise ConfigError(
                "index", "{latents_fps} must be left out for musubi-tuner, whose files name the frames that they are of"
            )
        return
    if stated_fps is None or stated_fps != clip_spec.fps:
        raise ConfigError(
            "index",
            f"{{latents_fps}} must be the rate at which {tool} took frames (its train_fps), which its files do not say, and "
            f"equal {{clip_spec.fps}} {clip_spec.fps:g}, got {stated_fps or 'none'}; state it, or leave {{latents}} out",
        )
    if clip_spec.start != "head":
        raise ConfigError(
            "index", f"{{clip_spec.start}} must be head with latents of {tool}, which start at the first frame"
        )
