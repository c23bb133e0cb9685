"""A store: the vectors of a dataset's clips, what they were made with, and where each clip lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.config import from_json
from motive.data.base import Failure
from motive.errors import OptionError, StoreError
from motive.publish import TEMPORARY_PREFIX
from motive.store.failures import FailureList
from motive.store.files import Files, LocalFiles
from motive.store.identity import Identity
from motive.store.ids import ClipIds, clip_of
from motive.store.index import Index, ShardFiles, committed_names, load_commit, read_table, standing, version_of
from motive.store.location import open_files
from motive.store.manifest import MANIFEST, MANIFEST_COPY, Manifest, Origin, new_manifest, parse_manifest
from motive.store.records import COMMITS, SHARDS, Commit
from motive.store.tables import INDEX_COLUMNS, arrow, schema
from motive.store.writer import ShardWriter, StoreRow, random_writer_name

CACHE = "cache"
_OWN_ENTRIES = (SHARDS, COMMITS, CACHE)


class Store:
    """A folder of committed shards, seen as one list of clips sorted by clip id.

    Made by Store.create or Store.open. Readers see the shards that were committed when the store was opened,
    plus those that this object commits; refresh() shows those of other writers. Opening reads the manifest and
    the commit records; ids, index columns and vectors are read when they are asked for.
    """

    def __init__(self, files: Files, manifest: Manifest, check: bool) -> None:
        self._files = files
        self._manifest = manifest
        self._commits: dict[str, Commit] = {}
        self._index: Index | None = None
        self._shards = ShardFiles(files, manifest.dim, check)
        self._own: ShardWriter | None = None
        self._appended: set[str] = set()  # ids committed by this object since the index was built
        self._failed = FailureList(files, self._has_vector)
        self.refresh()

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        identity: Identity | Mapping[str, Any],
        columns_schema: Mapping[str, str] = INDEX_COLUMNS,
        dim: int | None = None,
        segments: str = "",
        vectors_digest: str = "",
        origin: Origin | None = None,
    ) -> Store:
        """Make an empty store.

        Args:
            path: a folder that does not exist or is empty.
            identity: {"projection": {...}, "gradient": {...}} of JSON values: all that vectors depend on.
            columns_schema: index columns, name -> string, bool, int32, int64, float32 or float64.
            dim: k; None takes ``dim`` of the identity's projection.
            segments: how clips are cut into segments; rows then have ids ``<clip id>#<segment>``.
            vectors_digest: digest of all that decides a vector to its last bit, if it is known.
            origin: what the store is made from and with.

        Raises:
            OptionError: an argument cannot be used, or the folder holds something already.
            StoreError: the folder cannot be written.
        """
        where = "Store.create"
        if not isinstance(identity, Identity):
            identity = from_json(Identity, identity, where)
        if dim is None:
            dim = identity.projection_dim
            if dim is None:
                raise OptionError(f"{where}: dim must be in identity.projection or given; pass dim")
        draft = Manifest(identity, dim, columns_schema, segments, vectors_digest, origin or Origin())
        return cls.create_like(path, draft)

    @classmethod
    def create_like(cls, path: Path | str, manifest: Manifest) -> Store:
        """Make an empty store whose manifest has the fields of another one, but for times and digests.

        Raises:
            OptionError: a field cannot be used, or the folder holds something already.
            StoreError: the folder cannot be written.
        """
        where, files = "Store.create", open_files(path)
        manifest = new_manifest(manifest, where)
        _require_free(files, where)
        try:
            files.publish(MANIFEST, manifest.encode(), replace=False)
        except FileExistsError as error:
            raise _exists(files, where) from error
        files.publish(MANIFEST_COPY, manifest.encode(), replace=True)
        return cls(files, manifest, check=True)

    @classmethod
    def open(cls, path: Path | str, *, check: bool = True) -> Store:
        """Open a store for reading and appending.

        Args:
            path: the store's folder.
            check: hash each shard before its first vectors are handed out (about a second a gigabyte);
                False trusts the disk.

        Raises:
            StoreError: there is no store, it is damaged, or another version wrote it.
        """
        files = open_files(path)
        if files.size(MANIFEST) is None:
            raise StoreError(
                f"Store.open: path must be a store with a {MANIFEST}, got {path} without one; "
                "check the path, or make a store with motive index"
            )
        return cls(files, parse_manifest(files.read(MANIFEST), files.where(MANIFEST)), check)

    @property
    def replaced_commits(self) -> list[Commit]:
        """Records of the shards that others replace, whose files are still there."""
        return [commit for name, commit in sorted(self._commits.items()) if name not in self.commits]

    @property
    def index(self) -> Index:
        """Where each clip's row is."""
        return self._merged()

    @property
    def location(self) -> str:
        """Where the store is: a folder, or an address such as s3://bucket/store."""
        return self._files.location

    @property
    def path(self) -> Path:
        """The store's folder.

        Raises:
            StoreError: the store is not on a local disk.
        """
        if not isinstance(self._files, LocalFiles):
            raise StoreError(
                f"Store.path: the store must be on a local disk, got {self.location}; copy it with motive merge"
            )
        return self._files.root

    @property
    def files(self) -> Files:
        """The place that the store's bytes are kept in."""
        return self._files

    @property
    def manifest(self) -> Manifest:
        """What the store holds, and what it was made from and with."""
        return self._manifest

    @property
    def identity(self) -> Identity:
        """What the vectors depend on."""
        return self._manifest.identity

    @property
    def dim(self) -> int:
        """k, the width of the vectors."""
        return self._manifest.dim

    @property
    def segments(self) -> str:
        """How clips were cut into segments, a row each with id ``<clip id>#<segment>``; empty for a row a clip."""
        return self._manifest.segments

    @property
    def model_parts(self) -> list[str]:
        """Parts of the model whose vectors lie side by side in a clip's vector, each as wide; empty for one of all."""
        return list(self.identity.model_parts)

    @property
    def version(self) -> str:
        """Digest of which clips are there; it changes whenever vectors are added."""
        return version_of(self._commits)

    @property
    def commits(self) -> dict[str, Commit]:
        """Records of the shards that count, by name."""
        return standing(self._commits)

    @property
    def ids(self) -> ClipIds:
        """Clip ids without Python objects, sorted."""
        return self._merged().ids

    @property
    def clip_ids(self) -> list[str]:
        """Clip ids, sorted."""
        return self.ids.tolist()

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self) -> NDArray[np.float32]:
        """All vectors, [n, k], in the order of clip_ids.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        vectors = np.empty((len(self), self.dim), np.float32)
        for start, block in self.blocks():
            vectors[start : start + len(block)] = block
        return vectors

    def blocks(self, rows: int = 65536) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (row of the first clip, vectors [m, k]) in the order of clip_ids; holds one block."""
        if rows < 1:
            raise OptionError(f"Store: rows must be positive, got {rows}; try 65536")
        index = self._merged()
        for start in range(0, len(index.ids), rows):
            yield start, self._gather(index, np.arange(start, min(start + rows, len(index.ids))))

    def vectors_at(self, rows: NDArray[np.int64], *, check: bool = True) -> NDArray[np.float32]:
        """Vectors of the given rows of clip_ids, [m, k], in that order.

        Args:
            rows: in any order.
            check: hash a shard before its first vectors are handed out, unless the store was opened without; False
                leaves it to the caller to tell whether the vectors are right.
        """
        return self._gather(self._merged(), np.asarray(rows, np.int64), check)

    def columns(self, names: Sequence[str] | None = None, rows: NDArray[np.int64] | None = None) -> Any:
        """Index columns as a pyarrow.Table.

        Args:
            names: columns, ``clip_id`` among them if it is wanted; None takes all.
            rows: rows of clip_ids, in the order wanted; None takes all. Only shards that hold one are read.

        Raises:
            OptionError: the store has no such column.
            StoreError: a shard is missing or damaged.
        """
        known = ["clip_id", *self._manifest.columns]
        wanted = known if names is None else list(names)
        if unknown := [name for name in wanted if name not in known]:
            raise OptionError(f"Store.columns: names must be among {', '.join(known)}, got {unknown[0]!r}; choose one")
        index, pa = self._merged(), arrow()
        rows = np.arange(len(index.ids)) if rows is None else np.asarray(rows, np.int64)
        target = schema(self._manifest.columns)
        parts, places = [pa.Table.from_batches([], schema=target).select(wanted)], [np.empty(0, np.int64)]
        for commit, group, inner in index.by_shard(rows):
            table = read_table(self._files, commit, self._manifest.columns)
            parts.append(table.select(wanted).take(pa.array(inner)))
            places.append(group)
        stored = np.concatenate(places)
        back = np.empty(stored.size, np.int64)
        back[stored] = np.arange(stored.size)
        return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()

    def done_ids(self) -> set[str]:
        """Ids of the clips that have a vector, or vectors of their segments."""
        return set(self.clips_of(self.clip_ids))

    def clips_of(self, row_ids: Sequence[str]) -> Sequence[str]:
        """The clip that each row belongs to: in a store of segments several rows are of one clip."""
        return [clip_of(row_id) for row_id in row_ids] if self.segments else row_ids

    def failures(self) -> list[Failure]:
        """Clips that were left out and have no vector, sorted by clip id; of a clip's failures, the latest."""
        return self._failed.listed()

    def append(self, rows: Sequence[StoreRow]) -> None:
        """Commit one shard; on return it is on disk, and after an error nothing was added.

        No rows, no shard. A clip id that the store holds already is not checked here: readers take the first
        in order of shard name, and verify reports the other.

        Raises:
            OptionError: a row is not fit to be stored: its message names the clip.
            StoreError: the store cannot be written.
        """
        if not rows:
            return
        commit = self._writer().commit_rows(rows, "Store.append")
        self._commits[commit.name] = commit
        clips = self.clips_of([row.clip_id for row in rows])
        if self._index is not None:
            self._appended.update(clips)
        self._failed.resolve(clips)

    def append_failures(self, failures: Sequence[Failure]) -> None:
        """Commit clips that were left out, and write failed.parquet again."""
        fresh = self._failed.news(failures)
        if not fresh:
            return
        commit = self._writer().commit_failures(fresh, "Store.append_failures")
        self._commits[commit.name] = commit
        self._failed.add(commit, fresh)

    def refresh(self) -> None:
        """Take in the shards that other writers have committed since the store was opened.

        Raises:
            StoreError: a commit record is damaged or gone.
        """
        names = committed_names(self._files)
        digest = self._manifest.digest
        before, known = self.commits, self._commits
        records = {name: known.get(name) or load_commit(self._files, name, digest) for name in names}
        replaced = {name for commit in records.values() for name in commit.replaces}
        if gone := sorted(set(known) - set(names) - replaced):
            raise StoreError(
                f"{self._files.where(COMMITS)}: shard {gone[0]} was removed while the store was open; reopen the store"
            )
        self._commits = records
        after = self.commits
        if [n for n, c in before.items() if c.kind == "vectors"] != [
            n for n, c in after.items() if c.kind == "vectors"
        ]:
            self._index = None
            self._appended.clear()
        self._failed.reset(commit for commit in after.values() if commit.kind == "failures")

    def write_failed(self) -> None:
        """Write failed.parquet from the failures as they stand, those of other writers included."""
        self.refresh()
        self._failed.write()

    def _writer(self) -> ShardWriter:
        self._own = self._own or ShardWriter(self._files, random_writer_name(), self._manifest)
        return self._own

    def _merged(self) -> Index:
        """The index of all commits known to this object."""
        if self._index is None or self._appended:
            commits = [commit for commit in self.commits.values() if commit.kind == "vectors"]
            self._index = Index.merge(commits, [self._shards.ids(commit) for commit in commits])
            self._appended.clear()
        return self._index

    def _has_vector(self, clip_id: str) -> bool:
        index = self._index if self._index is not None else self._merged()
        if self.segments:
            return clip_id in self._appended or index.ids.holds_segment(clip_id)
        return clip_id in self._appended or index.ids.find(clip_id) >= 0

    def _gather(self, index: Index, rows: NDArray[np.int64], check: bool = True) -> NDArray[np.float32]:
        """Vectors of the given rows; rows near each other in a shard are read in one piece."""
        vectors = np.empty((rows.size, self.dim), np.float32)
        near = max(1, self._files.near_bytes // (4 * self.dim))
        for commit, places, inner in index.by_shard(rows):
            order = np.argsort(inner, kind="stable")
            cuts = np.flatnonzero(np.diff(inner[order]) > near) + 1
            for piece in np.split(order, cuts):
                first, last = int(inner[piece[0]]), int(inner[piece[-1]])
                block = self._shards.vectors(commit, first, last + 1, check)
                vectors[places[piece]] = block[inner[piece] - first]
        return vectors


def _require_free(files: Files, where: str) -> None:
    """Refuse a folder that holds anything but what a creation cut short can leave."""
    if files.size(MANIFEST) is not None:
        raise _exists(files, where)
    foreign = [name for name in files.entries() if name not in _OWN_ENTRIES and not name.startswith(TEMPORARY_PREFIX)]
    if foreign:
        raise OptionError(
            f"{where}: path must be a new or empty folder, got {files.location} with {foreign[0]} in it; choose another"
        )


def _exists(files: Files, where: str) -> OptionError:
    return OptionError(f"{where}: path must be new, got the store {files.location}; open it, or choose another path")
