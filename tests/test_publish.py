"""Published files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motive.publish import TEMPORARY_PREFIX, published


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
