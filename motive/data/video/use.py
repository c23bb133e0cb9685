"""Shares of their files that the clips of a run show and that its clip specs cut away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motive.data.video.clip_spec import ClipSpec

_WHOLE = 1_000_000
_WORTH_SAYING = 0.01


@dataclass(frozen=True)
class Use:
    """Sums over clips; whole numbers, so that they do not depend on the order of the clips.

    Attributes:
        clips: how many.
        cropped: sum of the shares of their pictures that are cut away, in millionths.
        dropped: sum of the shares of their time that no frame is taken from, in millionths.
    """

    clips: int = 0
    cropped: int = 0
    dropped: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(self.clips + other.clips, self.cropped + other.cropped, self.dropped + other.dropped)

    @property
    def cropped_share(self) -> float:
        """Mean share of a clip's picture that is cut away."""
        return self.cropped / (_WHOLE * self.clips) if self.clips else 0.0

    @property
    def dropped_share(self) -> float:
        """Mean share of a clip's time that no frame is taken from."""
        return self.dropped / (_WHOLE * self.clips) if self.clips else 0.0

    @classmethod
    def of(cls, facts: Mapping[str, Any], clip_spec: ClipSpec) -> Use:
        """Of one clip.

        Args:
            facts: by name, as SourceFacts has them.
            clip_spec: what the clip was brought to.
        """
        across, _, down = str(facts.get("sample_aspect") or "1:1").partition(":")
        wide, high = facts["source_width"] * int(across) / int(down), facts["source_height"]
        scale = max(clip_spec.height / high, clip_spec.width / wide)
        kept = 1.0 if clip_spec.fit == "stretch" else clip_spec.height * clip_spec.width / (scale * scale * high * wide)
        seconds = float(facts["source_seconds"])
        shown = min(1.0, clip_spec.frames / clip_spec.fps / seconds) if seconds > 0 else 1.0
        return cls(1, round(_WHOLE * (1 - min(1.0, kept))), round(_WHOLE * (1 - shown)))


def count_use(into: dict[str, Use], more: Mapping[str, Use]) -> None:
    """Add sums to sums, size by size."""
    for size, use in more.items():
        into[size] = into.get(size, Use()) + use


def use_json(used: Mapping[str, Use]) -> dict[str, dict[str, Any]]:
    """Size -> clips and mean shares, largest count first."""
    return {
        size: {"clips": use.clips, "cropped_share": use.cropped_share, "dropped_share": use.dropped_share}
        for size, use in _ordered(used)
    }


def use_lines(used: Mapping[str, Use], buckets: bool, too_short: int, rows: int) -> list[str]:
    """What was cut away, for a person.

    Args:
        used: size -> sums over the stored clips of that size.
        buckets: whether there are buckets; with one clip spec the line names the flag that keeps more, and is left out
            where nothing worth it is lost.
        too_short: clips left out for their length.
        rows: clips of the dataset.
    """
    if buckets:
        return [f"bucket {size}: {use.clips} clips{_cut(use)}" for size, use in _ordered(used)]
    whole = sum(used.values(), Use())
    lost = [f"{too_short} of {rows} clips are too short"] if too_short else []
    if max(whole.cropped_share, whole.dropped_share) >= _WORTH_SAYING:
        lost.append(f"of those stored, {whole.cropped_share:.1%} of the picture is cropped and {whole.dropped_share:.1%} "
                    "of the time is not looked at")  # fmt: skip
    size = next(iter(used), "")
    named = f"one clip spec for all clips{f' ({size})' if size else ''}"
    return [f"{named}: {'; '.join(lost)}; --buckets keeps more (docs/buckets.md)"] if lost else []


def _cut(use: Use) -> str:
    return f", {use.cropped_share:.1%} of the picture cropped, {use.dropped_share:.1%} of the time not looked at"


def _ordered(used: Mapping[str, Use]) -> list[tuple[str, Use]]:
    return sorted(used.items(), key=lambda item: (-item[1].clips, item[0]))
