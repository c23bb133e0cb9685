"""Nothing of the user's is deleted or replaced; earlier selections are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from motive.curate import SelectConfig, select
from motive.errors import OptionError, StoreError


def listing(folder: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path)
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def videos(folder: Path) -> list[str]:
    return sorted(name for name in listing(folder) if name.endswith(".mp4"))


def test_an_earlier_selection_is_replaced_whole(tmp_path, scored) -> None:
    made = scored("videofolder")
    select(made.scores, tmp_path / "out", SelectConfig(top="10"))
    assert len(videos(tmp_path / "out")) == 10
    select(made.scores, tmp_path / "out", SelectConfig(top="2", files="copy"))
    assert len(videos(tmp_path / "out")) == 2
    select(made.scores, tmp_path / "out", SelectConfig(top="3"))
    assert len(videos(tmp_path / "out")) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []
    assert len(videos(made.dataset)) == 30, "the dataset itself is untouched"


def add_file(out: Path) -> None:
    (out / "notes.txt").write_text("mine")


def edit_table(out: Path) -> None:
    with open(out / "metadata.csv", "a") as file:
        file.write("\n")


def replace_video(out: Path) -> None:
    path = next(out.rglob("*.mp4"))
    path.unlink()
    path.write_bytes(b"another video")


def lose_record(out: Path) -> None:
    (out / "selection.json").unlink()


def forge_record(out: Path) -> None:
    (out / "selection.json").write_text('{"format": "motive.selection", "files": [1, 2]}')


def add_link(out: Path) -> None:
    (out / "elsewhere").symlink_to(out.parent)


@pytest.mark.parametrize("change", [add_file, edit_table, replace_video, lose_record, forge_record, add_link])
def test_a_selection_with_something_of_the_users_is_left_alone(tmp_path, scored, change: Callable) -> None:
    made = scored("videofolder")
    select(made.scores, tmp_path / "out", SelectConfig(top="4"))
    change(tmp_path / "out")
    before = listing(tmp_path / "out")
    with pytest.raises(OptionError, match="out must be new, empty or an earlier selection"):
        select(made.scores, tmp_path / "out", SelectConfig(top="2"))
    assert listing(tmp_path / "out") == before


def test_folders_that_are_no_selection_are_refused(tmp_path, scored) -> None:
    made = scored()
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(full)
    for out in (full, tmp_path / "file", tmp_path / "link", made.dataset, made.store):
        before = listing(tmp_path)
        with pytest.raises(OptionError, match="out must be"):
            select(made.scores, out)
        assert listing(tmp_path) == before


def test_an_empty_folder_is_fine(tmp_path, scored) -> None:
    made = scored()
    (tmp_path / "out").mkdir()
    assert len(select(made.scores, tmp_path / "out").clip_ids) == len(videos(tmp_path / "out")) == 3


def test_what_comes_in_during_the_exchange_is_kept(tmp_path, scored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the exchange someone saves a file: it survives in the folder that was moved aside."""
    made = scored("videofolder")
    select(made.scores, tmp_path / "out", SelectConfig(top="4"))
    real, calls = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if not calls:
            (tmp_path / "out" / "late.txt").write_text("mine")
        calls.append(source)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    select(made.scores, tmp_path / "out", SelectConfig(top="2"))
    assert len(videos(tmp_path / "out")) == 2
    assert [path.read_text() for path in tmp_path.glob(".tmp-out-*/late.txt")] == ["mine"]


def test_a_failed_exchange_puts_the_earlier_selection_back(tmp_path, scored, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scored("videofolder")
    select(made.scores, tmp_path / "out", SelectConfig(top="4"))
    before, real, calls = listing(tmp_path / "out"), os.rename, []

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StoreError, match="must be writable, got No space left on device"):
        select(made.scores, tmp_path / "out", SelectConfig(top="2"))
    assert listing(tmp_path / "out") == before
