"""Merge stores of one identity, row by row; an interrupted merge resumes where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError, StoreError
from motive.result import Result
from motive.store.compact import DEFAULT_ROWS
from motive.store.identity import require_same_identity
from motive.store.ids import ClipIds, clip_of, sort_ids
from motive.store.store import Store
from motive.store.tables import encode_parquet
from motive.store.writer import ShardWriter, random_writer_name


@dataclass(frozen=True)
class Merge(Result):
    """What a merge did.

    Attributes:
        path: where the merged store is.
        added: clips taken over.
        already: clips that were there, from an earlier store or an earlier run of the merge.
        dataset: the dataset that the merged store names as the source of its clips; empty if it names none.
        other_datasets: datasets of the other stores, whose clips the merged store holds without naming them.
    """

    path: str
    added: int
    already: int
    dataset: str = ""
    other_datasets: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The counts, and clips that a selection cannot write."""
        lines = [f"{self.path}: {self.added} clips added, {self.already} were there"]
        if self.other_datasets:
            lines.append(
                f"the store names {self.dataset or 'no dataset'} as the source of its clips; motive select cannot "
                f"write those of {', '.join(self.other_datasets)}"
            )
        return lines


def merge_stores(out: Path | str, sources: Sequence[Path | str], rows_per_shard: int = DEFAULT_ROWS) -> Merge:
    """Bring the clips of several stores into one; of a clip that several hold, the first source's counts.

    A store names one dataset. A new one names that of the first source, and the result lists the others.

    Args:
        out: a new store, or one of the same identity, which keeps what it has. May be an address, and so may the
            sources: this is how a store is copied to another place.
        sources: stores of equal identity and columns.
        rows_per_shard: rows of the shards that are made, up to the end of a clip whose segments would be cut apart.

    Raises:
        IdentityMismatch: the vectors of two stores cannot be compared.
        StoreError: a source is damaged, or ``out`` cannot be written.
    """
    if not sources or rows_per_shard < 1:
        raise OptionError(
            f"merge: sources must name at least one store and rows_per_shard be positive, got {len(sources)} stores and "
            f"{rows_per_shard} rows; give the stores to merge"
        )
    opened = [Store.open(source) for source in sources]
    target = _target(out, opened[0])
    for store in opened:
        require_same_identity(target.identity, store.identity, f"merge {store.location}")
        if store.manifest.columns != target.manifest.columns:
            raise StoreError(
                f"merge: {store.location} has other index columns than {target.location}; index again with one version"
            )
        if store.segments != target.segments:
            raise StoreError(
                f"merge: segments must be those of {target.location} ({target.segments or 'none'}), got "
                f"{store.segments or 'none'} in {store.location}; index again with the same"
            )
    writer = ShardWriter(target.files, random_writer_name(), target.manifest)
    added = already = 0
    for store in opened:
        rows = missing_rows(target.ids, store.ids)
        already += len(store) - rows.size
        added += rows.size
        for part in _parts(store, rows, rows_per_shard):
            table = encode_parquet(store.columns(rows=part))
            writer.commit_block(store.ids.take(part), store.vectors_at(part), table)
        target.refresh()
        target.append_failures(store.failures())
    target.write_failed()
    return Merge(target.location, added, already, *_datasets(target, opened))


def _datasets(target: Store, opened: Sequence[Store]) -> tuple[str, tuple[str, ...]]:
    """(dataset that the target names, those that only the other stores name)."""
    named = target.manifest.origin.source
    others = [store.manifest.origin.source for store in opened]
    foreign = [other for other in others if other is not None and not (named and named.holds_clips_of(other))]
    return named.place if named else "", tuple(dict.fromkeys(other.place for other in foreign))


def _parts(store: Store, rows: NDArray[np.int64], rows_per_shard: int) -> Iterator[NDArray[np.int64]]:
    """Rows of one shard after another, each ascending; the segments of a clip stay together."""
    ends = np.arange(1, rows.size + 1)
    if store.segments:
        # Ids a#t0, a#b#t0 and a#u0 lie in that order of bytes or another: a clip's rows need not be neighbours.
        clips = [clip_of(row_id) for row_id in store.ids.take(rows)]
        numbers = {clip: number for number, clip in enumerate(dict.fromkeys(clips))}
        owner = np.array([numbers[clip] for clip in clips], np.int64)
        order = np.argsort(owner, kind="stable")
        rows, ends = rows[order], np.searchsorted(owner[order], owner[order], side="right")
    start = 0
    while start < rows.size:
        stop = int(ends[min(start + rows_per_shard, rows.size) - 1])
        yield np.sort(rows[start:stop])
        start = stop


def missing_rows(held: ClipIds, wanted: ClipIds) -> NDArray[np.int64]:
    """Rows of ``wanted``, ascending, whose id is not among ``held``; both sorted, without a loop over ids."""
    both = ClipIds.concatenate([held, wanted])
    order, repeated = sort_ids(both)
    known = order[repeated] - len(held)
    return np.setdiff1d(np.arange(len(wanted)), known, assume_unique=True)


def _target(out: Path | str, like: Store) -> Store:
    try:
        return Store.open(out)
    except StoreError:
        return Store.create_like(out, like.manifest)
