"""Loss by a clip spec: clips that it drops, time that it cuts and pixels that it crops, in shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.data.check.shapes import Numbers, Shapes
from motive.data.video.clip_spec import ClipSpec

_SLACK_S = 1e-3
_SLIGHT = 0.01


@dataclass(frozen=True)
class ClipSpecFit:
    """What a clip spec does to the clips of known length, size and rate.

    Attributes:
        clip_spec: rate, length, size and rules.
        timed: clips of known length.
        short: of those, clips shorter than (frames - 1) / fps; the spec's rule says whether they are dropped.
        longer: clips that continue after the last frame that is taken.
        cut_share: share of the footage of all clips of known length, but the short ones, that no frame is taken from.
        sized: clips of known size.
        cropped: of those, clips that lose more than 1 % of the picture; 0 for ``fit=stretch``.
        cropped_share: mean share of the picture that a cropped clip loses.
        half_lost: clips that lose more than half of the picture.
        stretched: clips whose aspect ratio changes by more than 1 %; 0 for ``fit=crop``.
        enlarged: clips that are smaller than the spec in an axis and are scaled up by more than 1 %.
        rated: clips of known rate.
        slower: of those, clips with fewer frames a second than the spec, of which frames are shown twice.
    """

    clip_spec: ClipSpec
    timed: int
    short: int
    longer: int
    cut_share: float
    sized: int
    cropped: int
    cropped_share: float
    half_lost: int
    stretched: int
    enlarged: int
    rated: int
    slower: int

    @property
    def dropped(self) -> int:
        """Clips that are left out for their length."""
        return self.short if self.clip_spec.short == "error" else 0

    def lines(self) -> list[str]:
        """In words, with shares of the clips that are known."""
        return [*self._length(), *self._size(), *self._rate()]

    def _length(self) -> list[str]:
        spec = self.clip_spec
        if not self.timed:
            return ["lengths are not known"]
        needed = f"the {(spec.frames - 1) / spec.fps:.4g} s that {spec.frames} frames at {spec.fps:g} fps need"
        rule = {
            "error": ("drops", "fewer --clip-frames, or --clip-short hold or loop, keep them"),
            "hold": ("holds the last frame of", "frozen frames have no motion"),
            "loop": ("loops", "the jump back to the start counts as motion"),
        }[spec.short]
        lines = [
            f"{rule[0]} {_share(self.short, self.timed)}, shorter than {needed}" + f"; {rule[1]}" * (self.short > 0)
        ]
        lines.append(
            f"cuts {_share(self.longer, self.timed)}, longer than {spec.frames / spec.fps:.4g} s: "
            f"{self.cut_share:.1%} of the footage is not looked at"
        )
        return lines

    def _size(self) -> list[str]:
        if not self.sized:
            return ["sizes are not known"]
        lines = []
        if self.clip_spec.fit == "crop":
            lost = f": {self.cropped_share:.1%} of their picture on average" if self.cropped else ""
            half = f"; {_share(self.half_lost, self.sized)} lose more than half" if self.half_lost else ""
            lines.append(f"crops {_share(self.cropped, self.sized)}{lost}{half}")
        else:
            lines.append(f"changes the aspect ratio of {_share(self.stretched, self.sized)}")
        if self.enlarged:
            lines.append(f"enlarges {_share(self.enlarged, self.sized)}, which have fewer pixels than it")
        return lines

    def _rate(self) -> list[str]:
        if not self.slower:
            return []
        return [f"repeats frames of {_share(self.slower, self.rated)}, slower than {self.clip_spec.fps:g} fps"]


def _share(clips: int, of: int) -> str:
    return f"{clips:,} of {of:,} clips ({clips / of:.1%})"


def short_clips(seconds: Numbers, clip_spec: ClipSpec) -> NDArray[np.bool_]:
    """[clips]: the clip lasts less than (frames - 1) / fps; False where its length is not known."""
    return seconds + _SLACK_S < (clip_spec.frames - 1) / clip_spec.fps


def fit_of(shapes: Shapes, clip_spec: ClipSpec) -> ClipSpecFit:
    """What a clip spec does to clips of these shapes."""
    seconds = shapes.seconds[~np.isnan(shapes.seconds)]
    short = short_clips(seconds, clip_spec)
    kept, shown = seconds[~short], clip_spec.frames / clip_spec.fps
    left = np.maximum(kept - shown, 0.0)
    known = ~(np.isnan(shapes.height) | np.isnan(shapes.width))
    height, width = shapes.height[known], shapes.width[known]
    down, across = clip_spec.height / height, clip_spec.width / width
    scale = np.maximum(down, across)
    lost = 1 - np.minimum(down, across) / scale if clip_spec.fit == "crop" else np.zeros_like(scale)
    cropped = lost > _SLIGHT
    off = np.abs(np.log(down / across)) > _SLIGHT
    fps = shapes.fps[~np.isnan(shapes.fps)]
    return ClipSpecFit(
        clip_spec=clip_spec,
        timed=len(seconds),
        short=int(short.sum()),
        longer=int((left > _SLACK_S).sum()),
        cut_share=float(left.sum() / kept.sum()) if len(kept) else 0.0,
        sized=len(height),
        cropped=int(cropped.sum()),
        cropped_share=float(lost[cropped].mean()) if cropped.any() else 0.0,
        half_lost=int((lost > 0.5).sum()),
        stretched=int(off.sum()) if clip_spec.fit == "stretch" else 0,
        enlarged=int((scale > 1 + _SLIGHT).sum()),
        rated=len(fps),
        slower=int((fps < (1 - _SLIGHT) * clip_spec.fps).sum()),
    )
