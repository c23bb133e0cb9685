"""Index of shards and of each clip's row: the merged view that readers see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import StoreError
from motive.store.files import Files
from motive.store.fingerprint import digest, digest_chunks
from motive.store.ids import ClipIds, sort_ids
from motive.store.records import COMMITS, Commit, commit_file, is_shard_name, parse_commit
from motive.store.shard import Layout, read_ids, read_layout, read_vectors
from motive.store.tables import decode_table

_NAME_SUFFIX = ".json"


def committed_names(files: Files) -> list[str]:
    """Names of the shards that exist, sorted; other files in the folder are ignored."""
    stems = (name[: -len(_NAME_SUFFIX)] for name in files.names(COMMITS) if name.endswith(_NAME_SUFFIX))
    return [stem for stem in stems if is_shard_name(stem)]


def load_commit(files: Files, name: str, manifest_digest: str) -> Commit:
    """Read one commit record.

    Raises:
        StoreError: it is damaged, or belongs to another store.
    """
    where = files.where(commit_file(name))
    commit = parse_commit(files.read(commit_file(name)), name, where)
    if commit.manifest_digest != manifest_digest:
        raise StoreError(
            f"{where}: manifest_digest must be {manifest_digest}, got {commit.manifest_digest}; "
            "the shard belongs to another store: remove it"
        )
    return commit


def standing(commits: Mapping[str, Commit]) -> dict[str, Commit]:
    """The shards that count, in order of name: those that no other one replaces."""
    replaced = {name for commit in commits.values() for name in commit.replaces}
    return {name: commit for name, commit in sorted(commits.items()) if name not in replaced}


def version_of(commits: Mapping[str, Commit]) -> str:
    """Digest of which vector shards count; it changes when clips are added."""
    lines = (f"{name}:{commit.digest}\n" for name, commit in standing(commits).items() if commit.kind == "vectors")
    return digest("".join(lines).encode())


@dataclass(frozen=True)
class Index:
    """The clips of a store in the order of their ids.

    Attributes:
        commits: the vector shards, in order of name.
        ids: [n] ids, sorted, each once.
        order: [n] row of each clip among the rows of all shards, one shard after another.
        starts: [s + 1] first row of each shard, and the number of rows.
        repeated: ids found more than once, each with the number of its rows that are left out.
    """

    commits: tuple[Commit, ...]
    ids: ClipIds
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    repeated: Mapping[str, int]

    @classmethod
    def merge(cls, commits: Sequence[Commit], shards: Sequence[ClipIds]) -> Index:
        """From the ids of all shards, in order of shard name: of equal ids, the first counts."""
        ids = ClipIds.concatenate(shards)
        order, again = sort_ids(ids)
        repeated: dict[str, int] = {}
        for row in order[again]:
            clip_id = ids[int(row)]
            repeated[clip_id] = repeated.get(clip_id, 0) + 1
        kept = order[~again]
        starts = np.cumsum([0, *(len(shard) for shard in shards)], dtype=np.int64)
        in_order = kept.size == len(ids) and bool((kept[1:] > kept[:-1]).all())
        return cls(tuple(commits), ids if in_order else ids.take(kept), kept, starts, repeated)

    def by_shard(self, rows: NDArray[np.int64]) -> Iterator[tuple[Commit, NDArray[np.int64], NDArray[np.int64]]]:
        """Group rows of the store by shard: yield (shard, places in ``rows``, rows inside the shard)."""
        stored = self.order[rows]
        shard = np.searchsorted(self.starts, stored, side="right") - 1
        places = np.argsort(shard, kind="stable")
        present, first = np.unique(shard[places], return_index=True)
        edges = pairwise([*first.tolist(), places.size])
        for number, (start, stop) in zip(present.tolist(), edges, strict=True):
            group = places[start:stop]
            yield self.commits[number], group, stored[group] - self.starts[number]


class ShardFiles:
    """The vector shards of a store, each checked against its commit before its vectors are handed out.

    Args:
        files: the store's files.
        dim: k.
        check: whether the content of a shard is hashed before its first vectors are read.
    """

    def __init__(self, files: Files, dim: int, check: bool) -> None:
        self._files = files
        self._dim = dim
        self._check = check
        self._layouts: dict[str, Layout] = {}
        self._checked: set[str] = set()

    def ids(self, commit: Commit) -> ClipIds:
        """Ids of one shard."""
        return read_ids(self._files, commit.file("safetensors"), self._layout(commit), commit.rows, commit.ids_digest)

    def vectors(self, commit: Commit, start: int, stop: int, check: bool = True) -> NDArray[np.float32]:
        """Rows start to stop - 1 of one shard, [stop - start, k]; check: False hands them out as they are."""
        name, layout = commit.file("safetensors"), self._layout(commit)
        if check and self._check and commit.name not in self._checked:
            check_content(self._files, name, commit.files["safetensors"].digest)
            self._checked.add(commit.name)
        return read_vectors(self._files, name, layout, self._dim, start, stop)

    def _layout(self, commit: Commit) -> Layout:
        if commit.name not in self._layouts:
            name = commit.file("safetensors")
            check_size(self._files, name, commit.files["safetensors"].size)
            self._layouts[commit.name] = read_layout(self._files, name, commit.rows, self._dim)
        return self._layouts[commit.name]


def read_table(files: Files, commit: Commit, columns: Mapping[str, str]) -> Any:
    """The Parquet table of a shard, its bytes checked against the commit.

    Raises:
        StoreError: it is missing or damaged.
    """
    name, expected = commit.file("parquet"), commit.files["parquet"]
    check_size(files, name, expected.size)
    data = files.read(name)
    _require_digest(files, name, digest(data), expected.digest)
    return decode_table(data, columns, commit.rows, files.where(name))


def check_size(files: Files, name: str, expected: int) -> None:
    """Refuse a file that is missing or not as long as its commit says."""
    size = files.size(name)
    if size != expected:
        found = "none" if size is None else f"{size} bytes"
        raise StoreError(
            f"{files.where(name)}: the file must hold {expected} bytes, got {found}; "
            "run motive verify, or restore it from a copy"
        )


def check_content(files: Files, name: str, expected: str) -> None:
    """Refuse a file whose bytes are not those its commit promises."""
    _require_digest(files, name, digest_chunks(files.chunks(name)), expected)


def _require_digest(files: Files, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise StoreError(
            f"{files.where(name)}: content must have digest {expected}, got {found}; "
            "the file is damaged: run motive verify, or restore it from a copy"
        )
