"""From a path or an address to the place that keeps a store's bytes."""

from __future__ import annotations

from pathlib import Path

from motive.addresses import is_broken, scheme_of
from motive.errors import OptionError
from motive.store.files import Files, LocalFiles
from motive.store.remote import RemoteFiles


def open_files(location: Path | str) -> Files:
    """The place that a path or an address (s3://, gs://, az://, hf://, memory://, file://) stands for.

    Raises:
        OptionError: an address that was made a Path, which takes one of its slashes.
        MissingExtra: fsspec, or its package for that kind of address, is not installed.
    """
    text = str(location)
    scheme = scheme_of(text)
    if not scheme:
        if isinstance(location, Path) and is_broken(text) and not location.exists():
            raise OptionError(f"store: an address must be given as text, got the path {text}; pass the text itself")
        return LocalFiles(Path(location))
    if scheme == "file":
        return LocalFiles(Path(text.partition("://")[2]))
    return RemoteFiles.at(text)
