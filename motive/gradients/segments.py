"""Parts of a clip that get a vector each: windows of time, or regions from a file beside the clip."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from motive.data.base import Clip
from motive.data.media import media_of
from motive.data.video.clip_spec import ClipSpec, apply_fit, centre_start, fit_to, sample_times
from motive.errors import ClipError, OptionError

REST = "rest"
"""Name of what no region covers."""

SUFFIX = ".regions.safetensors"
"""The regions of clip.mp4 lie in clip.regions.safetensors."""

_TIME = re.compile(r"time:([0-9]{1,4})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST = 256


@dataclass(frozen=True)
class Segments:
    """How a clip's latent cells are shared out.

    Attributes:
        names: of the segments.
        shares: [s, F, h, w] float32 in [0, 1], of each cell the part that belongs to each segment; they add up to one.
    """

    names: tuple[str, ...]
    shares: NDArray[np.float32]


def check_segments(text: str, latent_frames: int) -> None:
    """Refuse what is not a way to segment clips.

    Args:
        text: ``time:N`` or ``regions``; empty for whole clips.
        latent_frames: of a clip.

    Raises:
        OptionError: it is none of these, or more windows than latent frames.
    """
    windows = _TIME.fullmatch(text)
    if windows and not 2 <= int(windows[1]) <= latent_frames:
        raise OptionError(
            f"segments: time must be followed by 2 to {latent_frames} windows (latent frames of a clip), got {text!r}; "
            "give a number in between"
        )
    if text and text != "regions" and not windows:
        raise OptionError(f"segments: segments must be time:N or regions, got {text!r}; give one, or none")


def check_regions(text: str, clips: Sequence[Clip]) -> None:
    """Refuse regions of clips that lie inside other files: nothing lies beside such a clip.

    Args:
        text: as check_segments.
        clips: of the dataset.

    Raises:
        OptionError: it is regions, and a clip is no file.
    """
    if text != "regions":
        return
    packed = next((clip for clip in clips if media_of(clip.path).beside(SUFFIX) is None), None)
    if packed is not None:
        raise OptionError(
            f"segments: regions lie beside the clips, but {packed.clip_id} lies inside {media_of(packed.path).file.name}; "
            "unpack it, or give time:N"
        )


def clip_segments(
    text: str, path: Path, facts: Mapping[str, Any], clip_spec: ClipSpec, grid: tuple[int, int, int]
) -> Segments | None:
    """The segments of one clip; None for whole clips.

    Args:
        text: as check_segments.
        path: the clip's file.
        facts: its ``source_seconds``, and ``source_height``, ``source_width`` and ``sample_aspect`` where its pixels
            are not square.
        clip_spec: rate, length and size of the clip.
        grid: (F, h, w) of the latents.

    Raises:
        ClipError: no_regions or bad_regions, for the file beside the clip.
    """
    if not text:
        return None
    if text == "regions":
        return _regions(media_of(path).beside(SUFFIX), facts, clip_spec, grid)
    return time_windows(int(text.partition(":")[2]), grid)


def time_windows(count: int, grid: tuple[int, int, int]) -> Segments:
    """``count`` windows of latent frames, as equal as whole frames allow: t0, t1, ..."""
    owner = np.arange(grid[0]) * count // grid[0]
    shares = (owner == np.arange(count)[:, None]).astype(np.float32)
    return Segments(
        tuple(f"t{j}" for j in range(count)),
        np.ascontiguousarray(np.broadcast_to(shares[..., None, None], (count, *grid))),
    )


def _regions(path: Path | None, facts: Mapping[str, Any], clip_spec: ClipSpec, grid: tuple[int, int, int]) -> Segments:
    """The masks of a file, and what they leave; where masks overlap, they share."""
    if path is None or not path.is_file():
        raise ClipError("no_regions", f"there is no {path.name if path else SUFFIX} beside the clip")
    try:
        with safe_open(path, framework="np") as file:
            names = sorted(file.keys())
            if not 1 <= len(names) <= _MOST or any(not _NAME.fullmatch(name) or name == REST for name in names):
                raise ClipError(
                    "bad_regions",
                    f"{path.name} must hold 1 to {_MOST} masks with names of A-Z a-z 0-9 _ . - other than {REST}, "
                    f"got {names[:5]}",
                )
            masks = [_on_grid(file.get_slice(name), f"{path.name}: {name}", facts, clip_spec, grid) for name in names]
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ClipError("bad_regions", f"{path.name} cannot be read: {error}") from error
    shares = np.stack(masks)
    shares /= np.maximum(shares.sum(0), 1)
    return Segments((*names, REST), np.concatenate([shares, np.maximum(1 - shares.sum(0, keepdims=True), 0)]))


def _on_grid(
    mask: Any, where: str, facts: Mapping[str, Any], clip_spec: ClipSpec, grid: tuple[int, int, int]
) -> NDArray[np.float32]:
    """One mask [T, H, W] or [H, W], standardised as the clip is and averaged over the cells [F, h, w]."""
    shape = mask.get_shape()
    if len(shape) not in (2, 3) or 0 in shape:
        raise ClipError("bad_regions", f"{where} must be [T, H, W] or [H, W], got {list(shape)}")
    seconds = float(facts["source_seconds"])
    start = centre_start(clip_spec, seconds) if clip_spec.start == "centre" else 0.0
    times = sample_times(clip_spec, start)
    times = np.mod(times, seconds) if clip_spec.short == "loop" and seconds > 0 else times
    count = shape[0] if len(shape) == 3 else 1
    # A frame's time is a sum of floats: one that falls on a mask's begin may come out just before it.
    shown = np.minimum((times * count / max(seconds, 1e-9) + 1e-6).astype(np.int64), count - 1)
    fit = fit_to(clip_spec, shape[-2], shape[-1], _aspect(facts, *shape[-2:]))
    planes = {
        int(j): apply_fit(_values(mask[int(j)] if len(shape) == 3 else mask[:], where), fit, clip_spec)
        for j in np.unique(shown)
    }
    cells = {j: torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(plane))[None], grid[1:])[0]
             for j, plane in planes.items()}  # fmt: skip
    frames = torch.stack([cells[int(j)] for j in shown])
    first, others = frames[:1], frames[1:]
    if grid[0] == 1:
        return frames.mean(0, keepdim=True).numpy()
    return torch.cat([first, others.unflatten(0, (grid[0] - 1, -1)).mean(1)]).numpy()


def _aspect(facts: Mapping[str, Any], height: int, width: int) -> float:
    """Width to height of a mask's pixels: the mask covers the picture as it is displayed, whatever its own size."""
    across, _, down = str(facts.get("sample_aspect") or "1:1").partition(":")
    if across == down:
        return 1.0
    return facts["source_width"] * int(across) * height / (facts["source_height"] * int(down) * width)


def _values(plane: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Numbers of a mask in [0, 1]; of whole numbers any but 0 is inside."""
    values = plane.astype(np.float32) if plane.dtype.kind == "f" else (plane != 0).astype(np.float32)
    if not ((values >= 0) & (values <= 1)).all():
        raise ClipError("bad_regions", f"{where} must be from 0 to 1, got {values.min():g} to {values.max():g}")
    return values
