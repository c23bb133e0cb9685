"""Paths written by somebody else, brought to files inside the dataset's folders or refused."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from motive.data.base import ReadOptions
from motive.errors import ClipError

_MAX_ID = 1024
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|$)|\\\\")


@dataclass(frozen=True)
class _Root:
    """A folder that paths may lie in.

    Attributes:
        path, real: as it was given, absolute, and with its links resolved.
        prefix: what names of its files start with; empty for the only root.
    """

    path: str
    real: str
    prefix: str = ""


class PathGuard:
    """Resolves the paths of a dataset to regular files under its roots.

    The name of a file is its path relative to its root, in POSIX form. With several roots the names start with the
    root's folder name, or with as many of its last folders as tell the roots apart.

    Args:
        roots: an existing folder, or several.
        follow_links: accept symbolic links that lead out of the roots.
        path_map: as in ReadOptions; its targets become roots.

    Attributes:
        root: the first folder that relative paths start from.
    """

    def __init__(
        self,
        roots: Path | Sequence[Path],
        follow_links: bool = False,
        path_map: Sequence[tuple[str, str]] = (),
    ) -> None:
        given = [roots] if isinstance(roots, Path) else roots
        self._path_map = [(old, os.path.abspath(new)) for old, new in path_map]
        self._bases = list(dict.fromkeys(os.path.abspath(root) for root in given))
        self._roots = _distinct([*self._bases, *(new for _, new in self._path_map)])
        self.root = Path(self._bases[0])
        self.follow_links = follow_links
        self._one_root = not self._path_map and len(self._bases) == 1 and self._roots[0].path == self._bases[0]
        self._real_folders: dict[str, str] = {}
        self._listings: dict[str, dict[str, list[str]]] = {}

    @property
    def bases(self) -> tuple[Path, ...]:
        """The folders that relative paths start from."""
        return tuple(map(Path, self._bases))

    @classmethod
    def of(cls, folder: Path, options: ReadOptions) -> PathGuard:
        """The guard of a dataset: over its own folder, or over the roots that were given instead."""
        return cls(options.roots or folder, options.follow_links, options.path_map)

    def relative(self, text: str) -> str:
        """The name of the file that a path stands for; with one root it looks at the text only.

        An absolute path is accepted inside a root. Of several roots, one alone may hold a relative path.

        Raises:
            ClipError: path_escapes_root, bad_path (empty, a NUL byte, not UTF-8), missing_file (a path of Windows), or
                ambiguous_path (under several roots).
        """
        if not text.strip():
            raise ClipError("bad_path", "the path is empty")
        if not is_clean(text):
            raise ClipError("bad_path", "the path holds a NUL byte or is not valid UTF-8")
        if self._one_root and _is_plain(text):
            return text
        text = self._portable(self._mapped(text))
        found = {self._locate(os.path.normpath(os.path.join(base, text)), text): None for base in self._bases}
        if len(found) > 1:
            there = [place for place in found if self._find(*place)[0] is not None]
            if len(there) > 1:
                places = " and ".join(root.path for root, _ in there)
                raise ClipError("ambiguous_path", f"{text!r} lies under {places}; pass one --root, or absolute paths")
            found = dict.fromkeys(there or found)
        root, relative = next(iter(found))
        return f"{root.prefix}/{relative}" if root.prefix else relative

    def name_of(self, path: Path) -> str:
        """The name of a file that ``file`` returned.

        Raises:
            ClipError: path_escapes_root: it lies under no root.
        """
        return self.relative(os.path.abspath(path))

    def file(self, name: str) -> Path:
        """Absolute path of the file of a name that ``relative`` returned.

        A file of that name in another Unicode form is taken where there is exactly one.

        Raises:
            ClipError: missing_file, not_a_file (a folder, pipe or device), or path_escapes_root (a symbolic
                link leads out of the root).
        """
        root, relative = self._split(name)
        path = os.path.join(root.path, relative)
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            path = os.path.join(root.path, self._twin(root, relative))
            status = os.lstat(path)
        except OSError as error:
            raise ClipError("missing_file", f"{relative!r} cannot be opened: {error.strerror}") from error
        try:
            if stat.S_ISLNK(status.st_mode):
                real, status = os.path.realpath(path), os.stat(path)
            else:
                folder, base = os.path.split(path)
                real = os.path.join(self._real_folder(folder), base)
        except OSError as error:
            raise ClipError("missing_file", f"{relative!r} cannot be opened: {error.strerror}") from error
        if not self._allowed(real):
            raise ClipError(
                "path_escapes_root",
                f"{relative!r} is a symbolic link out of the dataset's folder; pass --follow-links if you trust it",
            )
        if not stat.S_ISREG(status.st_mode):
            raise ClipError("not_a_file", f"{relative!r} is not a regular file")
        return Path(path)

    def folder(self, text: str) -> Path:
        """Absolute path of a folder in a root, or of a root itself, that a trainer's configuration names.

        Relative and absolute paths as in ``relative``; of several roots, one alone may hold a relative one.

        Raises:
            ClipError: path_escapes_root, bad_path, ambiguous_path, or missing_file: no such folder.
        """
        if not text.strip() or not is_clean(text):
            raise ClipError("bad_path", "the path is empty, holds a NUL byte or is not valid UTF-8")
        written, text = text, self._portable(self._mapped(text.rstrip("/\\") + "/"))
        joined = dict.fromkeys(os.path.normpath(os.path.join(base, text)) for base in self._bases)
        inside = [path for path in joined if any(_inside(root, path) is not None for root in self._roots)]
        if not inside:
            raise _escapes(written, next(iter(joined)), whole=True)
        there = [path for path in inside if os.path.isdir(path)]
        if len(there) > 1:
            raise ClipError("ambiguous_path", f"{text!r} is {' and '.join(there)}; pass one --root, or absolute paths")
        if not there:
            raise ClipError("missing_file", f"{written!r} is no folder in {' or '.join(self._bases)}")
        if not self._allowed(os.path.realpath(there[0])):
            raise ClipError(
                "path_escapes_root",
                f"{written!r} is a symbolic link out of the dataset's folder; pass --follow-links if you trust it",
            )
        return Path(there[0])

    def name_in(self, folder: Path) -> str:
        """The part of the names of a folder's files that names the folder; empty for the only root."""
        return self.relative(os.path.join(folder, "_"))[:-2]

    def _mapped(self, text: str) -> str:
        for old, new in self._path_map:
            rest = _after(text, old)
            if rest is not None:
                return os.path.join(new, rest)
        return text

    def _portable(self, text: str) -> str:
        """A path of Windows as one of POSIX; backslashes are characters of a name where such a file exists."""
        if _WINDOWS.match(text) and not self._exists(text):
            raise ClipError(
                "missing_file",
                f"{text!r} is a path of Windows; say where its folder is on this machine with "
                f"--path-map '{_parent(text)}=FOLDER'",
            )
        return text.replace("\\", "/") if "\\" in text and not self._exists(text) else text

    def _exists(self, text: str) -> bool:
        paths = {os.path.normpath(os.path.join(base, text)) for base in self._bases}
        return any(_inside(root, path) is not None and os.path.lexists(path) for path in paths for root in self._roots)

    def _locate(self, joined: str, text: str) -> tuple[_Root, str]:
        """The root that a normalised absolute path lies in, and the path under it."""
        for root in self._roots:
            inside = _inside(root, joined)
            if inside == ".":
                raise ClipError("not_a_file", f"{text!r} is the dataset's folder")
            if inside is not None:
                return root, inside
        raise _escapes(text, joined)

    def _split(self, name: str) -> tuple[_Root, str]:
        """The root of a name, and the path under it."""
        for root in self._roots:
            if not root.prefix or name.startswith(root.prefix + "/"):
                return root, name[len(root.prefix) + 1 :] if root.prefix else name
        raise ClipError("path_escapes_root", f"{name!r} starts with no root's name")

    def _twin(self, root: _Root, relative: str) -> str:
        found, hint = self._find(root, relative)
        if found is None:
            raise ClipError("missing_file", f"{relative!r} does not exist{hint}")
        return found

    def _find(self, root: _Root, relative: str) -> tuple[str | None, str]:
        """(the path as the disk has it or None, what lies there instead)."""
        if os.path.lexists(os.path.join(root.path, relative)):
            return relative, ""
        found: list[str] = []
        for part in relative.split("/"):
            folder = os.path.join(root.path, *found)
            if not os.path.lexists(os.path.join(folder, part)):
                alike = self._alike(folder, part)
                same = [name for name in alike if nfc(name) == nfc(part)]
                if len(same) != 1:
                    return None, _hint("/".join(found), alike, len(same))
                part = same[0]
            found.append(part)
        return "/".join(found), ""

    def _alike(self, folder: str, part: str) -> list[str]:
        """Names in a folder that differ from a name in case or Unicode form only."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            if self._allowed(os.path.realpath(folder)) and os.path.isdir(folder):
                for name in sorted(os.listdir(folder)):
                    listing.setdefault(nfc(name).casefold(), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder].get(nfc(part).casefold(), [])

    def _allowed(self, real: str) -> bool:
        """Whether a resolved path may be used."""
        return self.follow_links or any(
            real == root.real or real.startswith(root.real.rstrip(os.sep) + os.sep) for root in self._roots
        )

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return self._real_folders[folder]


def _is_plain(text: str) -> bool:
    """Whether a path is its own name, as most are: relative, and with nothing in it that would have to be resolved."""
    if text[0] in "/." or text[-1] == "/":
        return False
    return not ("//" in text or "/." in text or "\\" in text or ":" in text)  # ":" may be a drive of Windows


def _distinct(folders: Sequence[str]) -> tuple[_Root, ...]:
    """Roots without those that lie inside another, each with a prefix that tells it from the others."""
    paths = list(dict.fromkeys(os.path.abspath(folder) for folder in folders))
    found = {path: os.path.realpath(path) for path in paths}
    kept = [
        path
        for at, path in enumerate(paths)
        if not any(
            _inside(_Root(found[other], found[other]), found[path]) is not None
            and (found[other] != found[path] or paths.index(other) < at)
            for other in paths
            if other != path
        )
    ]
    if len(kept) == 1:
        return (_Root(kept[0], found[kept[0]]),)
    depth = 1
    while not _tell_apart([_tail(path, depth) for path in kept]):
        depth += 1
    return tuple(_Root(path, found[path], _tail(path, depth)) for path in kept)


def _tell_apart(prefixes: Sequence[str]) -> bool:
    """Whether no prefix starts another, so that a name belongs to one root."""
    ordered = sorted(f"{prefix}/" for prefix in prefixes)
    return not any(b.startswith(a) for a, b in pairwise(ordered))


def _tail(path: str, depth: int) -> str:
    return "/".join(Path(path).parts[1:][-depth:])


def _inside(root: _Root, joined: str) -> str | None:
    """A normalised absolute path relative to a root in POSIX form, ``.`` for the root itself, None outside."""
    for folder in (root.path, root.real):
        if joined == folder:
            return "."
        prefix = folder.rstrip(os.sep) + os.sep
        if joined.startswith(prefix):
            return joined[len(prefix) :].replace(os.sep, "/")
    return None


def _escapes(text: str, joined: str, whole: bool = False) -> ClipError:
    """The error for a path outside every root; ``joined`` is the path in full, ``whole`` if it is a folder of clips."""
    if not os.path.isabs(text):
        rest = os.path.normpath(text).lstrip("./")
        up = text[: -len(rest)].rstrip("/") if text.endswith(rest) else ""
        return ClipError(
            "path_escapes_root",
            f"{text!r} leads out of the dataset's folder; if its files are yours, "
            + (
                f"pass --path-map {up}={printable(joined.removesuffix(f'/{rest}'))}"
                if up and ".." not in rest.split("/") and up.strip("./") == "" and joined.endswith(f"/{rest}")
                else "write paths that start from a folder above them, and pass --root with that folder"
            ),
        )
    folder = printable(text.rstrip("/")) if whole else _parent(text)
    return ClipError(
        "path_escapes_root",
        f"{text!r} lies outside the dataset's folder; pass --root {folder} if its files are yours, or "
        f"--path-map {folder}=FOLDER if they are elsewhere on this machine",
    )


def _after(text: str, old: str) -> str | None:
    """What follows a folder in a path, in POSIX form; None where the path does not start with it."""
    if _WINDOWS.match(old):  # there, neither case nor the kind of slash matters
        text, old = text.replace("\\", "/"), old.replace("\\", "/")
        same = text[: len(old)].casefold() == old.casefold()
    else:
        same = text.startswith(old)
    rest = text[len(old) :]
    return rest.lstrip("/\\") if same and (old.endswith("/") or rest.startswith(("/", "\\"))) else None


def _parent(text: str) -> str:
    at = max(text.rfind("/"), text.rfind("\\"))
    return printable(text[: max(at, 1)])


def _hint(folder: str, alike: Sequence[str], same: int) -> str:
    shown = " and ".join(repr(f"{folder}/{name}" if folder else name) for name in alike[:3])
    if same:
        return f"; {shown} have the same name in other Unicode forms"
    return f"; {shown} differs from it in case only" if alike else ""


def nfc(name: str) -> str:
    """A name in Unicode's composed form; file systems and tables often differ in this alone."""
    return unicodedata.normalize("NFC", name)


def is_clean(text: str) -> bool:
    """Whether text can be stored anywhere: no NUL, no half surrogate pairs."""
    if "\0" in text:
        return False
    if text.isascii():  # most text, and much faster than encoding it
        return True
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
