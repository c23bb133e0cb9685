"""Published files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motive.publish import TEMPORARY_PREFIX, published, put_in_place


@pytest.mark.parametrize("durable", [False, True])
def test_the_name_appears_with_all_its_bytes_and_replaces_an_older_file(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "table.bin"
    target.write_bytes(b"old")
    with published(target, durable=durable) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old", "readers see the old file until the block ends"
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["table.bin"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "table.bin"
    target.write_bytes(b"old")

    def write() -> None:
        with published(target) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.bin"]


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError), published(tmp_path / "table.bin") as temporary:
        temporary.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_its_name_and_the_older_one_is_set_aside(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / str(number)).touch()
        assert put_in_place(tmp_path / "new", tmp_path / "target", tmp_path / "old") is (number == 2)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["2"]
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["1"]


def test_a_folder_that_cannot_be_renamed_leaves_the_older_one(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "missing", tmp_path / "target", tmp_path / "old")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["kept"]
    assert not (tmp_path / "old").exists()
