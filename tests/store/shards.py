"""Shards under a chosen writer name, as separate processes would commit them."""

from __future__ import annotations

from collections.abc import Sequence

from motive.data.base import Failure
from motive.store import Store, StoreRow
from motive.store.writer import ShardWriter


def commit(
    store: Store, name: str, rows: Sequence[StoreRow] = (), failures: Sequence[Failure] = (), rows_per_shard: int = 256
) -> None:
    """Commit rows and then failures under a writer's name, and let the store see them."""
    writer = ShardWriter(store.files, name, store.manifest)
    for start in range(0, len(rows), rows_per_shard):
        writer.commit_rows(rows[start : start + rows_per_shard], "test")
    if failures:
        writer.commit_failures(failures, "test")
        store.write_failed()
    store.refresh()
