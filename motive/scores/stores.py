"""The way back from a scores file to the stores it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError, StoreError
from motive.extras import require
from motive.store import Origin, Store
from motive.store.fingerprint import digest
from motive.store.identity import compare_identities
from motive.store.source import INDEX_COLUMNS

StoreLike = Store | Path | str


def open_stores(given: StoreLike | Sequence[StoreLike]) -> list[Store]:
    """Stores from stores or paths, one or several."""
    several = [given] if isinstance(given, (Store, Path, str)) else list(given)
    return [store if isinstance(store, Store) else Store.open(store) for store in several]


def scored_version(stores: Sequence[Store]) -> str:
    """Digest of which clips some stores hold together; a single store's own version."""
    versions = [store.version for store in stores]
    return versions[0] if len(versions) == 1 else digest("".join(f"{v}\n" for v in versions).encode())


def place_of(store: Store) -> str:
    """A store's address, absolute if it is a folder."""
    return store.location if "://" in store.location else str(Path(store.location).resolve())


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


class ScoredStores:
    """The clips, or the queries, of a scores file in one store or several; of a clip that several hold, the first store
    counts, as in scoring. The stores may have grown since.

    Args:
        header: the scores' metadata.
        role: ``store`` for the clips, ``queries`` for the queries.
        where: the operation, for messages.
        given: the stores in the order of scoring; None takes the places recorded in the scores.

    Raises:
        OptionError: as many stores as were scored must be given.
        StoreError: the scores do not name their stores, or a store is missing, damaged, or was made with other
            settings than the one that was scored.
    """

    def __init__(
        self,
        header: Mapping[str, Any],
        role: Literal["store", "queries"],
        where: str,
        given: StoreLike | Sequence[StoreLike] | None = None,
    ) -> None:
        self._where = where
        recorded = _recorded(header, role)
        if given is None and not recorded:
            raise StoreError(f"{where}: the scores do not name their {role}; run motive score again")
        self.stores = open_stores(recorded if given is None else given)
        if (scored := max(1, len(recorded))) != len(self.stores):
            raise OptionError(
                f"{where}: {role} must be the {scored} that were scored, got {len(self.stores)}; name all"
            )
        identities = header.get("identities")
        identity = identities.get(role) if isinstance(identities, dict) else None
        # A store of version 1 has the digest of its fields as they were called: one match stands for equal identities.
        same = [store for store in self.stores if store.manifest.identity_digest == identity]
        for store in self.stores:
            if not same or compare_identities(store.identity, same[0].identity):
                raise StoreError(
                    f"{where}: {role} must be the store that was scored, got {store.location} with other settings; "
                    "give the folder of that store, or run motive score again"
                )
        self._ids = [store.ids.to_arrow() for store in self.stores]

    @property
    def first(self) -> Store:
        """The store whose manifest stands for all: their vectors can be compared."""
        return self.stores[0]

    @property
    def location(self) -> str:
        """Where the stores are."""
        return ", ".join(store.location for store in self.stores)

    @property
    def version(self) -> str:
        """What scores of these stores would say that they saw."""
        return scored_version(self.stores)

    def known(self, names: Sequence[str]) -> list[str]:
        """Those of the index columns that every store has; stores of earlier versions have fewer."""
        return [name for name in names if all(name in store.manifest.columns for store in self.stores)]

    def table(self, clip_ids: Any, columns: Sequence[str]) -> tuple[NDArray[np.bool_], Any]:
        """Which of the clips the stores hold, and the index columns of those as a pyarrow Table, in their order.

        Args:
            clip_ids: pyarrow Array or sequence of str.
            columns: names of index columns.
        """
        pa = require("pyarrow", self._where, extra="tables")
        owner, rows = self._find(pa.array(clip_ids, pa.large_string()))
        held = owner >= 0
        used = [number for number in range(len(self.stores)) if number == 0 or bool((owner == number).any())]
        tables = [self.stores[number].columns(list(columns), rows[owner == number]) for number in used]
        order = np.concatenate([np.flatnonzero(owner == number) for number in used])
        return held, pa.concat_tables(tables, promote_options="default").take(pa.array(np.argsort(order)))

    def origin_of(self, wanted: Any) -> Origin:
        """Where some clips come from.

        Args:
            wanted: ids, a pyarrow array of large_string.

        Raises:
            OptionError: they are of several datasets, which cannot be written as one.
            StoreError: a clip is in none of the stores, or a store has no index.
        """
        owner, _ = self._find(wanted)
        if (owner < 0).any():
            missing = wanted[int(np.argmin(owner >= 0))].as_py()
            raise StoreError(
                f"{self._where}: {self.location} lacks the scored clip {missing!r}; give the store that was scored"
            )
        used = [self.stores[number] for number in sorted(set(owner.tolist()))] or self.stores[:1]
        for store in used:
            self._require_index(store)
        sources = [store.manifest.origin.source for store in used]
        if any(source != sources[0] for source in sources):
            raise OptionError(
                f"{self._where}: selected clips must be of one dataset, got {len(used)} stores of several in "
                f"{self.location}; score and select each dataset on its own, or index one table that lists all clips"
            )
        return used[0].manifest.origin

    def vectors(self, wanted: Any) -> NDArray[np.float32]:
        """Vectors of some clips, [m, k], in the order wanted; their shards are not hashed.

        Args:
            wanted: ids, a pyarrow array of large_string, all held by a store.
        """
        owner, rows = self._find(wanted)
        found = np.empty((len(wanted), self.first.dim), np.float32)
        for number in sorted(set(owner.tolist())):
            of = owner == number
            found[of] = self.stores[number].vectors_at(rows[of], check=False)
        return found

    def _find(self, clip_ids: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each id the number of the first store that holds it, -1 for none, and its row there."""
        pc = require("pyarrow.compute", self._where, extra="tables")
        owner, rows = np.full(len(clip_ids), -1, np.int64), np.zeros(len(clip_ids), np.int64)
        for number, ids in enumerate(self._ids):
            found = np.asarray(pc.fill_null(pc.index_in(clip_ids, value_set=ids), -1), np.int64)
            fresh = (owner < 0) & (found >= 0)
            owner[fresh], rows[fresh] = number, found[fresh]
        return owner, rows

    def _require_index(self, store: Store) -> None:
        missing = [name for name in INDEX_COLUMNS[1:] if name not in store.manifest.columns]
        if missing:
            raise StoreError(
                f"{self._where}: the store's index must have column {missing[0]}, got "
                f"{', '.join(store.manifest.columns)}; make the store with motive index"
            )


def _recorded(header: Mapping[str, Any], role: str) -> list[str]:
    """Places of the stores of one role in the metadata of scores."""
    checkpoints = header.get("checkpoints")
    if role == "store" and isinstance(checkpoints, list) and checkpoints and isinstance(checkpoints[0], dict):
        places = [one.get("store") for one in checkpoints[0].get("stores", ()) if isinstance(one, dict)]
        if places and all(isinstance(place, str) for place in places):
            return [str(place) for place in places]
    place = header.get(role)
    return [place] if isinstance(place, str) else []
