"""From what was measured on one card to a million clips on several, and compared with the paper. Pure functions.

What is assumed is part of every answer: workers share nothing but storage, so time is the slowest worker's; work is
dealt in whole units; each worker loads its models once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.rows import Record
from benchmarks.harness.targets import SMALL, best, matching, number

CARDS = (1, 8, 64)


@dataclass(frozen=True)
class Plan:
    """A run to extrapolate to.

    Attributes:
        clips: to index.
        unit_clips: that are dealt to a worker together.
        start_s: of each worker, to load what it needs.
    """

    clips: int = 1_000_000
    unit_clips: int = 256
    start_s: float = 120.0

    def __post_init__(self) -> None:
        if self.clips < 1 or self.unit_clips < 1 or self.start_s < 0:
            raise ValueError(
                f"Plan: clips and unit_clips must be positive and start_s not negative, got {self}; correct it"
            )

    def assumptions(self) -> str:
        """In words."""
        return f"units of {self.unit_clips} clips, {self.start_s:.0f} s to start, storage that keeps up"


def hours(clip_s: float, cards: int, plan: Plan) -> float:
    """Hours of the worker that has most to do."""
    units = math.ceil(plan.clips / plan.unit_clips)
    most = min(math.ceil(units / cards) * plan.unit_clips, plan.clips)
    return (plan.start_s + most * clip_s) / 3600


def storage_bytes_per_s(clip_bytes: float, clip_s: float, cards: int) -> float:
    """What storage must deliver so that no card waits."""
    return cards * clip_bytes / clip_s


def lines(rows: Sequence[Record], plan: Plan | None = None) -> list[tuple[str, int, str, str]]:
    """(what, cards, hours, assuming) of a million clips, for every way of indexing that was measured."""
    plan, found = plan or Plan(), []
    for what, clip_s, clip_bytes in rates(rows):
        for cards in CARDS:
            assumed = plan.assumptions()
            if clip_bytes:
                assumed += f" ({number(storage_bytes_per_s(clip_bytes, clip_s, cards) / 1e6)} MB/s)"
            found.append((what, cards, number(hours(clip_s, cards, plan)), assumed))
    return found


def rates(rows: Sequence[Record]) -> list[tuple[str, float, float]]:
    """(what, seconds a clip, bytes read a clip): indexing of cached clips, and the same with encoding."""
    found = []
    for row in matching(rows, op="end to end"):
        what = f"{row['model']}, {row['clip']}, from cached latents to a store"
        found.append((what, 1 / row["clips_per_second"], row.get("cached_bytes_per_clip", 0.0)))
    full = best((row.get("ms_per_clip") for row in _passes(rows, "full")), True)
    if full is not None:
        found.append((f"{SMALL}, full, gradients alone", full / 1e3, 0.0))
        video = best((row.get("ms_median") for row in matching(rows, op="encode", model=SMALL, clip="full")), True)
        if video is not None:
            found.append((f"{SMALL}, full, gradients and video encoder", (full + video) / 1e3, 0.0))
    return found


def _passes(rows: Sequence[Record], clip: str) -> list[Record]:
    return matching(rows, op="gradients", model=SMALL, clip=clip, impl=lambda impl: str(impl).startswith("ours"))


def beside_the_paper(rows: Sequence[Record]) -> list[tuple[str, str, str]]:
    """(what, the paper on an A100, here); a figure that was not measured says so."""
    flat = best((row["ms_median"] for row in matching(rows, op="tensor_sketch_into, whole model") if _ours(row)), True)
    query = best((row.get("ms_median") for row in _search(rows, "topk_dot, one query", 1) if _ours(row)), True)
    vote = best((row.get("ms_median") for row in _search(rows, "vote", 50) if _ours(row)), True)
    full = best((row.get("ms_per_clip") for row in _passes(rows, "full")), True)
    absent = "not measured"
    return [
        (
            "gradients of a clip of 81 frames of 480 x 832",
            "54 s",
            absent if full is None else f"{number(full / 1e3)} s",
        ),
        ("projection of 1.419e9 numbers", "1.97 s", absent if flat is None else f"{number(flat)} ms"),
        ("a new query against 10,000 clips", "46 ms", absent if query is None else f"{number(query)} ms"),
        ("votes of 50 queries on 10,000 clips", "139 ms", absent if vote is None else f"{number(vote)} ms"),
    ]


def _search(rows: Sequence[Record], op: str, queries: int) -> list[Record]:
    return matching(rows, op=op, shape=[10_000, 512, queries, 100])


def _ours(row: Record) -> bool:
    return str(row.get("impl")).startswith(("cuda", "triton"))
