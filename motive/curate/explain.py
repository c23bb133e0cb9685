"""Every choice and every exclusion of a selection, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from motive.curate.choose import Choice
from motive.curate.config import DROP_BOTTOM, SelectConfig
from motive.curate.groups import shown_value
from motive.curate.ranking import Ranked
from motive.data import Failure

_LEFT = {
    "few_votes": "fewer votes than min_votes asks for",
    "against": "among the best clips of a query or group that the selection is made against",
    "cap": "their group has as many clips in the selection as max_per allows",
    "near_vector": "their vector points where that of a better clip in the selection does (max_vector_similarity)",
    "near_frames": "their pictures are those of a better clip in the selection (max_frame_similarity)",
    "reserved": "places were kept for clips that min_per asks for",
}
"""Reason to its sentence, in the order in which the rules are asked."""


def rules_of(config: SelectConfig, ranked: Ranked, names: Sequence[str]) -> list[str]:
    """The rules of a selection, one sentence each."""
    end = "worst" if config.bottom is not None else "best"
    then = ", then ".join([*names, "clip id"])
    if config.by == DROP_BOTTOM:
        found = [f"all but the {ranked.total - ranked.taken} clips of lowest mean, of {ranked.total}"]
    else:
        found = [f"the {ranked.taken} {end} of {ranked.total} clips, by {then}"]
    found += [
        f"{text} is counted with weight {weight:g}" for text, weight in ((w.of, w.weight) for w in config.weights)
    ]
    if config.min_votes:
        found.append(f"at least {config.min_votes} votes; a clip with fewer is not replaced")
    most = config.against_amount.of(ranked.total, "select: against_top") if config.against else 0
    found += [f"none of the {most} best clips for {text}" for text in config.against]
    for cap in config.caps:
        found.append(
            f"at most {cap.most.of_selection(ranked.taken)} clips of any one {cap.by.text}; a missing one counts as one"
        )
    for quota in config.quotas:
        least = quota.least.of_selection(ranked.taken)
        found.append(f"at least {least} clips whose {quota.by.text} is {shown_value(quota.value)}")
    if config.max_vector_similarity is not None:
        found.append(f"no two clips whose vectors have a cosine of {config.max_vector_similarity:g} or more")
    if config.max_frame_similarity is not None:
        found.append(f"no two clips whose pictures share {100 * config.max_frame_similarity:g}% of their bits or more")
    return found


def explained(
    ranked: Ranked, choice: Choice, names: Sequence[str], ids: Callable[[Sequence[int]], list[str]]
) -> list[dict[str, Any]]:
    """What selection.json says of every clip.

    Args:
        ranked: the ranking.
        choice: what was taken and left.
        names: columns that were ranked by.
        ids: from places in the ranking to clip ids.

    Returns:
        Entries with ``reason``, ``taken``, ``words``, ``clips`` (how many) and ``each``, from clip id to words; None where
        the entry's words say all. The numbers of all entries add up to the clips that were scored.
    """
    found: list[dict[str, Any]] = []

    def add(reason: str, taken: bool, words: str, each: dict[int, str]) -> None:
        if each:
            named = dict(zip(ids(list(each)), each.values(), strict=True))
            found.append({"reason": reason, "taken": taken, "words": words, "clips": len(each), "each": named})

    ranks = dict(zip(choice.places, _rank_words(ranked, choice.places, names), strict=True))
    quota = {place: f"{ranks[place]}; {words}" for place, words in choice.taken_for.items()}
    add("ranked", True, "the first of the ranking that no rule leaves out", _without(ranks, quota))
    add("quota", True, "counted for a quota of min_per when they were taken", quota)
    for reason, words in _LEFT.items():
        add(reason, False, words, choice.left.get(reason, {}))
    rest = ranked.total - sum(entry["clips"] for entry in found)
    if rest:
        words = f"ranked {choice.seen + 1} or lower, when the selection had its {len(choice.places)} clips or its end"
        found.append({"reason": "below_cut", "taken": False, "words": words, "clips": rest, "each": None})
    return found


def failed(failures: Sequence[Failure]) -> dict[str, Any]:
    """What selection.json says of clips that have no vector, and so no score."""
    each = {one.clip_id: f"{one.stage}: {one.reason}: {one.detail}" for one in failures}
    words = "left out when the dataset was read or indexed, so never scored; failed.parquet of the store lists them"
    return {"clips": len(failures), "words": words, "each": each}


def _rank_words(ranked: Ranked, places: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    rows = ranked.order[np.asarray(places, np.int64)]
    values = [ranked.keys[at][rows].tolist() for at in range(len(names))]
    for place, *numbers in zip(places, *values, strict=True):
        shown = ", ".join(f"{name} {number:.6g}" for name, number in zip(names, numbers, strict=True))
        yield f"rank {place + 1} of {ranked.total}: {shown}"


def _without(ranks: dict[int, str], others: dict[int, str]) -> dict[int, str]:
    return {place: words for place, words in ranks.items() if place not in others}
