"""Untrusted text and numbers, made fit for a page.

Captions, ids, paths and labels come from files that anyone may have written. Escaping is the template
engine's work (autoescape is on); what escaping leaves is removed here: characters that a reader cannot see
but that change what is seen.
"""

from __future__ import annotations

import math
import unicodedata

MAX_CHARACTERS = 1500
"""Longest text that goes into the page; a caption of a video model has a few hundred characters."""

_KEPT_FORMAT = "\u200c\u200d"
"""Joiners: Persian, Indic scripts and emoji are misspelt without them."""


def clean(text: object, limit: int = MAX_CHARACTERS) -> str:
    """Untrusted text as one visible line.

    White space, line breaks and other controls become single spaces. Format characters (among them all
    bidirectional overrides and invisible tags) are dropped, lone surrogates, which no encoding can write,
    become U+FFFD, and a text longer than ``limit`` is cut with a note of its length.

    Args:
        text: anything; None is the empty text.
        limit: characters kept.
    """
    if text is None:
        return ""
    raw = str(text)
    kept: list[str] = []
    for character in raw[: 4 * limit]:
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp", "Zs"):
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category != "Cf" or character in _KEPT_FORMAT:
            kept.append(character)
    words = " ".join("".join(kept).split())
    if len(words) > limit or len(raw) > 4 * limit:
        return f"{words[:limit].rstrip()} … ({count(len(raw))} characters)"
    return words


def count(value: int) -> str:
    """An integer with its thousands set apart by narrow no-break spaces."""
    return f"{value:,}".replace(",", "\u202f")


def plural(value: int, noun: str) -> str:
    """A count with its noun, as ``1 clip`` or ``2 clips``; ``query`` becomes ``queries``."""
    ending = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count(value)} {noun if value == 1 else ending}"


def signed(value: float | None, digits: int = 3) -> str:
    """A score with its sign, as ``+0.413`` or ``−0.020``; a dash for a value that is absent or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(value, digits)
    sign = "−" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with a fixed count of decimals; a dash for a value that is absent or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{decimal(100 * value, digits)} %"


def compact(value: float) -> str:
    """A number for an axis: the fewest digits that tell it apart at four significant ones."""
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-3):
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")
