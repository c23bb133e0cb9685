"""The walk down the ranking that takes clips by the rules, with a reason for each clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.curate.amounts import Grouping, Quota
from motive.curate.config import SelectConfig
from motive.curate.groups import Groups, shown_value
from motive.curate.similar import NearFrames, NearVectors
from motive.errors import OptionError

_CHUNK = 1 << 14
_BLOCK = 512


@dataclass(frozen=True)
class Unwanted:
    """The best clips of a query or group that the selection is made against.

    Attributes:
        text: ``query:<id>`` or ``group:<name>``.
        rank: place in the ranking to place among these clips, from 1.
        score: place in the ranking to score there.
    """

    text: str
    rank: dict[int, int]
    score: dict[int, float]


@dataclass(frozen=True)
class Sight:
    """What the rules need to know of clips, by places in the ranking.

    Attributes:
        groups: of clips, by their ids.
        ids: of the rows at some places, a pyarrow array.
        vectors: of clips, by their ids.
        hash_of: of the pictures of one clip, by its id.
        votes: [n] by place.
        unwanted: the clips that the selection is made against.
        dim: of the vectors.
    """

    groups: Groups
    ids: Callable[[NDArray[np.int64]], Any]
    vectors: Callable[[Any], NDArray[np.float32]]
    hash_of: Callable[[str], NDArray[np.uint8]]
    votes: NDArray
    unwanted: Sequence[Unwanted]
    dim: int


@dataclass
class Choice:
    """What the walk took and left.

    Attributes:
        places: taken, in ascending order.
        taken_for: place to the words of the quotas that it was taken for.
        left: reason to place to its words, of clips that a rule left out.
        seen: places below this one were looked at.
        quotas: each quota with the number that was taken.
    """

    places: list[int] = field(default_factory=list)
    taken_for: dict[int, str] = field(default_factory=dict)
    left: dict[str, dict[int, str]] = field(default_factory=dict)
    seen: int = 0
    quotas: list[tuple[Quota, int]] = field(default_factory=list)


class Chooser:
    """Takes the first clips of a ranking that no rule leaves out, and keeps room for quotas.

    Args:
        config: the rules.
        sight: what they need.
        scope: places that may be taken: the ranking's first ones.
        target: how many to take.

    Raises:
        OptionError: the quotas ask for more than is taken.
    """

    def __init__(self, config: SelectConfig, sight: Sight, scope: int, target: int) -> None:
        self._config, self._sight, self._scope, self._target = config, sight, scope, target
        self._caps = [(cap, cap.most.of_selection(target)) for cap in config.caps]
        self._counts: dict[tuple[Grouping, str], int] = {}
        self._quotas = [[quota, quota.least.of_selection(target), 0] for quota in config.quotas]
        if sum(least for _, least, _ in self._quotas) > target:
            raise OptionError(
                f"select: min_per must fit the {target} clips that are taken, got "
                f"{sum(least for _, least, _ in self._quotas)} in all; ask for less, or raise top"
            )
        vectors, frames = config.max_vector_similarity, config.max_frame_similarity
        self._near = None if vectors is None else NearVectors(vectors, sight.dim)
        self._frames = None if frames is None else NearFrames(frames, self._hash_of_row)
        self._order: list[int] = []
        self._waiting: list[int] = []
        self._choice = Choice()

    def run(self) -> Choice:
        """Walk down the ranking, and then over the clips that waited for quotas.

        Raises:
            OptionError: a rule names a column that no clip has.
        """
        self._walk(range(self._scope), reserve=True)
        if self._waiting and len(self._order) < self._target:
            waiting, self._waiting = self._waiting, []
            self._walk(waiting, reserve=False)
        for place in self._waiting:
            self._leave(place, "reserved", "its place is kept for a quota")
        self._sight.groups.check()
        self._choice.places = sorted(self._order)
        self._choice.quotas = [(quota, count) for quota, _, count in self._quotas]
        return self._choice

    def _walk(self, places: Sequence[int], reserve: bool) -> None:
        for start in range(0, len(places), _CHUNK):
            if len(self._order) >= self._target:
                return
            chunk = np.asarray(places[start : start + _CHUNK], np.int64)
            ids = self._sight.ids(chunk)
            groups = self._sight.groups.of(ids)
            for at in range(0, len(chunk), _BLOCK):
                if len(self._order) >= self._target:
                    return
                part = slice(at, at + _BLOCK)
                self._block(
                    chunk[part].tolist(), ids[part], {by: values[part] for by, values in groups.items()}, reserve
                )

    def _block(self, places: list[int], ids: Any, groups: dict[Grouping, list[str]], reserve: bool) -> None:
        self._ids = ids
        if self._near is not None:
            self._near.load(self._sight.vectors(ids))
        if self._frames is not None:
            self._frames.load()
        for row, place in enumerate(places):
            if len(self._order) >= self._target:
                return
            if reserve:
                self._choice.seen = place + 1
            mine = {by: values[row] for by, values in groups.items()}
            why = self._refused(row, place, mine)
            if why is not None:
                self._leave(place, *why)
                if why[0] == "few_votes":
                    self._target -= 1  # the selection gets smaller
                continue
            unmet = [quota for quota in self._quotas if quota[2] < quota[1] and mine[quota[0].by] == quota[0].value]
            room = self._target - len(self._order) - sum(max(0, least - count) for _, least, count in self._quotas)
            if reserve and not unmet and room <= 0:
                self._waiting.append(place)
                continue
            self._take(row, place, mine, unmet)

    def _refused(self, row: int, place: int, groups: dict[Grouping, str]) -> tuple[str, str] | None:
        """(reason, words) of the first rule that leaves a clip out."""
        votes = self._sight.votes[place]
        if votes < self._config.min_votes:
            return "few_votes", f"{votes:g} votes"
        for unwanted in self._sight.unwanted:
            if place in unwanted.rank:
                return "against", f"{_nth(unwanted.rank[place])} for {unwanted.text}, score {unwanted.score[place]:.4g}"
        for cap, most in self._caps:
            value = groups[cap.by]
            if self._counts.get((cap.by, value), 0) >= most:
                return "cap", f"{cap.by.text} {shown_value(value)} has its {most} already"
        return self._near_duplicate(row)

    def _near_duplicate(self, row: int) -> tuple[str, str] | None:
        found = None if self._near is None else self._near.like(row)
        if found is not None:
            return "near_vector", f"cosine {found[0]:.4f} with {self._named(found[1])}"
        found = None if self._frames is None else self._frames.like(row)
        if found is not None:
            return (
                "near_frames",
                f"{100 * found[0]:.1f}% of the bits of its pictures are those of {self._named(found[1])}",
            )
        return None

    def _take(self, row: int, place: int, groups: dict[Grouping, str], unmet: list[list[Any]]) -> None:
        self._order.append(place)
        for cap, _ in self._caps:
            key = (cap.by, groups[cap.by])
            self._counts[key] = self._counts.get(key, 0) + 1
        for quota in self._quotas:
            if groups[quota[0].by] == quota[0].value:
                quota[2] += 1
        if unmet:
            words = (f"{q.by.text} {shown_value(q.value)} ({count} of {least})" for q, least, count in unmet)
            self._choice.taken_for[place] = "counts for the quota of " + ", and of ".join(words)
        if self._near is not None:
            self._near.keep(row)
        if self._frames is not None:
            self._frames.keep(row)

    def _leave(self, place: int, reason: str, words: str) -> None:
        self._choice.left.setdefault(reason, {})[place] = words

    def _named(self, number: int) -> str:
        """Id of a clip that was taken."""
        return self._sight.ids(np.asarray([self._order[number]]))[0].as_py()

    def _hash_of_row(self, row: int) -> NDArray[np.uint8]:
        return self._sight.hash_of(self._ids[row].as_py())


def _nth(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
