"""Amounts and options of a selection."""

from __future__ import annotations

from fractions import Fraction

import pytest

from motive.curate import SelectConfig, parse_amount
from motive.errors import OptionError


@pytest.mark.parametrize(
    ("text", "share"), [("10%", "0.1"), ("2.5%", "0.025"), ("100%", "1"), (" 10 % ", "0.1"), ("0.1%", "0.001")]
)
def test_shares_are_read_exactly(text: str, share: str) -> None:
    assert parse_amount(text, "x").share == Fraction(share)


@pytest.mark.parametrize("value", ["1", "500", 500, " 7 "])
def test_counts_are_read(value: str | int) -> None:
    amount = parse_amount(value, "x")
    assert amount.count == int(value)
    assert amount.share is None


@pytest.mark.parametrize(
    "value",
    ["", "0", "-5", "0%", "101%", "10.5", "abc", "10 percent", "%", "1e3", "٣", 0.1, 0, -1, True, "10%%", "1_0"],
)
def test_anything_else_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(OptionError, match=r"x must be a share such as 10% or a number of clips such as 500, got"):
        parse_amount(value, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("percent", ["1%", "5%", "10%", "29%", "33.3%", "50%", "100%"])
def test_counts_of_small_datasets(percent: str) -> None:
    share = Fraction(percent.rstrip("%")) / 100
    previous = 0
    for total in range(1, 31):
        top = SelectConfig(top=percent).take(total)
        assert top == max(1, (share * total).__floor__()), f"{percent} of {total}"
        assert previous <= top <= total
        assert SelectConfig(by="drop_bottom", drop=percent).take(total) == total - (share * total).__floor__()
        previous = top
        for count in (1, total):
            assert SelectConfig(top=str(count)).take(total) == count
            assert SelectConfig(by="drop_bottom", drop=str(count)).take(total) == total - count
        with pytest.raises(OptionError, match=f"select: top must be at most the {total} clips"):
            SelectConfig(top=str(total + 1)).take(total)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"by": "min"}, "by must be one of votes, mean, max, weighted, drop_bottom"),
        ({"by": "query:"}, "by must be one of"),
        ({"files": "move"}, "files must be one of link, copy"),
        ({"min_votes": -1}, "min_votes must be an integer from 0"),
        ({"top": "ten"}, "SelectConfig: top must be a share"),
        ({"drop": "10%"}, "drop must be left out with by votes, got '10%'; give top instead"),
        ({"top": "10%", "by": "drop_bottom"}, "top must be left out with by drop_bottom"),
        ({"drop": "x", "by": "drop_bottom"}, "SelectConfig: drop must be a share"),
        ({"format": "list", "files": "copy"}, "files must be left out with format list, got 'copy': that format names"),
        ({"format": "list", "files": "link"}, "files must be left out with format list"),
        ({"format": "webdataset", "files": "link"}, "files must be copy with format webdataset, got 'link'"),
    ],
)
def test_wrong_options_say_what_is_right(options: dict, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        SelectConfig(**options)
