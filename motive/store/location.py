"""From a path or an address to the place that keeps a store's bytes."""

from __future__ import annotations

import re
from pathlib import Path

from motive.errors import OptionError
from motive.store.files import Files, LocalFiles
from motive.store.remote import RemoteFiles

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_BROKEN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)


def open_files(location: Path | str) -> Files:
    """The place that a path or an address (s3://, gs://, az://, hf://, memory://, file://) stands for.

    Raises:
        OptionError: an address that was made a Path, which takes one of its slashes.
        MissingExtra: fsspec, or its package for that kind of address, is not installed.
    """
    text = str(location)
    address = _ADDRESS.match(text)
    if address is None:
        if isinstance(location, Path) and _BROKEN_ADDRESS.match(text) and not location.exists():
            raise OptionError(f"store: an address must be given as text, got the path {text}; pass the text itself")
        return LocalFiles(Path(location))
    if address[1].lower() == "file":
        return LocalFiles(Path(text[address.end() :]))
    return RemoteFiles.at(text)
