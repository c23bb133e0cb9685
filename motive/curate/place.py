"""Putting a folder of results in place in one step, without touching files that are not ours."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from motive.data.formats.selected import FORMAT, READS, RECORD, TABLES, are_tables
from motive.errors import OptionError, StoreError
from motive.publish import TEMPORARY_PREFIX, put_in_place
from motive.scores.selection import VERSION

_ALONE = 1
"""Number of names of a file that has no hard links."""


def check_target(out: Path, where: str) -> None:
    """Refuse an output folder that holds anything but an earlier selection, unchanged.

    Raises:
        OptionError: choose another folder.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise OptionError(f"{where}: out must be a folder, got the file or link {out}; choose another path")
    found = dict(_files(out))
    if not found:
        return
    recorded = _recorded(out / RECORD)
    for name, path in found.items():
        if name != RECORD and recorded.get(name) != _mark(path):
            state = "changed since it was written" if name in recorded else "not from a selection"
            raise OptionError(
                f"{where}: out must be new, empty or an earlier selection, got {path}, which is {state}; "
                "choose another path or move that file"
            )
    if RECORD not in found:
        raise OptionError(f"{where}: out must be new, empty or an earlier selection, got {out}; choose another path")


@contextmanager
def placed(out: Path, where: str) -> Iterator[Path]:
    """A new folder to write to, which becomes ``out`` when the block ends well and is removed when it does not.

    An earlier selection there is replaced: its folder is moved aside, the new one takes its name, and only then
    is the old one removed.
    """
    temporary = out.parent / f"{TEMPORARY_PREFIX}{out.name}-{secrets.token_hex(8)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as error:
        raise _unwritable(where, out, error) from error
    try:
        yield temporary
        check_target(out, where)  # again: selecting takes a while
        _swap(temporary, out, where)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_record(folder: Path, record: dict[str, Any], where: str) -> None:
    """Write selection.json with the list of all other files, so that a later selection knows which are its own.

    Raises:
        OptionError: the dataset's own format has written a file of that name.
        StoreError: it cannot be written.
    """
    path = folder / RECORD
    if path.exists():
        raise OptionError(
            f"{where}: the dataset's table is called {RECORD}, as the selection's record; rename it and index it again"
        )
    files = {name: _mark(file) for name, file in _files(folder)}
    whole = {
        "format": FORMAT,
        "version": VERSION,
        TABLES: are_tables(files),
        READS: record.get(READS),
        **record,
        "files": files,
    }
    try:
        path.write_text(json.dumps(whole, indent=1) + "\n")
    except OSError as error:
        raise _unwritable(where, path, error) from error


def _swap(temporary: Path, out: Path, where: str) -> None:
    try:
        old = out.parent / f"{TEMPORARY_PREFIX}{out.name}-{secrets.token_hex(8)}"
        if put_in_place(temporary, out, old):
            _remove_selection(old)
    except OSError as error:
        raise _unwritable(where, out, error) from error


def _remove_selection(folder: Path) -> None:
    """Remove the files that were recorded, and folders that are empty then; what came in since stays."""
    recorded = _recorded(folder / RECORD)
    for name, path in _files(folder):
        if name == RECORD or recorded.get(name) == _mark(path):
            path.unlink()
    for parent, _, _ in sorted(os.walk(folder), reverse=True):
        with suppress(OSError):
            os.rmdir(parent)


def _recorded(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("files"), dict):
        return {}
    return record["files"]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to the folder, path) of everything under it that is not a folder; links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*names, *linked]):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path


def _mark(path: Path) -> dict[str, Any]:
    """What tells whether a file is still the one that was written, without reading it."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return {"link": os.readlink(path)}
    if status.st_nlink > _ALONE:
        return {"inode": status.st_ino}
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _unwritable(where: str, path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{where}: {path} must be writable, got {error.strerror or error}; free space or fix permissions, then repeat"
    )
