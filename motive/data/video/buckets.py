"""Buckets: the sizes and lengths that the clips of one run are brought to, and which clip goes where."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from motive.data.video.clip_spec import ClipSpec
from motive.errors import ClipError, ConfigError

BUCKET_RULES = 1
"""Version of the rules that give a clip its bucket and a bucket its noise (docs/buckets.md); part of a store's identity."""

AUTO = "auto"
DATASET = "dataset"
"""Stands for the buckets of the trainer's configuration that is read as the dataset."""

RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16")
"""Width to height of the buckets that ``auto`` derives."""

CLOSE = 0.05
"""Aspect ratios whose logarithms differ by less count as equally close to a clip's."""

_SAME_RATIO = 0.1
_LEAST_AREA = 0.9
_NUMBER = r"[1-9][0-9]{0,4}"
_SIZE = re.compile(f"({_NUMBER})x({_NUMBER})x({_NUMBER})")
_RESOLUTION = re.compile(f"({_NUMBER})x({_NUMBER})")
_RATIO = re.compile(f"({_NUMBER}):({_NUMBER})")


def _listed() -> Any:
    """A field of texts, which the command line also takes as one text with commas."""
    return field(default=(), metadata={"commas": True})


@dataclass(frozen=True)
class BucketConfig:
    """The buckets of a run, as trainers write them: a list of sizes, or resolutions times lengths.

    Empty for one clip spec for all clips. docs/buckets.md has the rule that gives each clip its bucket.

    Attributes:
        sizes: buckets as WIDTHxHEIGHTxFRAMES, such as 832x480x81,480x832x81; ``auto`` stands for --bucket-resolutions
            auto --bucket-frames auto; ``dataset`` takes those of the trainer's configuration that is read as the dataset.
        resolutions: WIDTHxHEIGHT, each with every length of --bucket-frames; ``auto`` derives them from
            --bucket-area, --bucket-step and --bucket-ratios. Default: the clip spec's.
        frames: lengths in frames at the clip spec's rate, each with every resolution; ``auto`` takes the clip spec's,
            and a half and a quarter of it. Default: the clip spec's.
        area: largest number of pixels of a derived resolution, as WIDTHxHEIGHT or the side of a square. Default: the clip
            spec's.
        step: sides of derived resolutions are multiples of this; 0 takes the smallest that the model accepts.
        ratios: width to height of the derived resolutions, such as 16:9,1:1,9:16. Default: 16:9, 4:3, 1:1, 3:4, 9:16. The
            clip spec's own and its transpose are always there.
    """

    sizes: tuple[str, ...] = _listed()
    resolutions: tuple[str, ...] = _listed()
    frames: tuple[str, ...] = _listed()
    area: str = ""
    step: int = 0
    ratios: tuple[str, ...] = _listed()

    def __post_init__(self) -> None:
        self._check_texts()
        if self.sizes and (self.resolutions or self.frames):
            raise ConfigError(
                "BucketConfig",
                "{sizes} must be left out with {resolutions} or {frames}, got both; give whole buckets, or their parts",
            )
        if {AUTO, DATASET} & set(self.sizes) and len(self.sizes) > 1:
            raise ConfigError(
                "BucketConfig", f"{{sizes}} must be auto, dataset or sizes, got {self.sizes}; give one of them"
            )
        if self.step < 0 or self.step > 1024:
            raise ConfigError(
                "BucketConfig", f"{{step}} must be 0 to 1024 pixels, got {self.step}; 0 takes the model's"
            )
        for name in ("area", "step", "ratios"):
            if getattr(self, name) and AUTO not in (*self.sizes, *self.resolutions):
                raise ConfigError(
                    "BucketConfig",
                    f"{{{name}}} must be left out unless {{resolutions}} is auto, got {getattr(self, name)}; "
                    "add {resolutions} auto",
                )

    def _check_texts(self) -> None:
        for name, form, shown in (
            ("sizes", _SIZE, "WIDTHxHEIGHTxFRAMES, such as 832x480x81"),
            ("resolutions", _RESOLUTION, "WIDTHxHEIGHT, such as 832x480"),
            ("frames", re.compile(_NUMBER), "a number of frames"),
            ("ratios", _RATIO, "WIDTH:HEIGHT, such as 16:9"),
        ):
            for text in getattr(self, name):
                stands = (AUTO, DATASET) if name == "sizes" else () if name == "ratios" else (AUTO,)
                if not form.fullmatch(text) and text not in stands:
                    raise ConfigError("BucketConfig", f"{{{name}}} must be {shown}, got {text!r}; correct it")
        if self.area and not re.fullmatch(f"{_NUMBER}(x{_NUMBER})?", self.area):
            raise ConfigError(
                "BucketConfig", f"{{area}} must be WIDTHxHEIGHT or the side of a square, got {self.area!r}; correct it"
            )

    @property
    def given(self) -> bool:
        """Whether there are buckets."""
        return bool(self.sizes or self.resolutions or self.frames)

    @property
    def resolved(self) -> bool:
        """Whether every bucket is named: nothing follows from the clip spec or the model any more."""
        return bool(self.sizes) and not {AUTO, DATASET} & set(self.sizes)

    @property
    def of_dataset(self) -> bool:
        """Whether the buckets are those of the dataset, a trainer's configuration."""
        return DATASET in self.sizes

    @property
    def has_sizes(self) -> bool:
        """Whether no size and no length is taken from the clip spec."""
        return self.resolved or self.of_dataset


@dataclass(frozen=True)
class Bucket:
    """A size and a length.

    Attributes:
        width, height: pixels.
        frames: at the clip spec's rate.
    """

    width: int
    height: int
    frames: int

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """From WIDTHxHEIGHTxFRAMES.

        Raises:
            ConfigError: it is something else.
        """
        found = _SIZE.fullmatch(text)
        if found is None:
            raise ConfigError("buckets", f"a bucket must be WIDTHxHEIGHTxFRAMES, got {text!r}; correct it")
        return cls(*map(int, found.groups()))

    @property
    def name(self) -> str:
        """WIDTHxHEIGHTxFRAMES."""
        return f"{self.width}x{self.height}x{self.frames}"

    def spec(self, base: ClipSpec) -> ClipSpec:
        """The clip spec of this bucket: rate and rules of ``base``, size and length of the bucket."""
        return replace(base, width=self.width, height=self.height, frames=self.frames)


@dataclass(frozen=True)
class SourceShape:
    """What decides a clip's bucket.

    Attributes:
        seconds: length of the video stream by its time stamps.
        tolerance_s: precision of its clock.
        height, width: pixels of the first frame, upright.
        aspect: width to height of a pixel.
    """

    seconds: float
    tolerance_s: float
    height: int
    width: int
    aspect: float


@dataclass(frozen=True)
class ClipSpecs:
    """The clip specs of a run: one for all clips, or one for each bucket.

    Attributes:
        base: rate and rules; with buckets, size and length of the first one.
        buckets: in the order of ``in_order``; empty for one clip spec.
    """

    base: ClipSpec
    buckets: tuple[Bucket, ...] = ()

    def of(self, bucket: str) -> ClipSpec:
        """The clip spec of a bucket by its name; the one for all clips where there are no buckets.

        Raises:
            ConfigError: not the name of a bucket.
        """
        return Bucket.parse(bucket).spec(self.base) if self.buckets else self.base

    @property
    def shortest(self) -> ClipSpec:
        """The clip spec of the fewest frames."""
        return replace(self.base, frames=min((bucket.frames for bucket in self.buckets), default=self.base.frames))

    @property
    def largest_bytes(self) -> int:
        """Bytes of the frames of the largest clip."""
        specs = [bucket.spec(self.base) for bucket in self.buckets] or [self.base]
        return max(3 * spec.frames * spec.height * spec.width for spec in specs)

    def choose(self, shape: SourceShape, name: str) -> str:
        """The name of a clip's bucket: as choose_bucket; of one clip spec, its own size.

        Raises:
            ClipError: too_short.
        """
        if not self.buckets:
            return size_name(self.base)
        return choose_bucket(self.buckets, shape, self.base, name).name


def size_name(clip_spec: ClipSpec) -> str:
    """WIDTHxHEIGHTxFRAMES of a clip spec."""
    return Bucket(clip_spec.width, clip_spec.height, clip_spec.frames).name


def in_order(buckets: Sequence[Bucket]) -> tuple[Bucket, ...]:
    """Each bucket once: the longest first, of equal length the largest, then the widest."""
    return tuple(sorted(set(buckets), key=lambda b: (-b.frames, -b.width * b.height, -b.width)))


def choose_bucket(buckets: Sequence[Bucket], shape: SourceShape, base: ClipSpec, name: str) -> Bucket:
    """The bucket of a clip.

    1. Buckets longer than the clip are left out: one of T frames needs (T - 1) / fps seconds. A clip that is shorter
       than all of them is left out, or by the rules ``hold`` and ``loop`` has the shortest ones.
    2. Of the others, those whose aspect ratio w / h is closest to that of the displayed picture by |log| difference;
       differences within CLOSE of the smallest count as equal.
    3. Of those, the ones with the most frames.
    4. Of those, the largest that the picture fills without being enlarged; if it fills none, the smallest.

    Args:
        buckets: of the run, at least one.
        shape: of the clip.
        base: rate, and the rule for short clips.
        name: of the file, for the message.

    Raises:
        ClipError: too_short.
    """
    fitting = [b for b in buckets if (b.frames - 1) / base.fps <= shape.seconds + shape.tolerance_s]
    if not fitting:
        least = min(b.frames for b in buckets)
        if base.short == "error":
            raise ClipError(
                "too_short",
                f"{name} lasts {shape.seconds:.4g} s, the shortest bucket ({least} frames at {base.fps:g} fps) needs "
                f"{(least - 1) / base.fps:.4g} s",
            )
        fitting = [b for b in buckets if b.frames == least]
    wide = shape.width * shape.aspect
    off = {b: abs(math.log(wide / shape.height) - math.log(b.width / b.height)) for b in fitting}
    nearest = min(off.values())
    close = [b for b in fitting if off[b] <= nearest + CLOSE]
    most = max(b.frames for b in close)
    close = [b for b in close if b.frames == most]
    filled = [b for b in close if max(b.height / shape.height, b.width / wide) <= 1]
    sign = -1 if filled else 1
    return min(filled or close, key=lambda b: (sign * b.width * b.height, off[b], -b.width))


def resolve_buckets(config: BucketConfig, base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> tuple[Bucket, ...]:
    """The buckets that a config stands for, in order; empty for none.

    Args:
        config: as given, not of the dataset (motive.data.video.trainer_buckets).
        base: the clip spec that sizes, lengths and areas which are not given are taken from.
        fits: whether the model takes clips of a clip spec.

    Raises:
        ConfigError: the model takes no step, or nothing fits the area.
    """
    if not config.given:
        return ()
    if config.of_dataset:
        raise ConfigError("index", "{sizes} dataset needs the dataset that it is taken from; list the buckets here")
    if config.resolved:
        return in_order([Bucket.parse(text) for text in config.sizes])
    every = AUTO in config.sizes
    resolutions = [(int(w), int(h)) for w, h in (text.split("x") for text in config.resolutions if text != AUTO)]
    if every or AUTO in config.resolutions:
        resolutions += derived_resolutions(config, base, fits)
    lengths = [int(text) for text in config.frames if text != AUTO]
    if every or AUTO in config.frames:
        lengths += derived_lengths(base, fits)
    resolutions, lengths = resolutions or [(base.width, base.height)], lengths or [base.frames]
    return in_order([Bucket(width, height, frames) for width, height in resolutions for frames in lengths])


def derived_resolutions(
    config: BucketConfig, base: ClipSpec, fits: Callable[[ClipSpec], bool]
) -> list[tuple[int, int]]:
    """Resolutions of one area and several aspect ratios, (width, height) each.

    The clip spec's own and its transpose where the area is the clip spec's, then for each ratio the sides w, h, multiples
    of the step with 0.9 area <= w h <= area (or the largest area there is), whose |log (w / h) - log ratio| is smallest.
    A ratio that lies within 10 % of one that is there adds nothing.
    """
    step = config.step or side_step(base, fits)
    sides = [int(side) for side in config.area.split("x")] if config.area else [base.width, base.height]
    area = sides[0] * sides[-1]
    found = [] if config.area else [(base.width, base.height), (base.height, base.width)]
    pairs = [(w, area // w // step * step) for w in range(step, area // step + 1, step)]
    pairs = [(w, h - less) for w, h in pairs for less in range(0, h, step) if w * (h - less) >= _LEAST_AREA * area] or [
        max(pairs, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] - pair[1])), default=(0, 0))
    ]
    if not all(pairs[0]):
        raise ConfigError(
            "index", f"{{buckets.area}} must hold a square of {step} pixels, got {area}; give a larger one"
        )
    for text in config.ratios or RATIOS:
        across, down = map(int, text.split(":"))
        wanted = math.log(across / down)
        pair = min(pairs, key=lambda p: (round(abs(math.log(p[0] / p[1]) - wanted), 9), -p[0] * p[1], -p[0]))
        if all(abs(math.log(pair[0] / pair[1]) - math.log(w / h)) > _SAME_RATIO for w, h in found):
            found.append(pair)
    return list(dict.fromkeys(found))


def side_step(base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> int:
    """The smallest power of two whose odd multiples the model takes as sides."""
    for step in (8, 16, 32, 64, 128):
        if fits(replace(base, height=5 * step, width=7 * step)):
            return step
    raise ConfigError("index", "{buckets.step} must be given, since the model takes no multiple of 8 to 128 pixels")


def derived_lengths(base: ClipSpec, fits: Callable[[ClipSpec], bool]) -> list[int]:
    """The clip spec's frames, and the most frames that the model takes up to a half and a quarter of the time."""
    lengths = [base.frames]
    for part in (2, 4):
        most = (base.frames - 1) // part + 1
        length = next((n for n in range(most, 1, -1) if fits(replace(base, frames=n))), 0)
        lengths += [length] if length else []
    return list(dict.fromkeys(lengths))
