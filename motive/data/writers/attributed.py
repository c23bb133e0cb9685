"""Shapes and model that selected clips were attributed at and with, which the files of trainers state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

Shape = tuple[int, int, int]
"""Width, height, frames."""


@dataclass(frozen=True)
class Attributed:
    """Shapes and model of a selection.

    Attributes:
        shapes: width, height and frames; one for each bucket that has a selected clip.
        shape_of: for each row of the selection its place in ``shapes``; empty where there is one shape.
        fps: rate at which the frames of a shape are counted.
        family: of the model; empty if unknown.
        model: a path, a hub id or a built-in name, as it was given; empty if unknown.
        source_fps: rate that all files share; None where they differ or it is unknown.
    """

    shapes: tuple[Shape, ...] = ((832, 480, 81),)
    shape_of: Sequence[int] = ()
    fps: float = 16.0
    family: str = ""
    model: str = ""
    source_fps: float | None = None

    @cached_property
    def clips(self) -> dict[Shape, int]:
        """Selected clips of each shape, the largest count first, then by shape; 0 for a single shape."""
        counts = Counter(dict.fromkeys(range(len(self.shapes)), 0))
        counts.update(int(place) for place in self.shape_of)
        order = sorted(counts, key=lambda place: (-counts[place], self.shapes[place]))
        return {self.shapes[place]: counts[place] for place in order}

    @property
    def main(self) -> Shape:
        """The shape of the most clips, for a tool that takes one."""
        return next(iter(self.clips))

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each shape, without repeats."""
        return tuple(dict.fromkeys(shape[:2] for shape in self.clips))

    @property
    def frames(self) -> tuple[int, ...]:
        """The lengths, ascending, without repeats."""
        return tuple(sorted({shape[2] for shape in self.shapes}))

    def shorter(self, frames: int) -> int:
        """Clips that were attributed at fewer frames."""
        return sum(count for shape, count in self.clips.items() if shape[2] < frames)

    def longer(self, frames: int) -> int:
        """Clips that were attributed at more frames."""
        return sum(count for shape, count in self.clips.items() if shape[2] > frames)

    def other_sizes(self, width: int, height: int) -> int:
        """Clips that were attributed at another width or height."""
        return sum(count for shape, count in self.clips.items() if shape[:2] != (width, height))

    def model_or(self, default: str, families: Sequence[str] = ("wan",), prefix: str = "") -> tuple[str, str]:
        """The model that a command names, and why it is not the store's where it is not.

        Args:
            default: model that the tool's own example trains.
            families: that the command is for.
            prefix: how the names start that the command takes; a store's model of another kind of name is not put in.

        Returns:
            The model, and a clause or empty text.
        """
        if self.family and self.family not in families:
            return default, f"the store's model is of the family {self.family}, and the command trains {default}"
        known = not prefix or self.model.startswith(prefix)
        if self.family and self.model and known:
            return self.model, ""
        other = self.family and self.model and self.model != default
        return default, f"the store's model is {self.model}, and the command trains {default}" if other else ""
