"""Adding shards: many writers, no locks, one atomic step that makes a shard exist."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.data.base import Failure
from motive.errors import OptionError, StoreError
from motive.store.files import Files
from motive.store.fingerprint import digest
from motive.store.ids import ClipIds
from motive.store.manifest import Manifest
from motive.store.records import (
    COMMITS,
    SHARDS,
    Commit,
    FileRecord,
    check_writer_name,
    commit_file,
    encode_commit,
    shard_file,
    shard_name,
    utc_now,
)
from motive.store.shard import encode_vectors
from motive.store.tables import encode_failures, encode_table

_NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})
_LAST_SEQUENCE = 99_999_999


@dataclass(frozen=True)
class StoreRow:
    """One clip to be stored.

    Attributes:
        clip_id: stable name, not empty.
        vector: [k] float32, finite.
        columns: values of the store's index columns; a column left out is null.
    """

    clip_id: str
    vector: NDArray[np.float32]
    columns: Mapping[str, Any] = field(default_factory=lambda: _NO_COLUMNS)


class ShardWriter:
    """Commits shards under one writer name.

    Args:
        files: the store's files.
        name: the writer's name: 1 to 64 of A-Z a-z 0-9 _ -.
        manifest: the store's manifest.
    """

    def __init__(self, files: Files, name: str, manifest: Manifest) -> None:
        check_writer_name(name, "ShardWriter")
        self.name = name
        self._files = files
        self._manifest = manifest
        self._sequence = 0

    def commit_rows(self, rows: Sequence[StoreRow], where: str) -> Commit:
        """Write one shard of vectors; see Store.append."""
        rows = sorted(rows, key=lambda row: row.clip_id if isinstance(row.clip_id, str) else "")
        ids = ClipIds.encode([row.clip_id for row in rows], where)
        for before, row in pairwise(rows):
            if before.clip_id == row.clip_id:
                raise OptionError(f"{where}: clip_id must be unique, got {row.clip_id!r} twice; leave one out")
        dim = self._manifest.dim
        vectors = np.stack([_checked_vector(row, dim, where) for row in rows])
        names = [row.clip_id for row in rows]
        table = encode_table(names, [row.columns for row in rows], self._manifest.columns, where)
        return self.commit_block(ids, vectors, table)

    def commit_block(
        self, ids: ClipIds, vectors: NDArray[np.float32], table: bytes, replaces: Sequence[str] = ()
    ) -> Commit:
        """Write one shard of rows that are known to be sound.

        Args:
            ids: sorted, each once.
            vectors: [n, k], finite.
            table: Parquet bytes of the index columns, in the same order.
            replaces: shards that this one stands for from now on.
        """
        tensors, ids_digest = encode_vectors(ids, vectors)
        contents = {"parquet": table, "safetensors": tensors}
        return self._commit("vectors", len(ids), contents, ids_digest, replaces)

    def commit_failures(self, failures: Sequence[Failure], where: str, replaces: Sequence[str] = ()) -> Commit:
        """Write one shard of failures; see Store.append_failures."""
        listed = sorted(failures, key=lambda failure: (failure.clip_id, failure.path))
        return self._commit("failures", len(listed), {"parquet": encode_failures(listed, where)}, "", replaces)

    def _commit(
        self, kind: str, rows: int, contents: Mapping[str, bytes], ids_digest: str, replaces: Sequence[str]
    ) -> Commit:
        """Claim a name, write the shard's files, force them to disk, then publish the commit record."""
        name = self._write_files(contents)
        self._files.sync(SHARDS)
        records = {suffix: FileRecord(len(data), digest(data)) for suffix, data in contents.items()}
        manifest_digest = self._manifest.digest
        draft = Commit(
            name, kind, rows, records, ids_digest, manifest_digest, utc_now(), replaces=tuple(sorted(replaces))
        )
        data, commit = encode_commit(draft)
        try:
            self._files.publish(commit_file(name), data, replace=False)
        except FileExistsError as error:
            raise StoreError(
                f"{self._files.where(commit_file(name))}: the commit must be new, got an existing one without its "
                "shard files; run motive verify on the store"
            ) from error
        except StoreError:
            if self._files.size(commit_file(name)) is None:  # a shard that became visible keeps its files
                for suffix in contents:
                    self._files.remove(shard_file(name, suffix))
            raise
        return commit

    def _write_files(self, contents: Mapping[str, bytes]) -> str:
        """Write the files under the writer's next free name.

        The Parquet file, which every shard has, comes first and claims the name: it is created only if there is none.
        """
        while self._sequence <= _LAST_SEQUENCE:
            name = shard_name(self.name, self._sequence)
            self._sequence += 1
            if self._files.size(commit_file(name)) is not None:
                continue
            written: list[str] = []
            try:
                for suffix, data in sorted(contents.items()):
                    self._files.create(shard_file(name, suffix), data)
                    written.append(shard_file(name, suffix))
                return name
            except (FileExistsError, StoreError) as error:
                for file in written:
                    self._files.remove(file)
                if isinstance(error, StoreError):
                    raise
        raise StoreError(
            f"{self._files.where(COMMITS)}: writer {self.name!r} has no free sequence number left; use another writer name"
        )


def random_writer_name() -> str:
    """A name that no other writer has."""
    return f"w{secrets.token_hex(8)}"


def _checked_vector(row: StoreRow, dim: int, where: str) -> NDArray[np.float32]:
    vector = np.asarray(row.vector)
    if vector.shape != (dim,) or vector.dtype != np.float32:
        raise OptionError(
            f"{where}: vector of {row.clip_id!r} must be float32 [{dim}], got {vector.dtype} {list(vector.shape)}; "
            "project with the store's projection"
        )
    if not np.isfinite(vector).all():
        raise OptionError(
            f"{where}: vector of {row.clip_id!r} must be finite, got NaN or infinity; report the clip as failed"
        )
    return vector
