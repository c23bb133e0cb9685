"""Shards that are named: by a brace pattern, by several paths or addresses in one text, or by the lines of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from motive.addresses import is_broken, public, scheme_of
from motive.data.base import Dataset
from motive.data.formats.archive import PACKED
from motive.data.formats.reader import Detection
from motive.data.paths import is_clean
from motive.data.shards.braces import expand
from motive.data.shards.cache import RemoteShards
from motive.errors import DatasetError, OptionError

_TAR = ".tar"
_LISTS = (".txt", ".list", ".lst")
_LIST_BYTES = 64 << 20
_MOST = 1_000_000
_BETWEEN = re.compile(r"::(?![^\[]*\])")
"""What separates the shards of one text; an IPv6 address has it in brackets."""
_LOCAL = ("file", "local")


@dataclass(frozen=True)
class ShardList:
    """Shards as they were named.

    Attributes:
        location: what named them, for the record: an absolute pattern, or one of addresses without their credentials, or
            the path of a file.
        shards: paths, or addresses with whatever credentials they have.
        folder: that relative paths start from; None where the paths are absolute.
    """

    location: Path | str
    shards: tuple[str, ...]
    folder: Path | None = None

    @property
    def remote(self) -> bool:
        """Whether they are addresses."""
        return bool(scheme_of(self.shards[0]))

    def names(self) -> tuple[str, Mapping[str, str]]:
        """(the folder in a cache that holds all of them, address of each shard by its path in that folder).

        Raises:
            DatasetError: two addresses have one name, or one cannot be a path.
        """
        held: dict[str, str] = {}
        for address in self.shards:
            name = _cache_name(address)
            if name in held:
                raise DatasetError(f"each shard must be named once, got {public(address)} twice; remove one")
            held[name] = address
        folder = os.path.commonpath([os.path.dirname(name) for name in held])
        return folder, {os.path.relpath(name, folder): address for name, address in held.items()}


def shard_list(path: Path | str) -> ShardList | None:
    """The shards that a text or a file names; None for the path of anything else.

    Raises:
        OptionError: an address that was made a Path, or ``pipe:``.
        DatasetError: it names something else than tar files, too many of them, or paths and addresses together.
    """
    text = str(path)
    if os.path.exists(text):
        return _of_file(Path(text)) if text.lower().endswith(_LISTS) and os.path.isfile(text) else None
    if text.startswith("pipe:"):
        raise OptionError("dataset: pipe: runs a command, which is not done here; give the addresses of the shards")
    if isinstance(path, Path) and is_broken(text):
        raise OptionError(f"dataset: an address must be given as text, got the path {text}; pass the text itself")
    parts = [_here(part) for part in _BETWEEN.split(text) if part]
    shards = _expanded(parts, "the pattern")
    if not scheme_of(text) and list(shards) == [text]:
        return None
    _check(shards, "a pattern or an address")
    if scheme_of(shards[0]):
        return ShardList("::".join(map(public, parts)), shards)
    return ShardList("::".join(map(os.path.abspath, parts)), tuple(map(os.path.abspath, shards)))


def remote_shards_of(listed: ShardList, cache: Path) -> RemoteShards:
    """The shards at addresses with their place in a cache folder."""
    folder, addresses = listed.names()
    return RemoteShards(Path(os.path.abspath(cache)) / folder, addresses)


def check_shards(listed: ShardList, bases: Sequence[Path], shards: Sequence[str]) -> None:
    """Refuse a list in which a shard is not there or stands twice.

    Args:
        listed: what named them.
        bases: folders that relative paths start from.
        shards: their paths.

    Raises:
        DatasetError: says which.
    """
    missing = [shard for shard in shards if not any(os.path.exists(os.path.join(base, shard)) for base in bases)]
    if missing:
        raise DatasetError(
            f"{listed.location}: {len(missing)} of {len(shards)} shards are not there, {missing[0]} for one; check the "
            "pattern or the list"
        )
    seen: set[str] = set()
    for shard in shards:
        if shard in seen:
            raise DatasetError(f"{listed.location} must name each shard once, got {shard} twice; remove one")
        seen.add(shard)


def remote_shards(dataset: Dataset) -> RemoteShards | None:
    """The shards of a dataset that was read from addresses; None for another one.

    Raises:
        DatasetError: the list that named them no longer names tar files.
    """
    if dataset.format != "webdataset":
        return None
    listed = shard_list(dataset.location)
    return RemoteShards(dataset.root, listed.names()[1]) if listed is not None and listed.remote else None


def found_again(dataset: Dataset) -> Detection:
    """What a dataset's format found, from the record of it. Shards that are gone are among those of a list."""
    listed = shard_list(dataset.location) if dataset.format == "webdataset" else None
    if listed is None:
        return Detection(Path(dataset.location), dataset.source)
    shards = listed.shards
    if listed.remote:
        shards = tuple(str(dataset.root / name) for name in sorted(listed.names()[1]))
    return Detection(Path(listed.location), base=listed.folder or dataset.root, archives=shards)


def _of_file(file: Path) -> ShardList | None:
    """The shards that the lines of a text file name; None where they are no tar files."""
    if os.stat(file).st_size > _LIST_BYTES:
        return None
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named or not all(public(line).lower().endswith((_TAR, *PACKED)) for line in named):
        return None
    shards = _expanded([_here(line) for line in named], str(file))
    _check(shards, str(file))
    return ShardList(Path(os.path.abspath(file)), shards, file.absolute().parent)


def _here(text: str) -> str:
    """A path for the address of a file of this machine."""
    return text.partition("://")[2] if scheme_of(text) in _LOCAL else text


def _expanded(texts: Sequence[str], where: str) -> tuple[str, ...]:
    every: Iterator[str] = (shard for text in texts for shard in expand(text))
    shards = tuple(islice(every, _MOST + 1))
    if len(shards) > _MOST:
        raise DatasetError(f"{where} names more than {_MOST:,} shards; check its ranges")
    return shards


def _check(shards: Sequence[str], where: str) -> None:
    packed = next((shard for shard in shards if public(shard).lower().endswith(PACKED)), None)
    if packed is not None:
        raise DatasetError(
            f"shards must be plain {_TAR} files, got {public(packed)}, in which no place can be found without unpacking all "
            "before it; unpack the compression (videos hardly shrink)"
        )
    other = next((shard for shard in shards if not public(shard).lower().endswith(_TAR)), None)
    if other is not None:
        raise DatasetError(
            f"{where} must name {_TAR} files, got {public(other)}; for another dataset give its folder or table on this "
            "machine, and for a folder of shards a pattern such as shards-{000..127}.tar"
        )
    if len({bool(scheme_of(shard)) for shard in shards}) > 1:
        raise DatasetError(f"{where} must name either paths or addresses, got both; fetch the shards at the addresses")


def _cache_name(address: str) -> str:
    """Path of a shard's copy in a cache folder: scheme, host and path of its address."""
    scheme, _, rest = public(address).partition("://")
    parts = [part for part in rest.split("/") if part]
    if scheme.lower() in ("http", "https"):
        parts = [_decoded(part) for part in parts]
    if len(parts) < 2 or any(part in (".", "..") for part in parts) or not is_clean("/".join(parts)):
        raise DatasetError(f"the address of a shard must name a host and a file, got {public(address)}; correct it")
    return "/".join([scheme.lower(), parts[0].lower(), *parts[1:]])


def _decoded(part: str) -> str:
    """A part of a path without its percent signs, as the file would be called on a disk."""
    text = unquote(part)
    return part if "/" in text or text in (".", "..") else text
