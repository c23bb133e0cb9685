"""The groups that clips belong to: a column's value, the source video, the cluster of the caption."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from motive.curate.amounts import CAPTION, SOURCE, Grouping
from motive.curate.captions import CaptionClusters
from motive.errors import OptionError
from motive.scores.stores import ScoredStores
from motive.store.ids import clip_of

MISSING = ""
"""The value of a clip that has none: a separate group."""

_SOURCE_COLUMNS = ("source_video", "source")
_PART = re.compile(r"(?i)[-_. ]*(?:(?:scene|clip|part|seg|segment|shot|split|chunk)[-_. ]*)?[0-9]+$")
_INDEXED = ("caption", "columns")


def shown_value(value: str) -> str:
    """A group's value for a person."""
    return value or "(missing)"


def source_of(clip_id: str, columns: Mapping[str, str]) -> str:
    """The source video that a clip was cut from.

    It is the cell ``source_video``, else ``source``, where the clip has one. Otherwise it is the clip's id without the
    suffix and without a number at its end, with a word such as ``-Scene-`` before it: ``a/x-Scene-0013.mp4`` and
    ``a/x-Scene-0014.mp4`` are of ``a/x``. A file that is called by a number alone is of its folder.
    """
    given = next((columns[name].strip() for name in _SOURCE_COLUMNS if columns.get(name, "").strip()), None)
    if given is not None:
        return given
    path = PurePosixPath(clip_id)
    stem = _PART.sub("", path.stem)
    folder = "" if str(path.parent) == "." else str(path.parent)
    return f"{folder}/{stem}".strip("/") if stem else folder or path.stem


class Groups:
    """Values of some groupings for clips, a chunk at a time.

    Args:
        groupings: what to group by.
        stores: that hold the clips.
        captions: clusters, if a grouping is by them.
    """

    def __init__(self, groupings: Sequence[Grouping], stores: ScoredStores, captions: CaptionClusters | None) -> None:
        self._groupings, self._stores, self._captions = list(dict.fromkeys(groupings)), stores, captions
        self._seen: set[Grouping] = set()
        named = [grouping.column for grouping in self._groupings if grouping.kind == "column"]
        self._indexed = [name for name in dict.fromkeys(stores.known(named)) if name not in _INDEXED]

    def of(self, ids: Any) -> dict[Grouping, list[str]]:
        """Grouping to the value of each clip; MISSING where it has none.

        Args:
            ids: of clips or of their segments, a pyarrow array of large_string.
        """
        if not self._groupings:
            return {}
        _, table = self._stores.table(ids, ["clip_id", *self._stores.known(_INDEXED), *self._indexed])
        rows = table.to_pylist()
        columns = [_columns(row.get("columns")) for row in rows]
        return {grouping: self._values(grouping, rows, columns) for grouping in self._groupings}

    def check(self) -> None:
        """Refuse a column that no clip which was looked at has.

        Raises:
            OptionError: names the column.
        """
        for grouping in self._groupings:
            if grouping.kind == "column" and grouping not in self._seen:
                raise OptionError(
                    f"select: max_per and min_per must name a column that clips have, got {grouping.column!r}, which "
                    "none has; name a column of the dataset or of the store's index, source, or caption"
                )

    def _values(
        self, grouping: Grouping, rows: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, str]]
    ) -> list[str]:
        if grouping.kind == SOURCE:
            ids = [clip_of(row["clip_id"]) if self._stores.first.segments else row["clip_id"] for row in rows]
            return [source_of(clip_id, own) for clip_id, own in zip(ids, columns, strict=True)]
        if grouping.kind == CAPTION and self._captions is not None:
            return self._captions.of([row.get("caption") or "" for row in rows])
        name = grouping.column
        values = [
            own[name].strip() if name in own else _text(row.get(name)) for row, own in zip(rows, columns, strict=True)
        ]
        if any(values) or any(name in own for own in columns):
            self._seen.add(grouping)
        return values


def _columns(text: str | None) -> Mapping[str, str]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return MISSING if value is None else str(value).strip()
