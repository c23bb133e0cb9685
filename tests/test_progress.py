"""Progress bars: counts, notes, and silence until there is something to show."""

from __future__ import annotations

import re

import pytest

from motive.progress import Bar, track


def test_items_pass_through_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("abc", 3, "letters", shown=True)) == ["a", "b", "c"]
    assert re.search(r"letters: 100%.*3/3", capsys.readouterr().err)


def test_a_bar_that_is_not_shown_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(3, "clips", shown=False) as bar:
        bar.advance(2, "1 left out")
        bar.to(3, 3)
    assert capsys.readouterr().err == ""


def test_a_bar_without_a_total_starts_with_the_first_report(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(None, "scores", shown=True) as bar:
        assert capsys.readouterr().err == "", "an error before the first report must stand alone on stderr"
        bar.to(2, 8)
        bar.to(8, 8)
    assert re.search(r"scores: 100%.*8/8", capsys.readouterr().err)
