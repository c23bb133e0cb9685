"""The selected clips as a sequence that lies on disk, so that a selection of any size needs little memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from motive.data import SubsetRow
from motive.extras import require
from motive.scores.stores import ScoredStores
from motive.store.ids import clip_of
from motive.store.source import INDEX_COLUMNS, clips_of

_FETCHED = 1 << 16
"""Clips that are fetched from the stores at once: each fetch reads the index of every shard."""
_BATCH = 1 << 12


class SelectedRows(Sequence[SubsetRow]):
    """Selected clips, best first. What the stores know of them is fetched once, into a nameless temporary file.

    Args:
        stores: that hold them.
        ids: pyarrow array of large_string.
        scores: from a range of places in ``ids`` to the scores of each, with equal names.
        folder: where the temporary file goes.
        segmented: ids are of segments; rows name their clips.
        where: the operation, for messages.

    Raises:
        StoreError: a store's index does not describe a clip.
        OSError: the temporary file cannot be written.
    """

    def __init__(
        self,
        stores: ScoredStores,
        ids: Any,
        scores: Callable[[range], Sequence[dict[str, Any]]],
        folder: Path,
        segmented: bool,
        where: str,
    ) -> None:
        self._pa = require("pyarrow", where, extra="tables")
        self._scores, self._segmented, self._where, self._count = scores, segmented, where, len(ids)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object
        writer = None
        for start in range(0, len(ids), _FETCHED):
            table = stores.table(ids[start : start + _FETCHED], INDEX_COLUMNS)[1].combine_chunks()
            writer = writer or self._pa.ipc.new_file(self._pa.PythonFile(self._file, "w"), table.schema)
            writer.write_table(table, max_chunksize=_BATCH)
        if writer is not None:
            writer.close()
            self._reader = self._pa.ipc.open_file(self._pa.PythonFile(self._file, "r"))
        self._held: tuple[int, list[SubsetRow]] = (-1, [])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(self._count))]
        place = at + self._count if at < 0 else at
        if not 0 <= place < self._count:
            raise IndexError(f"SelectedRows: row must be below {self._count}, got {at}")
        number, inner = divmod(place, _BATCH)
        if self._held[0] != number:
            self._held = (number, self._batch(number))
        return self._held[1][inner]

    def __iter__(self) -> Iterator[SubsetRow]:
        for number in range(-(-self._count // _BATCH)):
            yield from self._batch(number)

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _batch(self, number: int) -> list[SubsetRow]:
        table = self._pa.Table.from_batches([self._reader.get_batch(number)])
        start = number * _BATCH
        clips = clips_of(table, self._where)
        if self._segmented:
            clips = [replace(clip, clip_id=clip_of(clip.clip_id)) for clip in clips]
        scores = self._scores(range(start, start + len(clips)))
        return [SubsetRow(clip, values) for clip, values in zip(clips, scores, strict=True)]
