"""From a scores file back to the stores it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError, StoreError
from motive.extras import require
from motive.scores.file import ScoreFile
from motive.store import Store


def open_scored(file: ScoreFile, role: str, where: str, moved: Path | None = None) -> Store:
    """Open one of the two stores that a scores file was made from.

    Args:
        file: the scores.
        role: ``store`` for the clips, ``queries`` for the queries.
        where: the operation, for messages.
        moved: where the store is now; None takes the place recorded in the scores.

    Raises:
        OptionError: the scores do not say where the store is.
        StoreError: it is missing or damaged, or its vectors were made in another way than those that were scored.
    """
    recorded = file.metadata.get(role)
    if moved is None and not isinstance(recorded, str):
        raise OptionError(f"{where}: {role} must be recorded in {file.path}, got {recorded!r}; give its folder")
    store = Store.open(Path(moved or str(recorded)))
    identities = file.metadata.get("identities")
    scored = identities.get(role) if isinstance(identities, dict) else None
    if scored != store.manifest["identity_digest"]:
        raise StoreError(
            f"{where}: {role} must be the store that was scored, got {store.path} with other settings; "
            "give the folder of that store, or run motive score again"
        )
    return store


def label_in(columns: str | None, name: str | None) -> str:
    """The value of one of a clip's dataset columns, empty for none.

    Args:
        columns: the index column ``columns``: the dataset row as JSON.
        name: the dataset's column; None for no label.
    """
    try:
        value = json.loads(columns or "{}").get(name)
    except (ValueError, AttributeError, RecursionError):
        return ""
    return "" if value is None else str(value).strip()


class Lookup:
    """Finds clips of a store by id; the store may have grown since it was scored.

    Args:
        store: an open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = store.ids.to_arrow()

    def places(self, clip_ids: Any) -> NDArray[np.int64]:
        """Row of each id in the store, -1 where it has none.

        Args:
            clip_ids: pyarrow Array or sequence of str.
        """
        pa, pc = (require(name, "motive/evaluate", extra="tables") for name in ("pyarrow", "pyarrow.compute"))
        wanted = pa.array(clip_ids, pa.large_string())
        return np.asarray(pc.fill_null(pc.index_in(wanted, value_set=self._ids), -1), np.int64)

    def table(self, clip_ids: Any, columns: list[str]) -> tuple[NDArray[np.bool_], Any]:
        """Which of the clips the store holds, and the index columns of those as a pyarrow Table, in their order."""
        places = self.places(clip_ids)
        held = places >= 0
        return held, self._store.columns(columns, places[held])
