"""The stores that scores are of, and which of them each selected clip comes from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motive.data import Clip, Dataset
from motive.errors import OptionError, StoreError
from motive.extras import require
from motive.scoring import scored_version
from motive.store import Store
from motive.store.source import INDEX_COLUMNS, SOURCE, clips_of, dataset_of

StoreLike = Store | Path | str


class ScoredStores:
    """One store or several, as they were scored: of a clip that several hold, the first store's counts.

    Args:
        given: the stores in the order of scoring; None takes the places recorded in the scores.
        header: the scores' metadata.
        where: the operation, for messages.

    Raises:
        StoreError: the scores do not say what they are of, or other stores were scored.
    """

    def __init__(self, given: StoreLike | Sequence[StoreLike] | None, header: dict[str, Any], where: str) -> None:
        self._where = where
        places = _recorded(header)
        if given is not None:
            places = [given] if isinstance(given, (Store, Path, str)) else list(given)
        if not places:
            raise StoreError(f"{where}: the scores must name their store, got none; run motive score again")
        self.stores = [place if isinstance(place, Store) else Store.open(place) for place in places]
        if (scored := max(1, len(_recorded(header)))) != len(self.stores):
            raise OptionError(f"{where}: store must be the {scored} that were scored, got {len(self.stores)}; name all")

    @property
    def location(self) -> str:
        """Where the stores are."""
        return ", ".join(store.location for store in self.stores)

    @property
    def version(self) -> str:
        """What scores of these stores would say that they saw."""
        return scored_version(self.stores)

    def clips(self, wanted: Any) -> tuple[list[Clip], Dataset]:
        """Some clips in order, and the dataset that they are of, with them alone.

        Args:
            wanted: ids, a pyarrow array of large_string.

        Raises:
            OptionError: they are of several datasets, which cannot be written as one.
            StoreError: a clip is in none of the stores, or a store has no index.
        """
        compute = require("pyarrow.compute", self._where, extra="tables")
        left = np.arange(len(wanted))
        found: dict[int, Clip] = {}
        used: list[Store] = []
        for store in self.stores:
            places = compute.index_in(wanted.take(left), value_set=store.ids.to_arrow())
            held = places.is_valid().to_numpy(zero_copy_only=False)
            if not held.any():
                continue
            self._require_index(store)
            table = store.columns(INDEX_COLUMNS, places.drop_null().to_numpy().astype(np.int64))
            found.update(zip(left[held].tolist(), clips_of(table, self._where), strict=True))
            used.append(store)
            left = left[~held]
        if left.size:
            raise StoreError(
                f"{self._where}: the store must hold every scored clip, got none for {wanted[int(left[0])].as_py()!r} "
                f"in {self.location}; give the store that was scored"
            )
        sources = [store.manifest["extra"].get(SOURCE) for store in used]
        if any(source != sources[0] for source in sources):
            raise OptionError(
                f"{self._where}: selected clips must be of one dataset, got {len(used)} stores of several in "
                f"{self.location}; score and select each dataset on its own, or index one table that lists all clips"
            )
        clips = [found[place] for place in range(len(wanted))]
        manifest = (used or self.stores)[0].manifest
        return clips, dataset_of(manifest, sorted(clips, key=lambda clip: clip.clip_id), self._where)

    def _require_index(self, store: Store) -> None:
        missing = [name for name in INDEX_COLUMNS[1:] if name not in store.manifest["columns"]]
        if missing:
            raise StoreError(
                f"{self._where}: the store's index must have column {missing[0]}, got "
                f"{', '.join(store.manifest['columns'])}; make the store with motive index"
            )


def _recorded(header: dict[str, Any]) -> list[StoreLike]:
    """Places of the stores of clips in the metadata of scores."""
    checkpoints = header.get("checkpoints")
    if isinstance(checkpoints, list) and checkpoints and isinstance(checkpoints[0], dict):
        places = [one.get("store") for one in checkpoints[0].get("stores", ()) if isinstance(one, dict)]
        if places and all(isinstance(place, str) for place in places):
            return [str(place) for place in places]
    place = header.get("store")
    return [place] if isinstance(place, str) else []
