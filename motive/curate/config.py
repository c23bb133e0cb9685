"""Configuration of a selection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from motive.config import check_choices, to_json
from motive.data import SAME, Files, selection_writer
from motive.data.media import Placement
from motive.errors import ConfigError, OptionError
from motive.scores.ranking import RankBy, share_count

QUERY_BY = "query:"
GROUP_BY = "group:"
DROP_BOTTOM = "drop_bottom"
_PLAIN_BY = (*get_args(RankBy), DROP_BOTTOM)
_DEFAULT = "10%"
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


@dataclass(frozen=True)
class Amount:
    """A number of clips, or a share of them; exactly one of the two is set."""

    text: str
    count: int | None = None
    share: Fraction | None = None

    def of(self, total: int, where: str) -> int:
        """How many of ``total`` clips: a share is rounded down, but to no less than one clip.

        Raises:
            OptionError: more clips than there are.
        """
        if self.share is not None:
            return share_count(self.share, total)
        count = self.count or 0
        if count > total:
            raise OptionError(f"{where} must be at most the {total} clips there are, got {count}; ask for fewer")
        return count


def parse_amount(value: str | int, where: str) -> Amount:
    """Read ``10%``, ``2.5%``, ``500`` or 500.

    Args:
        value: the text or number.
        where: what it is for, first words of the message.

    Raises:
        OptionError: it is neither, or not more than none and at most all.
    """
    text = str(value).strip()
    percent = _PERCENT.fullmatch(text)
    if percent and isinstance(value, str):
        share = Fraction(percent.group(1)) / 100
        if 0 < share <= 1:
            return Amount(text, share=share)
    elif not isinstance(value, (bool, float)) and text.isascii() and text.isdigit() and int(text) > 0:
        return Amount(text, count=int(text))
    raise OptionError(f"{where} must be a share such as 10% or a number of clips such as 500, got {value!r}; give one")


@dataclass(frozen=True)
class SelectConfig:
    """Options of a selection.

    Attributes:
        top: how many of the best clips to take, ``10%`` or ``500``; None is 10%. Not with drop_bottom.
        by: what the clips are ranked by: ``votes`` (the paper's), ``mean`` or ``max`` over the queries,
            ``query:<clip id>`` for one query, ``group:<name>`` for the votes of one group of queries, or
            ``drop_bottom`` for everything but the clips of lowest mean.
        drop: how many clips drop_bottom leaves out, ``10%`` or ``500``; None is 10%. With drop_bottom only.
        min_votes: leave out clips with fewer votes, even if the selection gets smaller than ``top``.
        segments: of scores of segments, what a clip counts by: its ``best`` segment, or the ``sum`` over its segments; None is
            best. Not with scores of whole clips.
        format: what to write: ``same``, the form of the dataset that was read, or that of a trainer: ``diffsynth``,
            ``diffusion-pipe``, ``fastvideo``, ``finetrainers``, ``folder``, ``hf``, ``jsonl``, ``list``, ``musubi``,
            ``webdataset``, or one that an installed package adds.
        files: ``link`` places links to the video files, ``copy`` copies; None is link. Not with scores_only.
        scores_only: leave the videos where they are and write the tables alone, with the scores as columns.
    """

    top: str | None = None
    by: str = "votes"
    drop: str | None = None
    min_votes: int = 0
    segments: Literal["best", "sum"] | None = None
    format: str = SAME
    files: Placement | None = None
    scores_only: bool = False

    def __post_init__(self) -> None:
        named = isinstance(self.by, str) and self.by.startswith((QUERY_BY, GROUP_BY)) and self.by.partition(":")[2]
        if self.by not in _PLAIN_BY and not named:
            raise ConfigError(
                "SelectConfig",
                f"{{by}} must be one of {', '.join(_PLAIN_BY)}, {QUERY_BY}<clip id>, {GROUP_BY}<name>, "
                f"got {self.by!r}; choose one",
            )
        check_choices(self)
        if isinstance(self.min_votes, bool) or not isinstance(self.min_votes, int) or self.min_votes < 0:
            raise ConfigError(
                "SelectConfig", f"{{min_votes}} must be an integer from 0, got {self.min_votes!r}; 0 leaves nothing out"
            )
        if self.format != SAME:
            selection_writer(self.format)
        if self.scores_only and self.files is not None:
            raise ConfigError(
                "SelectConfig",
                f"{{files}} must be left out with {{scores_only}}, got {self.files}; nothing is linked or copied then",
            )
        unused, remedy = ("drop", "top") if self.by != DROP_BOTTOM else ("top", "drop")
        if getattr(self, unused) is not None:
            raise ConfigError(
                "SelectConfig",
                f"{{{unused}}} must be left out with {{by}} {self.by}, got {getattr(self, unused)!r}; "
                f"give {{{remedy}}} instead",
            )
        parse_amount(self.amount, f"SelectConfig: {remedy}")

    @property
    def placing(self) -> Files:
        """What happens to the videos."""
        return "none" if self.scores_only else self.files or "link"

    @property
    def amount(self) -> str:
        """What was given as top or drop, or its default."""
        given = self.drop if self.by == DROP_BOTTOM else self.top
        return _DEFAULT if given is None else given

    def take(self, total: int) -> int:
        """How many clips of ``total`` the ranking's head has.

        Raises:
            OptionError: more are asked for than there are.
        """
        if self.by != DROP_BOTTOM:
            return parse_amount(self.amount, "select: top").of(total, "select: top")
        amount = parse_amount(self.amount, "select: drop")
        return total - (int(amount.share * total) if amount.share is not None else amount.of(total, "select: drop"))

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {**to_json(self), "amount": str(self.amount)}
