"""Files and folders that appear whole or not at all: written under a temporary name, then renamed.

A store's files go through motive.store.files, which also knows object stores and uses these functions on a disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
"""How temporary names begin, so that leftovers of a killed process can be recognised."""


def temporary_beside(path: Path) -> Path:
    """An unused temporary name in the folder of ``path``, so that a rename stays on one file system."""
    return path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


@contextmanager
def published(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name; it takes the name ``path`` when the block succeeds.

    If the block raises, the temporary file is removed and an older file at ``path`` stays as it was.

    Args:
        path: the final name; an existing file is replaced.
        durable: flush the file and its folder to disk, so that it also survives a power cut.

    Yields:
        The temporary path, which the block must create.

    Raises:
        OSError: the file cannot be flushed or renamed.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def put_in_place(new: Path, target: Path, aside: Path) -> bool:
    """Rename the folder ``new`` to ``target``; an older one there is moved aside, and back if the renaming fails.

    Args:
        new: a finished folder on the file system of ``target``.
        target: the final name.
        aside: unused name for the older folder, which the caller removes.

    Returns:
        Whether there was an older folder.

    Raises:
        OSError: a folder cannot be renamed; the older one is at ``target`` again.
    """
    if not target.exists():
        os.rename(new, target)
        return False
    os.rename(target, aside)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(aside, target)
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Make a folder's list of names durable.

    Raises:
        OSError: the folder cannot be opened or flushed.
    """
    if os.name != "nt":  # folders cannot be opened there
        _flush(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
