"""The cells of a selection's clips with the types that the dataset's files give them; a clip's columns are text."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from motive.data.base import Dataset
from motive.data.formats.reader import DatasetFormat, Row, id_of
from motive.data.formats.tables import plain_text
from motive.data.paths import PathGuard
from motive.data.shards.listed import found_again
from motive.errors import ClipError, DatasetError


@contextmanager
def originals(
    layout: DatasetFormat, dataset: Dataset, clip_ids: Collection[str], folder: Path
) -> Iterator[tuple[Callable[[str], Mapping[str, Any]], frozenset[str]]]:
    """A function from the id of a selected clip to its cells, as JSON values, and the columns that hold more than one
    type: a table with types could not hold those as they are.

    The dataset's rows are read once more; the cells of the selected ones wait in a nameless temporary file.

    Args:
        layout: format of the dataset, whose rows have ``values``.
        dataset: as it was read.
        clip_ids: of the selected clips.
        folder: where the temporary file goes.

    Raises:
        DatasetError: the dataset no longer holds a selected clip.
    """
    guard = PathGuard.of(dataset.root, dataset.options)
    places: dict[str, tuple[int, int]] = dict.fromkeys(clip_ids, (-1, 0))
    kinds: dict[str, set[type]] = {}
    with tempfile.TemporaryFile(dir=folder) as file:
        for row in layout.rows(found_again(dataset), guard):
            if not isinstance(row, Row) or row.problem is not None:
                continue
            try:
                clip_id = id_of(row, guard)
            except ClipError:
                continue
            if places.get(clip_id, (0, 0))[0] < 0:  # of several rows with one id the first counts
                cells = _plain(row.values or {})
                for name, value in cells.items():
                    kinds.setdefault(name, set()).add(float if type(value) is int else type(value))
                data = json.dumps(cells, ensure_ascii=False).encode("utf-8", "surrogatepass")
                places[clip_id] = (file.tell(), len(data))
                file.write(data)
        lost = [clip_id for clip_id, (start, _) in places.items() if start < 0]
        if lost:
            raise DatasetError(
                f"{dataset.location} no longer holds every selected clip: {lost[0]!r} is missing ({len(lost)} in all); "
                "restore what was read"
            )

        def cells_of(clip_id: str) -> Mapping[str, Any]:
            start, length = places[clip_id]
            file.seek(start)
            return json.loads(file.read(length).decode("utf-8", "surrogatepass"))

        yield cells_of, frozenset(name for name, found in kinds.items() if len(found - {type(None)}) > 1)


def _plain(value: Any) -> Any:
    """A value as JSON has it: NaN is null, and what JSON has no form for is text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, (str, bool, int, float)) else plain_text(value)
