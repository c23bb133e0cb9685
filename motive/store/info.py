"""Contents of a store, from its records, without reading a vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from motive.data.video.facts import describe_use, read_notes
from motive.errors import OptionError
from motive.result import Result
from motive.store.manifest import Manifest
from motive.store.store import Store


@dataclass(frozen=True)
class StoreInfo(Result):
    """A store in a few facts.

    Attributes:
        path: where it is.
        manifest: its manifest.
        version: digest of which clips are there.
        clips: with a vector.
        shards: that count.
        rows_per_shard: smallest and largest of the vector shards; zeros if there is none.
        bytes: of all shards that count.
        writers: names that shards were committed under.
        replaced: shards that later ones replace, whose files are still there.
        failures: reason -> clips that were left out and have no vector.
        first, last: times of the first and the last commit, or empty.
        buckets: bucket -> rows, the largest first; empty for a store without buckets.
    """

    path: str
    manifest: Manifest
    version: str
    clips: int
    shards: int
    rows_per_shard: tuple[int, int]
    bytes: int
    writers: int
    replaced: int
    failures: dict[str, int]
    first: str
    last: str
    buckets: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The facts for people."""
        manifest, identity = self.manifest, self.manifest.identity
        lines = [
            f"store        {self.path}",
            f"format       version {manifest.version}, made {manifest.created} by "
            f"{manifest.package.name} {manifest.package.version}",
            f"vectors      {self.clips:,} of width {manifest.dim}, version {self.version}",
            f"projection   {identity.projection_type or '?'}, identity {manifest.identity_digest['projection']}",
            f"gradient     {identity.family or '?'}, identity {manifest.identity_digest['gradient']}",
        ]
        lines += [f"weights      {part}: {value}" for part, value in sorted(identity.fingerprints.items())]
        source = manifest.origin.source
        if source is not None:
            lines.append(f"dataset      {source.location or '?'} ({source.format})")
        if self.buckets:
            shown = ", ".join(f"{name} {count:,}" for name, count in self.buckets.items())
            lines.append(f"buckets      {shown}")
        low, high = self.rows_per_shard
        lines += [
            f"shards       {self.shards:,} of {low:,} to {high:,} clips by {self.writers:,} writers, "
            f"{self.bytes / 1e6:,.1f} MB",
            f"committed    {self.first or 'nothing'} to {self.last or 'nothing'}",
        ]
        if self.replaced:
            lines.append(f"replaced     {self.replaced:,} shards whose files are still there")
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.failures.items()))
        return [*lines, f"left out     {left_out or 'none'}"]


def store_info(path: Path | str) -> StoreInfo:
    """Read a store's records and ids.

    Raises:
        StoreError: there is no store, or a record is damaged.
    """
    store = Store.open(path)
    commits = list(store.commits.values())
    rows = [commit.rows for commit in commits if commit.kind == "vectors"]
    times = sorted(commit.created for commit in commits)
    return StoreInfo(
        path=store.location,
        manifest=store.manifest,
        version=store.version,
        clips=len(store),
        shards=len(commits),
        rows_per_shard=(min(rows, default=0), max(rows, default=0)),
        bytes=sum(file.size for commit in commits for file in commit.files.values()),
        writers=len({commit.name.rpartition("-")[0] for commit in commits}),
        replaced=len(store.replaced_commits),
        failures=dict(Counter(failure.reason for failure in store.failures())),
        first=times[0] if times else "",
        last=times[-1] if times else "",
        buckets=_buckets(store),
    )


def _buckets(store: Store) -> dict[str, int]:
    """Bucket -> rows, the largest first."""
    if "bucket" not in store.manifest.columns or not len(store):
        return {}
    counts = Counter(store.columns(["bucket"]).column("bucket").to_pylist())
    return dict(sorted(((str(name), count) for name, count in counts.items()), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class ClipInfo(Result):
    """Which part of their files some rows of a store show.

    Attributes:
        rows: (id, path, the part shown, notes); the part is empty where the store does not record it.
        buckets: of each row, WIDTHxHEIGHTxFRAMES; empty for a store without buckets.
    """

    rows: tuple[tuple[str, str, str, tuple[str, ...]], ...]
    buckets: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A paragraph a row."""
        lines = []
        for place, (row_id, path, shown, notes) in enumerate(self.rows):
            lines += [row_id, f"  file    {path}", f"  shown   {shown or 'not recorded by this store'}"]
            lines += [f"  bucket  {self.buckets[place]}"] if self.buckets else []
            lines += [f"  note    {text}" for text in notes]
        return lines


def clip_info(path: Path | str, ids: Sequence[str]) -> ClipInfo:
    """Which part of their files some rows of a store show.

    Args:
        path: the store.
        ids: of clips, or of rows of segments.

    Raises:
        OptionError: the store has no such row.
        StoreError: there is no store, or it is damaged.
    """
    store = Store.open(path)
    places = {row_id: place for place, row_id in enumerate(store.clip_ids) if row_id in set(ids)}
    missing = [row_id for row_id in ids if row_id not in places]
    if missing:
        failure = next((failure for failure in store.failures() if failure.clip_id == missing[0]), None)
        why = f"it was left out: {failure.reason}, {failure.detail}" if failure else "give the id of a clip or segment"
        raise OptionError(f"info: --clip must be an id of {store.location}, got {missing[0]!r}; {why}")
    known = store.identity.known
    fps = known.clip_spec.fps if known else 0.0
    rows = store.columns(None, np.array([places[row_id] for row_id in ids], np.int64)).to_pylist()
    return ClipInfo(
        tuple(
            (
                row["clip_id"],
                str(row.get("path")),
                describe_use(row, fps),
                tuple(text for _, text in read_notes(row.get("notes"))),
            )
            for row in rows
        ),
        tuple(row["bucket"] for row in rows if row.get("bucket")),
    )
