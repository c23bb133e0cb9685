"""The dataset formats there are, and the way in that recognises them."""

from __future__ import annotations

from pathlib import Path

from motive.data.base import Dataset
from motive.data.formats.diffsynth import DiffSynth
from motive.data.formats.folder import VideoFiles
from motive.data.formats.jsonl import JsonLines
from motive.data.formats.reader import DatasetFormat, ReadOptions
from motive.data.formats.videofolder import VideoFolder
from motive.data.formats.webdataset import WebDataset
from motive.errors import DatasetError, OptionError

# In the order they are tried: the more specific columns first, bare files last.
FORMATS: tuple[DatasetFormat, ...] = (DiffSynth(), VideoFolder(), JsonLines(), WebDataset(), VideoFiles())


_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")


def read_dataset(
    path: Path | str, format: str = "auto", *, root: Path | str | None = None, follow_links: bool = False
) -> Dataset:
    """Read a dataset's clips, without opening any video.

    Args:
        path: its folder, its table, or one video file.
        format: ``auto``, or a format's name.
        root: folder that relative paths start from, where that is not the table's own.
        follow_links: accept symbolic links that lead out of the root.

    Returns:
        Clips by ascending id; rows that name no usable clip are its failures. There may be no clips at all.

    Raises:
        OptionError: no such format.
        DatasetError: there is nothing to read, or the table cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"read_dataset: path must exist, got {path}; check the spelling")
    _refuse_pickles(path)
    options = ReadOptions(Path(root) if root is not None else None, follow_links)
    if format != "auto":
        return dataset_format(format).read(path, options)
    for reader in FORMATS:
        if reader.detect(path):
            return reader.read(path, options)
    raise DatasetError(
        f"read_dataset: path must hold a dataset ({', '.join(f.name for f in FORMATS)}), got {path} with neither "
        "a table of clips nor tar shards nor video files; see docs/formats/datasets.md"
    )


def _refuse_pickles(path: Path) -> None:
    """Say why caches of other tools are not read, rather than that nothing was found."""
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        found = names[0] if names and all(name.lower().endswith(_PICKLES) for name in names) else None
    else:
        found = path.name if path.name.lower().endswith(_PICKLES) else None
    if found is not None:
        raise DatasetError(
            f"read_dataset: path must hold videos or a table, got the pickle {found}; reading a pickle runs what it "
            "says, so none is read: give the videos that it was made from"
        )


def dataset_format(name: str) -> DatasetFormat:
    """The format of that name.

    Raises:
        OptionError: there is none.
    """
    for reader in FORMATS:
        if reader.name == name:
            return reader
    known = ", ".join(reader.name for reader in FORMATS)
    raise OptionError(f"read_dataset: format must be auto or one of {known}, got {name!r}; choose one")
