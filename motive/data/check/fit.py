"""Loss by a clip spec or by buckets: clips that are dropped, time that is cut and pixels that are cropped, in shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motive.data.check.shapes import Numbers, Shapes
from motive.data.video.buckets import Bucket, ClipSpecs, SourceShape, choose_bucket
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ClipError

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

    def bucket_lines(self) -> list[str]:
        """The same for a bucket, which a clip goes to only if it is long enough, or if short clips are filled."""
        return [*self._length()[0 if self.short else 1 :], *self._size(), *self._rate()]

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
            f"{rule[0]} {share_text(self.short, self.timed)}, shorter than {needed}" + f"; {rule[1]}" * (self.short > 0)
        ]
        lines.append(
            f"cuts {share_text(self.longer, self.timed)}, longer than {spec.frames / spec.fps:.4g} s: "
            f"{self.cut_share:.1%} of the footage is not looked at"
        )
        return lines

    def _size(self) -> list[str]:
        if not self.sized:
            return ["sizes are not known"]
        lines = []
        if self.clip_spec.fit == "crop":
            lost = f": {self.cropped_share:.1%} of their picture on average" if self.cropped else ""
            half = f"; {share_text(self.half_lost, self.sized)} lose more than half" if self.half_lost else ""
            lines.append(f"crops {share_text(self.cropped, self.sized)}{lost}{half}")
        else:
            lines.append(f"changes the aspect ratio of {share_text(self.stretched, self.sized)}")
        if self.enlarged:
            lines.append(f"enlarges {share_text(self.enlarged, self.sized)}, which have fewer pixels than it")
        return lines

    def _rate(self) -> list[str]:
        if not self.slower:
            return []
        return [f"repeats frames of {share_text(self.slower, self.rated)}, slower than {self.clip_spec.fps:g} fps"]


@dataclass(frozen=True)
class BucketFit:
    """What one bucket does to its clips.

    Attributes:
        bucket: WIDTHxHEIGHTxFRAMES.
        clips: how many it gets, of known length and size.
        fit: what it cuts and crops of them.
    """

    bucket: str
    clips: int
    fit: ClipSpecFit


@dataclass(frozen=True)
class BucketsFit:
    """What a list of buckets does to the clips of known length and size.

    Attributes:
        rules: rate and rules; its size and length are those of the first bucket.
        timed: clips of known length.
        short: of those, clips shorter than the shortest bucket; the rule says whether they are dropped.
        shortest: frames of the shortest bucket.
        not_known: clips whose bucket is not known, since their length or size is not.
        buckets: each, in the order of the run; also those that get no clip.
    """

    rules: ClipSpec
    timed: int
    short: int
    shortest: int
    not_known: int
    buckets: tuple[BucketFit, ...]

    @property
    def dropped(self) -> int:
        """Clips that are left out for their length."""
        return self.short if self.rules.short == "error" else 0

    def lines(self) -> list[str]:
        """Of the list, in words; ``BucketFit.fit`` has those of each bucket."""
        if not self.timed:
            return ["lengths are not known, so no clip has a bucket"]
        needed = (
            f"the {(self.shortest - 1) / self.rules.fps:.4g} s that its shortest bucket ({self.shortest} frames) needs"
        )
        does = {"error": "drops", "hold": "holds the last frame of", "loop": "loops"}[self.rules.short]
        lines = [f"{does} {share_text(self.short, self.timed)}, shorter than {needed}"]
        if self.not_known:
            lines.append(f"the bucket of {self.not_known:,} clips is not known, since their length or size is not")
        return lines


def share_text(clips: int, of: int) -> str:
    """Clips of how many, in numbers and per cent."""
    return f"{clips:,} of {of:,} clips ({clips / of:.1%})"


def short_clips(seconds: Numbers, clip_spec: ClipSpec) -> NDArray[np.bool_]:
    """[clips]: the clip lasts less than (frames - 1) / fps; False where its length is not known."""
    return seconds + _SLACK_S < (clip_spec.frames - 1) / clip_spec.fps


def bucket_places(shapes: Shapes, clip_specs: ClipSpecs) -> NDArray[np.int64]:
    """[clips]: place of each clip's bucket in the list, by the rule of indexing; -1 where it is not known, or too short."""
    buckets, fps = clip_specs.buckets, clip_specs.base.fps
    found = np.full(len(shapes.seconds), -1, np.int64)
    known = ~np.isnan(shapes.seconds + shapes.height + shapes.width)
    if not known.any():
        return found
    # A clip's length matters only by the buckets that it is long enough for, so few cases are left of many clips.
    needed = np.array(sorted({(bucket.frames - 1) / fps for bucket in buckets}))
    fitting = np.searchsorted(needed, shapes.seconds[known] + _SLACK_S, side="right")
    cases = np.stack([np.concatenate([[0.0], needed])[fitting], shapes.height[known], shapes.width[known]], axis=1)
    unique, inverse = np.unique(cases, axis=0, return_inverse=True)
    places = np.array([_place(clip_specs, *map(float, case)) for case in unique], np.int64)
    found[known] = places[inverse.reshape(-1)]
    return found


def _place(clip_specs: ClipSpecs, seconds: float, height: float, width: float) -> int:
    shape = SourceShape(seconds, 0.0, max(1, round(height)), 1, width)
    try:
        return clip_specs.buckets.index(choose_bucket(clip_specs.buckets, shape, clip_specs.base, ""))
    except ClipError:
        return -1


def buckets_fit_of(shapes: Shapes, clip_specs: ClipSpecs) -> BucketsFit:
    """What buckets do to clips of these shapes."""
    places, shortest = bucket_places(shapes, clip_specs), clip_specs.shortest
    seconds = shapes.seconds[~np.isnan(shapes.seconds)]
    short = short_clips(shapes.seconds, shortest)
    dropped = short if shortest.short == "error" else np.zeros_like(short)
    return BucketsFit(
        rules=clip_specs.base,
        timed=len(seconds),
        short=int(short.sum()),
        shortest=shortest.frames,
        not_known=int(((places < 0) & ~dropped).sum()),
        buckets=tuple(
            _bucket_fit(shapes, bucket, places == at, clip_specs) for at, bucket in enumerate(clip_specs.buckets)
        ),
    )


def _bucket_fit(shapes: Shapes, bucket: Bucket, chosen: NDArray[np.bool_], clip_specs: ClipSpecs) -> BucketFit:
    return BucketFit(bucket.name, int(chosen.sum()), fit_of(shapes.only(chosen), bucket.spec(clip_specs.base)))


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
