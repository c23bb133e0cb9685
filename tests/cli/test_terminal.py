"""Text from a dataset cannot drive the terminal, and pickles are refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from motive.cli.main import main
from motive.cli.terminal import say
from motive.data import read_dataset
from motive.errors import DatasetError


def test_escapes_are_shown_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2Jb\x07c\x9b1md\u202ee\tf\ng\ud800")
    assert capsys.readouterr().out == "a?[2Jb?c?1md?e\tf\ng?\n"


def test_a_file_name_in_an_error_is_made_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "\x1b]0;taken\x07")]) == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cache.pth", "a.pkl", "x.PT"])
def test_pickles_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DatasetError, match="reading a pickle runs what it says"):
            read_dataset(path)
