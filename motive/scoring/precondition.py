"""The second moment of a store's vectors, and its inverse as a preconditioner in sketch space."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from motive.errors import StoreError
from motive.scoring.blocks import fresh_blocks, read_blocks
from motive.scoring.exact import GRAM_BITS, GRAM_ROWS, Floats, Gram, unit_rows
from motive.scoring.ledger import Ledger
from motive.scoring.view import View
from motive.store import Store
from motive.store.fingerprint import digest

CACHE = "cache"
_FORMAT = "motive.precondition/2"


@dataclass(frozen=True)
class SecondMoment:
    """C = Z^T Z / n of a store's vectors, as eigenvalues and eigenvectors.

    Attributes:
        eigenvalues: [k] ascending, not negative.
        eigenvectors: [k, k], a column each.
        cache: what became of the cached copy: ``read``, ``written``, ``grown`` from an earlier one, or why it could
            not be written.
    """

    eigenvalues: Floats
    eigenvectors: Floats
    cache: str

    def power(self, damping: float, exponent: float) -> Floats:
        """(C + damping * mean eigenvalue * I)^exponent, [k, k]."""
        shifted = self.eigenvalues + damping * self.eigenvalues.mean()
        return (self.eigenvectors * shifted**exponent) @ self.eigenvectors.T


@dataclass(frozen=True)
class _Sums:
    """What C is made of, in integers: the same whatever the order in which clips came.

    Attributes:
        gram: the sum.
        exponent: vectors were divided by two to this power; 0 for unit vectors.
        count: clips whose vector is not zero.
        clips: clips in all.
    """

    gram: Gram
    exponent: int
    count: int
    clips: int

    def moment(self) -> Floats:
        """C."""
        return self.gram.total() / self.count * 4.0**self.exponent


def second_moment(store: Store | View, unit: bool, where: str) -> SecondMoment:
    """C of a store, read from the store's cache, grown from that of an earlier version, or built in one pass (two for
    raw vectors). All three give the same bits.

    Args:
        store: the clips.
        unit: scale each vector to norm 1 first; else raw vectors count by their squared norm.
        where: the operation, for messages.

    Raises:
        StoreError: a shard is damaged, or every vector is zero.
    """
    view = store if isinstance(store, View) else View([store], where)
    kind = "unit" if unit else "raw"
    name = f"{CACHE}/precondition-{digest(f'{view.version} {view.content}'.encode())}-{kind}.safetensors"
    cached = _read(view, name)
    if cached is not None and (cached.version, cached.content) == (view.version, view.content):
        return SecondMoment(cached.eigenvalues, cached.eigenvectors, "read")
    earlier = _earlier(view, f"-{kind}.safetensors")
    sums, state = None, "written"
    if earlier is not None:
        sums, state = _sums(view, unit, where, *earlier), "grown"
    if sums is None:
        sums, state = _sums(view, unit, where), "written"
    assert sums is not None
    values, vectors = _spectrum(sums.moment())
    made = _Cached(view.version, view.content, view.ledger(), sums, values, vectors)
    return SecondMoment(values, vectors, _write(view, name, made, state))


def _spectrum(moment: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh(moment)
    return np.maximum(values, 0.0), vectors


DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def held_out_damping(store: Store | View, unit: bool, where: str) -> float:
    """The damping of DAMPINGS under which one half of the clips explains the other best.

    The clips are dealt in turns, by their order. With C from one half, a normal distribution of covariance
    (C + damping m I) / (1 + damping), whose trace is that of C, gives the other half a likelihood; the damping with the
    largest sum over both halves wins. It says how far C is to be trusted, and nothing about any query.

    Raises:
        StoreError: a half has no vector that is not zero.
    """
    halves = [_half_sums(_Half(store, start), unit, where).moment() for start in (0, 1)]
    costs = np.zeros(len(DAMPINGS))
    for one, other in (halves, halves[::-1]):
        values, vectors = _spectrum(one)
        seen = np.einsum("ki,kl,li->i", vectors, other, vectors)
        for place, damping in enumerate(DAMPINGS):
            shrunk = (values + damping * values.mean()) / (1 + damping)
            costs[place] += np.log(shrunk).sum() + (seen / shrunk).sum()
    return DAMPINGS[int(costs.argmin())]


class _Half:
    """Every second clip of a store."""

    def __init__(self, store: Store | View, start: int) -> None:
        self._store, self._start = store, start
        self.ids, self.location, self.dim = store.ids, store.location, store.dim

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Blocks of half the size; the numbers of their first rows are those of the store."""
        for first, block in self._store.blocks(rows):
            yield first, block[(self._start - first) % 2 :: 2]


def _half_sums(half: _Half, unit: bool, where: str) -> _Sums:
    def blocks() -> Iterator[NDArray[np.float32]]:
        return (block for _, block in read_blocks(half, GRAM_ROWS, where))

    exponent = 0 if unit else _exponent(blocks())
    return _add(_Sums(Gram(half.dim, _bits(unit)), exponent, 0, 0), blocks(), unit, half.location, where)


def _sums(
    view: View, unit: bool, where: str, start: _Sums | None = None, known: NDArray[np.bool_] | None = None
) -> _Sums | None:
    """The sums over a view, from those over its known clips; None if a new vector is too long for their scale."""

    def blocks() -> Iterator[NDArray[np.float32]]:
        return (block for _, _, block in fresh_blocks(view, known, GRAM_ROWS, where))

    exponent = 0 if unit else _exponent(blocks())
    if start is None:
        start = _Sums(Gram(view.dim, _bits(unit)), exponent, 0, 0)
    elif exponent > start.exponent:
        return None
    return _add(start, blocks(), unit, view.location, where)


def _bits(unit: bool) -> int:
    """Raw vectors may be much shorter than what they are divided by."""
    return GRAM_BITS if unit else GRAM_BITS + 2


def _exponent(blocks: Iterable[NDArray[np.float32]]) -> int:
    """The least power of two that no vector is longer than."""
    largest = max((float(unit_rows(block).norms.max(initial=0.0)) for block in blocks), default=0.0)
    mantissa, exponent = np.frexp(largest)
    return int(exponent) - (1 if mantissa == 0.5 else 0)


def _add(sums: _Sums, blocks: Iterable[NDArray[np.float32]], unit: bool, location: str, where: str) -> _Sums:
    count, clips = sums.count, sums.clips
    for block in blocks:
        units = unit_rows(block, GRAM_BITS)
        scaled = units.rows if unit else np.rint(np.ldexp(block.astype(np.float64), _bits(unit) - sums.exponent))
        sums.gram.add(scaled)
        count += int(np.count_nonzero(units.norms))
        clips += len(block)
    if count == 0:
        raise StoreError(
            f"{where}: store must hold a vector that is not zero, and {location} has only zeros; index other clips"
        )
    return replace(sums, count=count, clips=clips)


@dataclass(frozen=True)
class _Cached:
    """A cache file's content."""

    version: str
    content: str
    ledger: Ledger
    sums: _Sums
    eigenvalues: Floats
    eigenvectors: Floats

    def encode(self) -> bytes:
        """One digest binds the numbers to what they are of."""
        sums = self.sums
        tensors = {
            "eigenvalues": np.ascontiguousarray(self.eigenvalues, "<f8"),
            "eigenvectors": np.ascontiguousarray(self.eigenvectors, "<f8"),
            "gram.high": np.ascontiguousarray(sums.gram.high, "<i8"),
            "gram.low": np.ascontiguousarray(sums.gram.low, "<i8"),
        }
        fields: dict[str, Any] = {"version": self.version, "content": self.content, "ledger": self.ledger.to_json()}
        fields |= {"bits": sums.gram.bits, "exponent": sums.exponent, "count": sums.count, "clips": sums.clips}
        text = json.dumps(fields)
        numbers = b"".join(array.tobytes() for array in tensors.values())
        return save(tensors, {_FORMAT: f"{digest(text.encode() + numbers)} {text}"})

    @classmethod
    def decode(cls, data: bytes) -> _Cached:
        """What encode gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            fields = json.loads(header[_FORMAT].partition(" ")[2])
            high, low = (tensors[f"gram.{part}"].astype(np.int64) for part in ("high", "low"))
            gram = Gram(len(high), int(fields["bits"]), high, low)
            sums = _Sums(gram, int(fields["exponent"]), int(fields["count"]), int(fields["clips"]))
            spectrum = (tensors[name].astype(np.float64) for name in ("eigenvalues", "eigenvectors"))
            ledger = Ledger.from_json(fields["ledger"])
            found = cls(str(fields["version"]), str(fields["content"]), ledger, sums, *spectrum)
        except (SafetensorError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("content") from error
        if found.encode() != data:
            raise ValueError("digest")
        return found


def _read(view: View, name: str) -> _Cached | None:
    """A cached copy; None if there is none or it is not what was written."""
    if view.cache.size(name) is None:
        return None
    with suppress(ValueError):
        found = _Cached.decode(view.cache.read(name))
        k = view.dim
        if found.eigenvectors.shape == found.sums.gram.high.shape == (k, k) and found.eigenvalues.shape == (k,):
            return found
    return None


def _earlier(view: View, ending: str) -> tuple[_Sums, NDArray[np.bool_]] | None:
    """The sums of the largest earlier cache of the same stores whose clips are all still there, and which they are."""
    best: tuple[_Sums, NDArray[np.bool_]] | None = None
    for name in _caches(view, ending):
        found = _read(view, name)
        if found is None or found.content != view.content:
            continue
        known = view.known(found.ledger, found.sums.clips)
        if known is not None and (best is None or found.sums.clips > best[0].clips):
            best = found.sums, known
    return best


def _caches(view: View, ending: str) -> list[str]:
    try:
        names = sorted(view.cache.names(CACHE))
    except StoreError:
        return []  # where the folder should be there is something else, which writing will report
    return [f"{CACHE}/{name}" for name in names if name.startswith("precondition-") and name.endswith(ending)]


def _write(view: View, name: str, made: _Cached, state: str) -> str:
    try:
        view.cache.publish(name, made.encode(), replace=True)
        for other in _caches(view, name[name.rindex("-") :]):
            found = None if other == name else _read(view, other)
            if found and (found.content, found.ledger.manifests) == (made.content, made.ledger.manifests):
                view.cache.remove(other)  # of an earlier version
    except StoreError as error:  # a store that may only be read can still be scored
        return str(error)
    return state
