"""Paths written by somebody else, brought to files inside a folder or refused."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from motive.errors import ClipError

_MAX_ID = 1024
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class PathGuard:
    """Resolves the paths of a dataset to regular files under its root.

    Args:
        root: an existing folder.
        follow_links: accept symbolic links that lead out of the root.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root = Path(os.path.abspath(root))
        self._real_root = os.path.realpath(self.root)
        self._follow_links = follow_links
        self._real_folders: dict[str, str] = {}

    def relative(self, text: str) -> str:
        """The path as POSIX text relative to the root, without ``.`` and ``..``; looks at the text only.

        An absolute path inside the root is accepted, one outside is not.

        Raises:
            ClipError: path_escapes_root, or bad_path (empty, a NUL byte, not UTF-8).
        """
        if not text.strip():
            raise ClipError("bad_path", "the path is empty")
        if not is_clean(text):
            raise ClipError("bad_path", "the path holds a NUL byte or is not valid UTF-8")
        joined = os.path.normpath(os.path.join(self.root, text))
        for root in (str(self.root), self._real_root):
            if joined == root:
                raise ClipError("not_a_file", f"{text!r} is the dataset's folder")
            prefix = root.rstrip(os.sep) + os.sep
            if joined.startswith(prefix):
                return Path(joined[len(prefix) :]).as_posix()
        raise ClipError("path_escapes_root", f"{text!r} leads out of the dataset's folder")

    def file(self, relative: str) -> Path:
        """Absolute path of the file that a relative path (from ``relative``) names.

        Raises:
            ClipError: missing_file, not_a_file (a folder, pipe or device), or path_escapes_root (a symbolic
                link leads out of the root).
        """
        path = self.root / relative
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                real, status = os.path.realpath(path), os.stat(path)
            else:
                real = os.path.join(self._real_folder(str(path.parent)), path.name)
        except OSError as error:
            raise ClipError("missing_file", f"{relative!r} cannot be opened: {error.strerror}") from error
        if not self._follow_links and not real.startswith(self._real_root.rstrip(os.sep) + os.sep):
            raise ClipError(
                "path_escapes_root",
                f"{relative!r} is a symbolic link out of the dataset's folder; read with follow_links if you trust it",
            )
        if not stat.S_ISREG(status.st_mode):
            raise ClipError("not_a_file", f"{relative!r} is not a regular file")
        return path

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return self._real_folders[folder]


def is_clean(text: str) -> bool:
    """Whether text can be stored anywhere: no NUL, no half surrogate pairs."""
    if "\0" in text:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Text of any origin as it can be stored and shown: control characters and broken ones become ``?``."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("?", whole[:_MAX_ID])


def check_id(clip_id: str) -> str:
    """The id itself, if it is short and printable.

    Raises:
        ClipError: bad_id.
    """
    if not clip_id.strip():
        raise ClipError("bad_id", "the id is empty")
    if len(clip_id) > _MAX_ID:
        raise ClipError("bad_id", f"the id has {len(clip_id)} characters, at most {_MAX_ID} are kept")
    if not is_clean(clip_id) or _CONTROL.search(clip_id):
        raise ClipError("bad_id", "the id holds control characters or is not valid UTF-8")
    return clip_id
