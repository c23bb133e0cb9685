"""The clips that are scored: one store or several, seen as one list of ids, or the part that a filter keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError, StoreError
from motive.scores.stores import place_of, scored_version
from motive.scoring.filters import Filter
from motive.scoring.ledger import Ledger
from motive.store import ClipIds, Store, require_same_identity
from motive.store.files import Files, LocalFiles
from motive.store.ids import sort_ids


class View:
    """Clips of one or more stores, sorted by clip id; of a clip that several hold, the first store's vector counts.

    Args:
        stores: at least one, of equal identity.
        where: the operation, for messages.
        cache: folder for caches; None keeps them beside the first store.

    Raises:
        IdentityMismatch: the stores' vectors cannot be compared.
        OptionError: rows of some are whole clips, of others segments, or other segments.
        StoreError: there is no clip.
    """

    def __init__(self, stores: Sequence[Store], where: str, cache: Path | None = None) -> None:
        for other in stores[1:]:
            require_same_identity(stores[0], other, where)
            _require_same_segments(stores[0], other, where)
        self.stores = tuple(stores)
        self.where = where
        self.cache: Files = stores[0].files if cache is None else LocalFiles(cache)
        self._first = np.cumsum([0, *(len(store) for store in stores)], dtype=np.int64)
        self._rows: NDArray[np.int64] | None = None
        self._chosen: NDArray[np.int64] | None = None
        self._filter = ""
        self.columns = slice(None)
        """Part of each vector that is compared."""
        if len(stores) == 1:
            self.ids: ClipIds = stores[0].ids
        else:
            every = ClipIds.concatenate([store.ids for store in stores])
            order, again = sort_ids(every)
            self._rows = order[~again]
            self.ids = every.take(self._rows)
        if len(self.ids) == 0:
            raise StoreError(f"{where}: store must hold at least one clip, and {self.location} is empty; index clips")

    @property
    def location(self) -> str:
        """Where the stores are."""
        return ", ".join(store.location for store in self.stores)

    @property
    def dim(self) -> int:
        """k."""
        return len(range(*self.columns.indices(self.stores[0].dim)))

    @property
    def version(self) -> str:
        """Digest of which clips are there, a filter aside; a single store's own version."""
        return scored_version(self.stores)

    @property
    def content(self) -> str:
        """What of the vectors is compared: caches of other content are other caches."""
        return "whole" if self.columns == slice(None) else f"{self.columns.start}-{self.columns.stop}"

    def ledger(self) -> Ledger:
        """The shards that the clips are in."""
        return Ledger.of(self.stores)

    def known(self, before: Ledger, clips: int) -> NDArray[np.bool_] | None:
        """Which clips of the whole view were all of those there when a cache was made; None if some are gone.

        Args:
            before: the shards at that time.
            clips: how many clips there were.
        """
        if before.manifests != [store.manifest.digest for store in self.stores]:
            return None
        marks = []
        for held, store in zip(before.stores, self.stores, strict=True):
            covered = np.array([held.covers(commit) for commit in store.index.commits], np.bool_)
            shard = np.searchsorted(store.index.starts, store.index.order, side="right") - 1
            marks.append(covered[shard])
        mask = np.concatenate(marks)
        mask = mask if self._rows is None else mask[self._rows]
        return mask if int(np.count_nonzero(mask)) == clips else None

    @property
    def chosen(self) -> NDArray[np.int64] | None:
        """Rows of the whole view that a filter keeps; None if there is no filter."""
        return self._chosen

    def __len__(self) -> int:
        return len(self.ids)

    def buckets(self) -> NDArray[np.object_] | None:
        """The bucket of each clip; None where a store has no buckets."""
        if any("bucket" not in store.manifest.columns for store in self.stores):
            return None
        names = [store.columns(["bucket"]).column("bucket").to_numpy(zero_copy_only=False) for store in self.stores]
        every = np.concatenate(names).astype(object)
        return every if self._rows is None else every[self._rows]

    def keep(self, filter_: Filter) -> View:
        """The clips whose index columns pass a filter.

        Raises:
            OptionError: a store lacks a column.
            StoreError: no clip passes.
        """
        masks = [filter_.mask(store.columns(filter_.names), self.where) for store in self.stores]
        mask = np.concatenate(masks)
        mask = mask if self._rows is None else mask[self._rows]
        if not mask.any():
            raise StoreError(f"{self.where}: no clip passes the filter {filter_.text!r}; loosen it")
        return self.restrict(np.flatnonzero(mask))

    def restrict(self, chosen: NDArray[np.int64]) -> View:
        """Some rows of a whole view."""
        kept = View.__new__(View)
        kept.__dict__.update(self.__dict__)
        kept._chosen = chosen
        kept._rows = chosen if self._rows is None else self._rows[chosen]
        kept.ids = self.ids.take(chosen)
        return kept

    def part(self, name: str) -> View:
        """The vectors of one part of the model.

        Raises:
            OptionError: the stores were made without parts, or have no such one.
        """
        names = self.stores[0].model_parts
        if not names:
            raise OptionError(
                f"{self.where}: model_part must be left out, since {self.location} has no parts of the model, got "
                f"{name}; index with --model-parts"
            )
        if name not in names:
            raise OptionError(
                f"{self.where}: model_part must be one of {', '.join(names)} in {self.location}, got {name}; choose one"
            )
        width, place = self.stores[0].dim // len(names), names.index(name)
        kept = View.__new__(View)
        kept.__dict__.update(self.__dict__, columns=slice(place * width, (place + 1) * width))
        return kept

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (row of the first clip, vectors [m, k]) in the order of ids."""
        if self._rows is None:
            for start, block in self.stores[0].blocks(rows):
                yield start, np.ascontiguousarray(block[:, self.columns])
            return
        for start in range(0, len(self), rows):
            yield start, self.vectors_at(np.arange(start, min(start + rows, len(self))))

    def vectors_at(self, rows: NDArray[np.int64], *, check: bool = True) -> NDArray[np.float32]:
        """Vectors of some rows, [m, k]; check: as the stores were opened, or False if the caller sees to it."""
        stored = rows if self._rows is None else self._rows[rows]
        if len(self.stores) == 1:
            return np.ascontiguousarray(self.stores[0].vectors_at(stored, check=check)[:, self.columns])
        vectors = np.empty((rows.size, self.dim), np.float32)
        owner = np.searchsorted(self._first, stored, side="right") - 1
        for number, store in enumerate(self.stores):
            mine = np.flatnonzero(owner == number)
            if mine.size:
                found = store.vectors_at(stored[mine] - self._first[number], check=check)
                vectors[mine] = found[:, self.columns]
        return vectors

    def record(self) -> list[dict[str, Any]]:
        """Each store's place and version, for the record of a result."""
        return [{"store": place_of(store), "version": store.version, "clips": len(store)} for store in self.stores]


def _require_same_segments(first: Store, other: Store, where: str) -> None:
    """Refuse stores whose rows are not parts of clips alike."""
    if first.segments != other.segments:
        raise OptionError(
            f"{where}: stores must all hold the same segments, got {first.segments or 'whole clips'} in "
            f"{first.location} and {other.segments or 'whole clips'} in {other.location}; take each on its own"
        )
