"""The dataset formats by name, and the one that a path is read by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from motive.data.base import Dataset, ReadOptions, Unread
from motive.data.formats.archive import is_archive
from motive.data.formats.finetrainers import lone_lists
from motive.data.formats.folder import is_video
from motive.data.formats.metadata import TableFormat
from motive.data.formats.reader import DatasetFormat, Detection
from motive.data.formats.selected import own_dataset, own_tables
from motive.data.formats.tables import SUFFIXES, column_names
from motive.data.path_map import parse_path_map
from motive.data.plugins import built_in, installed
from motive.data.shards.cache import default_cache
from motive.data.shards.listed import ShardList, check_shards, remote_shards_of, shard_list
from motive.errors import DatasetError, MissingExtra, OptionError

ENTRY_POINTS = "motive.formats"
"""Group of entry points through which another package adds formats: name = format, object = DatasetFormat subclass."""

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")
_TABLES = (*SUFFIXES, ".arrow", ".feather", ".parq", ".xls", ".xlsx")
_CONFIGS = (".toml", ".yaml", ".yml")
_LATENTS = "vae_latent_bytes"
"""Column of the Parquet files that FastVideo precomputes."""
_GLANCED = 20
"""Files that may be configurations and are looked at; parsing YAML takes its time."""
_SHOWN = 8
"""Columns of a table that a message names."""
_EXPLAINED = 5
"""Tables whose columns are looked at to say why they were not read; further ones are counted."""


def dataset_formats() -> Mapping[str, DatasetFormat]:
    """The known formats by name, in the order in which they are asked; another package cannot replace ours.

    Raises:
        DatasetError: an entry point cannot be imported or is no DatasetFormat.
    """
    known = _built_in()
    others = installed(entry_points(group=ENTRY_POINTS), DatasetFormat, "dataset format", known)
    return dict(sorted({**known, **others}.items(), key=lambda item: (item[1].priority, item[0])))


@lru_cache(maxsize=1)
def _built_in() -> Mapping[str, DatasetFormat]:
    return built_in(__name__.rpartition(".")[0], DatasetFormat)


def dataset_format(name: str) -> DatasetFormat:
    """The format of that name.

    Raises:
        OptionError: there is none.
    """
    built_in = _built_in()
    if name in built_in:
        return built_in[name]
    known = dataset_formats()
    if name not in known:
        raise OptionError(f"format must be auto or one of {', '.join(known)}, got {name!r}; choose one")
    return known[name]


def read_dataset(
    path: Path | str,
    format: str = "auto",
    *,
    root: Path | str | Sequence[Path | str] | None = None,
    path_map: Sequence[str] = (),
    follow_links: bool = False,
    shard_cache: Path | str | None = None,
    show_progress: bool = False,
) -> Dataset:
    """Read a dataset's clips, without opening any video.

    Args:
        path: its folder, its table, or one video file; or tar shards by a brace pattern (``set/{000..127}.tar``), by their
            addresses (``https://``, ``s3://``, ``gs://``, ``hf://``), or by a text file with one of these a line.
        format: ``auto``, or a format's name.
        root: folder, or several, that the files lie in and relative paths start from, where that is not the table's
            own folder.
        path_map: ``OLD=NEW`` each: paths that start with OLD, on another machine, start with the folder NEW here.
        follow_links: accept symbolic links that lead out of the roots.
        shard_cache: folder that shards at addresses are fetched to; None for default_cache().
        show_progress: draw a bar on stderr while they are fetched.

    Returns:
        Clips by ascending id; rows that name no usable clip are its failures. There may be no clips at all.

    Raises:
        OptionError: no such format, no such root, or a path_map without a folder.
        DatasetError: there is nothing to read, the table cannot be read, or a shard cannot be fetched.
    """
    roots = () if root is None else (root,) if isinstance(root, (str, Path)) else tuple(root)
    options = ReadOptions(tuple(_folder(given) for given in roots), parse_path_map(path_map), follow_links)
    listed = shard_list(path)
    if listed is not None:
        return _read_shards(listed, format, options, Path(shard_cache or default_cache()), show_progress)
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path} does not exist; check the spelling")
    _refuse_pickles(path)
    if format != "auto":
        chosen = dataset_format(format)
        detected = chosen.detect(path, named=True)
        if detected is None:
            raise DatasetError(f"{path} is no dataset of format {format}; choose another, or leave it out")
        return chosen.read(detected, options)
    known = dataset_formats()
    own = own_dataset(path)
    for reader in known.values() if own is None or own[0] not in known else (known[own[0]],):
        detected = reader.detect(path if own is None else own[1], named=own is not None)
        if detected is not None:
            dataset = reader.read(detected, options)
            detected = detected if own is None else replace(detected, path=path)
            unread = (*dataset.unread, *_unread_tables(detected, known, dataset.unread))
            unread += (*_unread_lists(reader, detected, known), *_unread_archives(reader, detected))
            return replace(dataset, unread=unread)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        raise _no_columns(path, known["table"])
    raise DatasetError(
        f"{path} holds no dataset that is read here ({', '.join(known)}): neither a table of clips nor tar shards nor "
        f"video files{_seen(Detection(path), known)}; docs/formats/datasets.md lists what is recognised"
    )


def _no_columns(table: Path, reader: DatasetFormat) -> DatasetError:
    """The error for a table that no format takes."""
    needed = " or ".join(reader.path_columns) if isinstance(reader, TableFormat) else "path"
    return DatasetError(
        f"{table} has no column that names a video: its columns are {_shown(column_names(table))}; a table needs {needed}, and a caption "
        "is read from caption, prompt or text: rename the columns (docs/formats/datasets.md lists the layouts of tools)"
    )


def _read_shards(listed: ShardList, format: str, options: ReadOptions, cache: Path, show_progress: bool) -> Dataset:
    """Clips of the shards that were named one by one; those at addresses are fetched first."""
    reader = dataset_format("webdataset")
    if format not in ("auto", reader.name):
        raise OptionError(f"format must be auto or {reader.name} for {listed.location}, got {format!r}; leave it out")
    base, shards = listed.folder, listed.shards
    if listed.remote:
        if options.roots or options.path_map:
            raise OptionError(f"root and path_map must be left out for {listed.location}, whose shards lie elsewhere")
        held = remote_shards_of(listed, cache)
        held.fetch(show_progress=show_progress)
        base, shards = held.folder, tuple(str(held.folder / name) for name in sorted(held.addresses))
    elif base is None:
        base = Path(os.path.commonpath([os.path.dirname(shard) for shard in shards]))
    check_shards(listed, options.roots or (base,), shards)
    found = Detection(Path(listed.location), base=base, archives=shards)
    return replace(reader.read(found, options), location=listed.location)


def _folder(root: Path | str) -> Path:
    if not os.path.isdir(root):
        raise OptionError(f"root must be a folder, got {str(root)!r}; check the spelling")
    return Path(os.path.abspath(root))


def _unread_tables(
    detected: Detection, known: Mapping[str, DatasetFormat], reported: Sequence[Unread]
) -> Iterator[Unread]:
    """Tables of a folder that were not read, each with the reason: captions may be in them."""
    if not detected.path.is_dir():
        return
    names = {table.name for table in reported} | own_tables(detected.path)
    known_files = {detected.source, *detected.known}
    tables = [table for table in _tables(detected.path) if known_files.isdisjoint((table, *table.parents))]
    tables = [table for table in tables if table.relative_to(detected.path).as_posix() not in names]
    configs = [table for table in tables if table.name.lower().endswith(_CONFIGS)]
    others = {table for table in configs[:_GLANCED] if not _is_dataset(table, known)} | {*configs[_GLANCED:]}
    tables = [table for table in tables if table not in others]
    if len(configs) > _GLANCED:
        yield Unread(f"{len(configs) - _GLANCED} more .toml or .yaml files", "give the path of one that lists clips")
    for table in tables[:_EXPLAINED]:
        yield Unread(table.relative_to(detected.path).as_posix(), _why(table, known))
    if len(tables) > _EXPLAINED:
        yield Unread(f"{len(tables) - _EXPLAINED} more tables", "only metadata.* of a folder is looked for")


def _is_dataset(file: Path, known: Mapping[str, DatasetFormat]) -> bool:
    """Whether a file, read by its path, is a dataset; one that cannot be read is not."""
    try:
        return any(reader.detect(file, named=False) is not None for reader in known.values())
    except (DatasetError, MissingExtra):
        return False


def _unread_lists(reader: DatasetFormat, detected: Detection, known: Mapping[str, DatasetFormat]) -> Iterator[Unread]:
    """Text files in a folder by which another format would have read it."""
    for other in known.values() if detected.path.is_dir() else ():
        if other.name == reader.name:
            continue
        try:
            found = other.detect(detected.path, named=False)
        except DatasetError:
            continue
        if found is not None and found.source is not None and found.source.suffix.lower() == ".txt":
            yield Unread(found.source.name, f"pass --dataset-format {other.name} to read the dataset by it")
    if detected.path.is_dir() and reader.name != "finetrainers":
        yield from lone_lists(detected.path)


def _unread_archives(reader: DatasetFormat, detected: Detection) -> Iterator[Unread]:
    """Archives in a folder whose format reads none."""
    if reader.reads_archives or not detected.path.is_dir():
        return
    names = sorted(child.name for child in detected.path.iterdir() if is_archive(child.name) and child.is_file())
    if names:
        one = len(names) == 1
        name = names[0] if one else f"{len(names)} archives ({names[0]} for one)"
        place = f"{detected.source.name}, which is read" if detected.source else "unpacked videos"
        them = "its path" if one else "the path of one"
        yield Unread(name, f"{'it lies' if one else 'they lie'} beside {place}; give {them} to read it")


def _tables(folder: Path) -> list[Path]:
    """Tables in a folder and its direct subfolders; files that go with a video of the same name are none."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        videos = {name for name in files if is_video(name)}
        videos |= {os.path.splitext(name)[0] for name in videos}
        found += [
            Path(parent, name)
            for name in files
            if name.lower().endswith((*_TABLES, *_CONFIGS))
            and not name.startswith(".")
            and os.path.splitext(name)[0] not in videos
        ]
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")] if Path(parent) == folder else []
    return sorted(found)


def _why(table: Path, known: Mapping[str, DatasetFormat]) -> str:
    """Why a table of a folder was not read."""
    suffix = table.suffix.lower()
    if suffix in _CONFIGS:
        return "it is the configuration of a trainer; give its path to read what it lists"
    if suffix not in SUFFIXES:
        return f"tables are read from {', '.join(SUFFIXES)}"
    try:
        columns = column_names(table)
        taken = any(reader.detect(table, named=False) is not None for reader in known.values())
    except DatasetError as error:
        return f"it cannot be read: {error}"
    if _LATENTS in columns:
        return "it holds latents that FastVideo precomputed; give the videos, and this file with --latents"
    if taken:
        return (
            f"no format takes a table of that name from a folder; give its path to read it (columns {_shown(columns)})"
        )
    return f"no format has its columns ({_shown(columns)})"


def _shown(columns: Sequence[str]) -> str:
    return ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "") or "none"


def _seen(detected: Detection, known: Mapping[str, DatasetFormat]) -> str:
    tables = [f"{unread.name} ({unread.why})" for unread in _unread_tables(detected, known, ())]
    return f"; not read: {'; '.join(tables)}" if tables else ""


def _refuse_pickles(path: Path) -> None:
    """Say why caches of other tools are not read, rather than that nothing was found."""
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        found = names[0] if names and all(name.lower().endswith(_PICKLES) for name in names) else None
    else:
        found = path.name if path.name.lower().endswith(_PICKLES) else None
    if found is not None:
        raise DatasetError(
            f"{path} must hold videos or a table, got the pickle {found}; reading a pickle runs what it says, so none "
            "is read: give the videos that it was made from"
        )
