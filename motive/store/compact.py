"""Few large shards out of many small ones, in steps that each leave a whole store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError
from motive.result import Result
from motive.store.records import Commit, commit_file
from motive.store.store import Store
from motive.store.tables import encode_parquet
from motive.store.writer import ShardWriter, random_writer_name

DEFAULT_ROWS = 65536


@dataclass(frozen=True)
class Compaction(Result):
    """What a compaction did.

    Attributes:
        path: the store.
        before, after: committed shards.
        clips: clips of the store, the same as before.
    """

    path: str
    before: int
    after: int
    clips: int

    def lines(self) -> list[str]:
        """The counts."""
        return [f"{self.path}: {self.before} shards became {self.after}, {self.clips} clips"]


def compact(path: Path | str, rows_per_shard: int = DEFAULT_ROWS, *, keep_replaced: bool = False) -> Compaction:
    """Put the rows of small shards together into large ones; clips, vectors and columns stay what they are.

    A new shard names those that it replaces, so one step makes them count no more; then their files are removed.
    Other writers may continue. A reader that opened the store before may meet a shard that is gone, which it reports;
    it opens the store again.

    Args:
        path: the store.
        rows_per_shard: shards with fewer rows are put together, up to that many.
        keep_replaced: leave the files of replaced shards, for readers at work; ``motive repair --sweep`` removes them.

    Raises:
        StoreError: a shard is damaged, or the store cannot be written.
    """
    if rows_per_shard < 1:
        raise OptionError(f"compact: rows_per_shard must be positive, got {rows_per_shard}; try {DEFAULT_ROWS}")
    store = Store.open(path)
    before = store.commits
    writer = ShardWriter(store.files, random_writer_name(), store.manifest)
    _compact_vectors(store, writer, rows_per_shard)
    failed = [commit for commit in before.values() if commit.kind == "failures"]
    standing = store.failures()
    if len(failed) > 1 and standing:
        writer.commit_failures(standing, "compact", _all_replaced(failed))
    done = Store.open(path)
    if not keep_replaced:
        remove_replaced(done)
    return Compaction(store.location, len(before), len(done.commits), len(done))


def remove_replaced(store: Store) -> int:
    """Remove the records, then the files, of shards that others replace; returns how many."""
    gone = store.replaced_commits
    for commit in gone:
        store.files.remove(commit_file(commit.name))
    for commit in gone:
        for suffix in commit.files:
            store.files.remove(commit.file(suffix))
    return len(gone)


def _compact_vectors(store: Store, writer: ShardWriter, rows_per_shard: int) -> None:
    """Rewrite groups of shards, those with the last names first.

    Where a clip was committed twice, the row in the first name counts. Going backwards drops a row that does not
    count while the one that does is still in its place, so no step changes what readers see.
    """
    index = store.index
    every = bool(index.repeated)
    small = [every or commit.rows < rows_per_shard for commit in index.commits]
    empty: list[Commit] = []
    for group in reversed(list(_groups(index.commits, small, rows_per_shard))):
        if len(group) < 2 and not every:
            continue
        rows = _rows_of(index.order, index.starts, group)
        commits = [index.commits[number] for number in group] + empty
        if not rows.size:  # every row is a repeated one: the next group replaces these shards too
            empty = commits
            continue
        vectors = store.vectors_at(rows)
        table = encode_parquet(store.columns(rows=rows))
        writer.commit_block(index.ids.take(rows), vectors, table, _all_replaced(commits))
        empty = []


def _groups(commits: Sequence[Commit], small: Sequence[bool], limit: int) -> Iterator[list[int]]:
    """Runs of small shards, in order of name, that together stay within the limit."""
    group: list[int] = []
    rows = 0
    for number, commit in enumerate(commits):
        if not small[number]:
            continue
        if group and rows + commit.rows > limit:
            yield group
            group, rows = [], 0
        group.append(number)
        rows += commit.rows
    if group:
        yield group


def _rows_of(order: NDArray[np.int64], starts: NDArray[np.int64], group: Sequence[int]) -> NDArray[np.int64]:
    """Rows of the store, ascending, whose clip counts in one of the shards."""
    shard = np.searchsorted(starts, order, side="right") - 1
    return np.flatnonzero(np.isin(shard, np.asarray(group)))


def _all_replaced(commits: Sequence[Commit]) -> list[str]:
    """Names of the shards and of all that those replaced, whose files may still be there."""
    return sorted({name for commit in commits for name in (commit.name, *commit.replaces)})
