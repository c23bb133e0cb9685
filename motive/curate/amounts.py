"""Amounts of clips, and the rules that an option spells as text: caps, quotas, weights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from motive.errors import OptionError
from motive.scores.ranking import share_count

QUERY_BY = "query:"
GROUP_BY = "group:"
COLUMN = "column:"
SOURCE = "source"
CAPTION = "caption"
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

    def of_selection(self, target: int) -> int:
        """How many clips of a selection of ``target``: a share is rounded down, but to no less than one clip."""
        return max(1, int(self.share * target)) if self.share is not None else self.count or 0


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
class Grouping:
    """What clips are grouped by.

    Attributes:
        text: as the option spells it.
        kind: ``source``, ``caption`` or ``column``.
        column: name of the column, for that kind.
    """

    text: str
    kind: str
    column: str = ""


@dataclass(frozen=True)
class Cap:
    """At most an amount of the selection from any one group; a missing value is a group."""

    by: Grouping
    most: Amount


@dataclass(frozen=True)
class Quota:
    """At least an amount of the selection with one value; an empty value stands for a missing one."""

    by: Grouping
    value: str
    least: Amount


@dataclass(frozen=True)
class Weight:
    """A column of the scores, and what it counts in a weighted ranking."""

    of: str
    weight: float


def parse_grouping(text: str) -> Grouping:
    """Read ``source``, ``caption``, a column's name, or ``column:NAME`` for a column of one of those two names."""
    if text in (SOURCE, CAPTION):
        return Grouping(text, text)
    return Grouping(text, "column", text.removeprefix(COLUMN))


def parse_cap(text: str, where: str) -> Cap:
    """Read ``GROUP=AMOUNT``.

    Raises:
        OptionError: it is not that.
    """
    by, equals, amount = text.rpartition("=")
    if not equals or not by.removeprefix(COLUMN):
        raise OptionError(f"{where} must be GROUP=AMOUNT such as source=5 or camera=20%, got {text!r}; give one")
    return Cap(parse_grouping(by), parse_amount(amount, where))


def parse_quota(text: str, where: str) -> Quota:
    """Read ``GROUP:VALUE=AMOUNT``; the value may be empty, and may hold colons.

    Raises:
        OptionError: it is not that.
    """
    left, equals, amount = text.rpartition("=")
    prefix = COLUMN if left.startswith(COLUMN) else ""
    by, colon, value = left[len(prefix) :].partition(":")
    if not equals or not colon or not by:
        raise OptionError(f"{where} must be GROUP:VALUE=AMOUNT such as camera:pan=20%, got {text!r}; give one")
    return Quota(parse_grouping(prefix + by), value.strip(), parse_amount(amount, where))


def parse_weight(text: str, where: str) -> Weight:
    """Read ``query:ID=NUMBER`` or ``group:NAME=NUMBER``; an id may hold equals signs.

    Raises:
        OptionError: it is not that.
    """
    of, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not is_scored(of) or not math.isfinite(weight):
        raise OptionError(f"{where} must be query:ID=NUMBER or group:NAME=NUMBER, got {text!r}; give one")
    return Weight(of, weight)


def is_scored(text: str) -> bool:
    """Whether a text is ``query:<id>`` or ``group:<name>``."""
    return text.startswith((QUERY_BY, GROUP_BY)) and bool(text.partition(":")[2])
