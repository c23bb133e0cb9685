"""The second moment of a store's vectors, and its inverse as a preconditioner in sketch space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from motive.errors import StoreError
from motive.scoring.blocks import read_blocks
from motive.scoring.exact import GRAM_BITS, GRAM_ROWS, Floats, Gram, unit_rows
from motive.scoring.view import View
from motive.store import Store
from motive.store.files import Files
from motive.store.fingerprint import digest

CACHE = "cache"
_FORMAT = "motive.precondition/1"


@dataclass(frozen=True)
class SecondMoment:
    """C = Z^T Z / n of a store's vectors, as eigenvalues and eigenvectors.

    Attributes:
        eigenvalues: [k] ascending, not negative.
        eigenvectors: [k, k], a column each.
        cache: what became of the cached copy: ``read``, ``written``, or why it could not be written.
    """

    eigenvalues: Floats
    eigenvectors: Floats
    cache: str

    def power(self, lambda_: float, exponent: float) -> Floats:
        """(C + lambda_ * mean eigenvalue * I)^exponent, [k, k]."""
        shifted = self.eigenvalues + lambda_ * self.eigenvalues.mean()
        return (self.eigenvectors * shifted**exponent) @ self.eigenvectors.T


def second_moment(store: Store | View, unit: bool, where: str) -> SecondMoment:
    """C of a store, read from the store's cache or built in one pass (two for raw vectors).

    Args:
        store: the clips.
        unit: scale each vector to norm 1 first; else raw vectors count by their squared norm.
        where: the operation, for messages.

    Raises:
        StoreError: a shard is damaged, or every vector is zero.
    """
    files = store.files
    version = _version(store)
    name = f"{CACHE}/precondition-{version}-{'unit' if unit else 'raw'}.safetensors"
    cached = _read(files, name, version, store.dim)
    if cached is not None:
        return cached
    values, vectors = _spectrum(_moment(store, unit, where))
    return SecondMoment(values, vectors, _write(files, name, version, values, vectors))


def _version(store: Store | View) -> str:
    """What the vectors are: the store's version, and which part of each."""
    part = store.columns if isinstance(store, View) else slice(None)
    return store.version if part == slice(None) else f"{store.version}-{part.start}-{part.stop}"


def _spectrum(moment: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh(moment)
    return np.maximum(values, 0.0), vectors


LAMBDAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def held_out_lambda(store: Store | View, unit: bool, where: str) -> float:
    """The lambda of LAMBDAS under which one half of the clips explains the other best.

    The clips are dealt in turns, by their order. With C from one half, a normal distribution of covariance
    (C + lambda m I) / (1 + lambda), whose trace is that of C, gives the other half a likelihood; the lambda with the
    largest sum over both ways round is taken. It says how far C is to be trusted, and nothing about any query.

    Raises:
        StoreError: a half has no vector that is not zero.
    """
    halves = [_moment(_Half(store, start), unit, where) for start in (0, 1)]
    costs = np.zeros(len(LAMBDAS))
    for one, other in (halves, halves[::-1]):
        values, vectors = _spectrum(one)
        seen = np.einsum("ki,kl,li->i", vectors, other, vectors)
        for place, lambda_ in enumerate(LAMBDAS):
            shrunk = (values + lambda_ * values.mean()) / (1 + lambda_)
            costs[place] += np.log(shrunk).sum() + (seen / shrunk).sum()
    return LAMBDAS[int(costs.argmin())]


class _Half:
    """Every second clip of a store."""

    def __init__(self, store: Store | View, start: int) -> None:
        self._store, self._start = store, start
        self.ids, self.location, self.dim = store.ids, store.location, store.dim

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Blocks of half the size; the numbers of their first rows are those of the store."""
        for first, block in self._store.blocks(rows):
            yield first, block[(self._start - first) % 2 :: 2]


def _moment(store: Store | View | _Half, unit: bool, where: str) -> Floats:
    largest = 1.0 if unit else _largest_norm(store, where)
    gram, count = Gram(store.dim), 0
    for _, block in read_blocks(store, GRAM_ROWS, where):
        units = unit_rows(block, GRAM_BITS)
        gram.add(units.rows if unit else np.rint(block.astype(np.float64) * (2.0**GRAM_BITS / largest)))
        count += int(np.count_nonzero(units.norms))
    if count == 0:
        raise StoreError(
            f"{where}: store must hold a vector that is not zero, got none in {store.location}; index other clips"
        )
    return gram.total() / count * (largest * largest)


def _largest_norm(store: Store | View | _Half, where: str) -> float:
    norms = [float(unit_rows(block).norms.max(initial=0.0)) for _, block in read_blocks(store, GRAM_ROWS, where)]
    return max(norms, default=0.0) or 1.0


def _read(files: Files, name: str, version: str, k: int) -> SecondMoment | None:
    """The cached copy; None if there is none or it is not what was written."""
    size = files.size(name)
    if size is None:
        return None
    data = files.read(name)
    if size != len(_encode(version, np.zeros(k), np.zeros((k, k)))):
        return None
    numbers = np.frombuffer(data[-8 * k * (k + 1) :], "<f8").astype(np.float64, copy=False)
    values, vectors = numbers[:k], numbers[k:].reshape(k, k)
    if data != _encode(version, values, vectors):
        return None
    return SecondMoment(values, vectors, "read")


def _write(files: Files, name: str, version: str, values: Floats, vectors: Floats) -> str:
    try:
        files.publish(name, _encode(version, values, vectors), replace=True)
    except StoreError as error:  # a store that may only be read can still be scored
        return str(error)
    return "written"


def _encode(version: str, values: Floats, vectors: Floats) -> bytes:
    """The cache file's bytes: one digest in its header binds the numbers to the store's version."""
    numbers = np.concatenate([values, vectors.ravel()]).astype("<f8").tobytes()
    tensors = {"eigenvalues": np.ascontiguousarray(values, "<f8"), "eigenvectors": np.ascontiguousarray(vectors, "<f8")}
    return save(tensors, {_FORMAT: f"{version}:{digest(numbers)}"})
