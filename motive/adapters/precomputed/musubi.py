"""musubi-tuner's latent caches: ``clip_00000-081_0832x0480_wan.safetensors`` with the key ``latents_21x60x104_bfloat16``.

Read in src/musubi_tuner/dataset (cache_io.py, architectures.py, image_video_dataset.py), wan_cache_latents.py and
hv_1_5_cache_latents.py of kohya-ss/musubi-tuner 0.3.4 (commit 30c658c, 2026-06-24). The name gives the first frame and the
number of frames, then the size of the video's own frames. Wan's latents are normalised as the transformer takes them;
those of HunyuanVideo 1.5 are the encoder's mode as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from motive.adapters.precomputed.base import DTYPES, Grid, LatentCache, Seen, check_dtype
from motive.errors import ClipError, OptionError

_NAME = re.compile(r"(.+)_([0-9]{5,})-([0-9]{3,})_([0-9]{4,})x([0-9]{4,})_([a-z0-9]+)\.safetensors")
_KEY = re.compile(r"latents_([0-9]+)x([0-9]+)x([0-9]+)_([a-z0-9_]+)")
_VERSION = "1."
_IN_METADATA = {"wan": "wan", "hv15": "hunyuan_video_1_5"}
"""Name of a model family in file names -> its name in their metadata."""
_RAW = frozenset({"hv15"})
"""Families whose latents are as the video encoder gives them."""


class MusubiLatents(LatentCache):
    """A cache directory of musubi-tuner.

    Args:
        folder: the directory.
        architecture: the tool's name of the model family, as it is in file names.

    Raises:
        OptionError: it holds no latents of videos for this family, or of a type that is not used.
    """

    tool = "musubi-tuner"

    def __init__(self, folder: Path, architecture: str) -> None:
        self._architecture = architecture
        self.raw = architecture in _RAW
        self._files: dict[str, list[tuple[int, int, int, int, Path]]] = {}
        others: set[str] = set()
        for name in sorted(os.listdir(folder)):
            found = _NAME.fullmatch(name)
            if found is None:
                continue
            if found[6] != architecture:
                others.add(found[6])
                continue
            place = (*(int(found[group]) for group in range(2, 6)), folder / name)
            self._files.setdefault(found[1], []).append(place)  # type: ignore[arg-type]
        if not self._files:
            seen = f", but of {', '.join(sorted(others))}" if others else ""
            raise OptionError(
                f"latents must hold latents of videos that musubi-tuner cached for {architecture}, and {folder} has none"
                f"{seen}; check the folder, or leave --latents out to encode the videos"
            )
        first = next(iter(self._files.values()))[0][-1]
        try:
            self.dtype = _key_of(first, architecture)[1]
        except ClipError as error:
            raise OptionError(f"latents must be readable, got {first.name}: {error.detail}; cache it again") from error
        if self.dtype not in DTYPES:
            raise OptionError(
                f"latents must be {', '.join(DTYPES)}, got {self.dtype} in {first.name}; cache them again"
            )

    def grids(self, path: Path) -> frozenset[Grid]:
        keys = (_key_of(entry[-1], self._architecture)[0] for entry in self._files.get(path.stem, ()))
        sizes = (_KEY.fullmatch(key) for key in keys)
        return frozenset((int(size[1]), int(size[2]), int(size[3])) for size in sizes if size)

    def read(self, seen: Seen) -> Tensor:
        stem = seen.path.stem
        entries = self._files.get(stem)
        if not entries:
            raise ClipError("no_latents", f"musubi-tuner cached no latents of {stem}")
        if not seen.consecutive:
            raise ClipError(
                "latents_frames",
                f"the clip spec takes frames {seen.first}-{seen.last} of {seen.path.name} as {seen.frames} frames, and "
                f"musubi-tuner's latents are of neighbouring ones; set --clip-fps to the file's {seen.fps:.4g}, or leave "
                "--latents out",
            )
        wanted = (seen.first, seen.frames, seen.width, seen.height)
        file = next((entry[-1] for entry in entries if entry[:4] == wanted), None)
        if file is None:
            held = "; ".join(f"{n} from frame {at} of {w}x{h}" for at, n, w, h, _ in entries[:4])
            raise ClipError(
                "latents_frames",
                f"the clip is {seen.frames} frames from frame {seen.first} of {seen.width}x{seen.height}, and the latents "
                f"of {stem} are of {held}",
            )
        key, dtype = _key_of(file, self._architecture)
        check_dtype(self, dtype, file.name)
        try:
            with safe_open(file, framework="pt") as opened:
                return opened.get_tensor(key).float()
        except (OSError, SafetensorError) as error:
            raise ClipError("latents_unreadable", f"{file.name} cannot be read: {error}") from error


def _key_of(file: Path, architecture: str) -> tuple[str, str]:
    """(key, dtype) of the latents in a file.

    Raises:
        ClipError: latents_unreadable.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            about, keys = opened.metadata() or {}, list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise ClipError("latents_unreadable", f"{file.name} cannot be read: {error}") from error
    version, named = about.get("format_version", ""), _IN_METADATA[architecture]
    if about.get("architecture") != named or not version.startswith(_VERSION):
        raise ClipError(
            "latents_unreadable",
            f"{file.name} says architecture {about.get('architecture')} and version {version or 'none'}, not "
            f"{named} and {_VERSION}x",
        )
    found = [(key, match[4]) for key in keys if (match := _KEY.fullmatch(key))]
    if len(found) != 1:
        raise ClipError("latents_unreadable", f"{file.name} holds {len(found)} tensors of latents")
    return found[0]
