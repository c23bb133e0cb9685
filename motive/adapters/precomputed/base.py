"""The contract of a tool's cache of latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motive.errors import ClipError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that latents are used in; eight bits lose too much of them."""

Grid = tuple[int, int, int]
"""(F, h, w) of latents."""


@dataclass(frozen=True)
class Seen:
    """What decoding a clip showed, and what latents must fit.

    Attributes:
        path: of the video.
        first, last: numbers of the source frames shown first and last.
        steady: every frame shown is another one than its predecessor.
        frames: frames shown.
        fps: of the file.
        height, width: of the file's frames, in pixels.
    """

    path: Path
    first: int
    last: int
    steady: bool
    frames: int
    fps: float
    height: int
    width: int

    @property
    def consecutive(self) -> bool:
        """Whether the frames shown are neighbours in the file."""
        return self.steady and self.last - self.first == self.frames - 1


class LatentCache(ABC):
    """The latents that one tool computed.

    Attributes:
        tool: its name, as the identity of a store has it.
        raw: they are as the video encoder gives them, and not yet normalised.
        dtype: type that they are stored in, one of DTYPES; the first entry's, to which all must be equal.
    """

    tool: str
    raw: bool
    dtype: str

    @abstractmethod
    def grids(self, path: Path) -> frozenset[Grid]:
        """(F, h, w) of the latents that there are of a video; empty where there are none.

        Args:
            path: of the video; its name counts.

        Raises:
            ClipError: latents_unreadable.
        """

    @abstractmethod
    def read(self, seen: Seen) -> Tensor:
        """The latents of a clip, [c, F, h, w] float32.

        Raises:
            ClipError: no_latents, latents_frames: they are of other frames; latents_dtype, or latents_unreadable.
        """

    def identity(self) -> Mapping[str, Any]:
        """What a store's identity says of them."""
        return {"tool": self.tool, "dtype": self.dtype, "rules": 1}


def check_dtype(cache: LatentCache, dtype: str, where: str) -> None:
    """Refuse an entry of another type than the cache's: its vectors would differ in their rounding.

    Raises:
        ClipError: latents_dtype.
    """
    if dtype != cache.dtype:
        raise ClipError("latents_dtype", f"{where} holds {dtype}, the other latents are {cache.dtype}; cache it again")
