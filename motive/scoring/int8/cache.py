"""A store's vectors as int8: a cache beside the store, mapped into memory, that anyone may delete.

One file for each version of the clips: a header of 4096 bytes, then for each clip in order of id the scale, the norm of
its vector and the error of its int8 values (float32), then the shards that they are from, then the int8 values. When clips are added
a new file is made from the old one and the new clips alone. The store's own record stays float32.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.publish import published
from motive.scoring.blocks import Growing, fresh_blocks, prefetched
from motive.scoring.ledger import Ledger
from motive.store.files import Files, LocalFiles
from motive.store.fingerprint import digest

CACHE = "cache"
_FORMAT = "motive.int8/2"
_HEADER = 4096
_BLOCK_BYTES = 1 << 25
_AHEAD_BYTES = 1 << 28


class Cached(Growing, Protocol):
    """What is quantized: a view, or several as one."""

    cache: Files

    @property
    def version(self) -> str: ...

    @property
    def content(self) -> str: ...

    def ledger(self) -> Ledger: ...

    def known(self, before: Ledger, clips: int) -> NDArray[np.bool_] | None: ...


@dataclass(frozen=True)
class Int8Store:
    """Unit vectors as int8.

    Attributes:
        values: [n, k] int8, mapped from the file.
        scales: [n] float32; scales * values is close to the unit vector; 0 for a zero vector.
        norms: [n] float32, of the vectors.
        errors: [n] float32, the norm of (unit vector - scales * values), not less than the true one.
        cache: ``read``, ``written``, ``grown`` from an earlier one, or why it could not be kept.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    norms: NDArray[np.float32]
    errors: NDArray[np.float32]
    cache: str


def int8_store(view: Cached, where: str) -> Int8Store:
    """The cached int8 vectors of a whole view, made if they are missing, stale or damaged, or grown from an earlier version's.

    Raises:
        StoreError: a shard is damaged.
    """
    name = f"{CACHE}/int8-{digest(f'{view.version} {view.content}'.encode())}.bin"
    local = view.cache if isinstance(view.cache, LocalFiles) else None
    before = None
    if local is not None:
        with suppress(OSError, ValueError):
            return _open_path(Path(local.root) / name, view, "read")[0]
        before = _earlier(Path(local.root) / CACHE, view)
    state = "written" if before is None else "grown"
    try:
        if local is None:
            raise OSError(0, "the store is not on a local disk; name a folder with cache")
        target = Path(local.root) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with published(target, durable=True) as temporary, open(temporary, "xb") as file:
            _write(file, view, before, where)
        _drop_others(target, view)
        return _open_path(target, view, state)[0]
    except OSError as error:  # a store that may only be read can still be scored
        with tempfile.TemporaryFile() as file:  # the mapping keeps it
            _write(file, view, before, where)
            file.flush()
            file.seek(0)
            return _open(file, view, f"not kept: {error.strerror or error}")[0]


@dataclass(frozen=True)
class _Earlier:
    """An earlier cache, and which of the view's clips are in it, in the same order."""

    stored: Int8Store
    known: NDArray[np.bool_]


def _earlier(folder: Path, view: Cached) -> _Earlier | None:
    """The largest earlier cache of the same stores whose clips are all still there."""
    best: _Earlier | None = None
    for path in sorted(folder.glob("int8-*.bin")):
        with suppress(OSError, ValueError):
            stored, ledger = _open_path(path, view, "", version=None)
            known = view.known(ledger, len(stored.scales))
            if known is not None and (best is None or len(stored.scales) > len(best.stored.scales)):
                best = _Earlier(stored, known)
    return best


def _drop_others(target: Path, view: Cached) -> None:
    """Remove caches of earlier versions of the same stores; who has one mapped keeps it until done."""
    manifests = view.ledger().manifests
    for path in target.parent.glob("int8-*.bin"):
        if path == target:
            continue
        with suppress(OSError):
            try:
                stale = _open_path(path, view, "", version=None)[1].manifests == manifests
            except ValueError as error:
                stale = str(error) != "content"
            if stale:
                path.unlink()


def _layout(clips: int, ledger_bytes: int) -> int:
    """Where the values start."""
    return -(-(_HEADER + 12 * clips + ledger_bytes) // _HEADER) * _HEADER


def _header(view: Cached, version: str, clips: int, ledger: bytes, arrays: bytes) -> dict[str, Any]:
    """The header's fields."""
    fields = {"format": _FORMAT, "version": version, "content": view.content, "clips": clips, "dim": view.dim}
    return {**fields, "ledger_bytes": len(ledger), "digest": digest(arrays + ledger)}


def _write(file: Any, view: Cached, before: _Earlier | None, where: str) -> None:
    n, k = len(view), view.dim
    ledger = json.dumps(view.ledger().to_json()).encode()
    start = _layout(n, len(ledger))
    arrays = np.zeros((3, n), np.float32)
    file.truncate(start + n * k)
    file.seek(start)
    place = 0  # in the earlier cache
    blocks = fresh_blocks(view, None if before is None else before.known, max(1, _BLOCK_BYTES // (4 * k)), where)
    for here, known, block in prefetched(blocks):
        fresh, scales = mk.quantize_rows(torch.from_numpy(block))
        values, numbers = fresh.numpy(), np.stack([scales, *quantization_errors(block, fresh.numpy(), scales.numpy())])
        if before is not None:
            old = slice(place, place + int(np.count_nonzero(known)))
            stored, place = before.stored, old.stop
            values = _merged(known, stored.values[old], values)
            earlier = np.stack([stored.scales[old], stored.norms[old], stored.errors[old]])
            numbers = _merged(known, earlier.T, numbers.T.astype(np.float32)).T
        file.write(np.ascontiguousarray(values).data)
        arrays[:, here] = numbers
    header = _header(view, view.version, n, ledger, arrays.tobytes())
    file.seek(0)
    file.write(json.dumps(header).encode().ljust(_HEADER))
    file.write(arrays.tobytes())
    file.write(ledger)


def _merged(known: NDArray[np.bool_], old: NDArray, new: NDArray) -> NDArray:
    """Rows of both in the order that ``known`` gives."""
    rows = np.empty((known.size, *new.shape[1:]), new.dtype)
    rows[known], rows[~known] = old, new
    return rows


def quantization_errors(
    block: NDArray[np.float32], values: NDArray[np.int8], scales: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Norms of the vectors, and norms of what the int8 vectors miss of the unit vectors, rounded up."""
    wide = block.astype(np.float64)
    norms = np.sqrt(np.einsum("nk,nk->n", wide, wide))
    wide /= np.where(norms > 0, norms, 1.0)[:, None]
    wide -= values * scales.astype(np.float64)[:, None]
    missed = np.sqrt(np.einsum("nk,nk->n", wide, wide)) * (1 + 1e-9)
    return norms, np.nextafter(missed.astype(np.float32), np.float32(np.inf))


def _open_path(path: Path, view: Cached, cache: str, version: str | None = "") -> tuple[Int8Store, Ledger]:
    with open(path, "rb") as file:
        return _open(file, view, cache, version)


def _open(file: BinaryIO, view: Cached, cache: str, version: str | None = "") -> tuple[Int8Store, Ledger]:
    """Map a file.

    Args:
        file: at its start.
        view: what the file must be of.
        cache: the state to report.
        version: the view's if empty; None takes a file of any version.

    Raises:
        ValueError: it is not what was written: ``content`` if it is of other content, or of vectors of another length.
    """
    try:
        header = json.loads(file.read(_HEADER))
        n, ledger_bytes, held = int(header["clips"]), int(header["ledger_bytes"]), str(header["version"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("header") from error
    if min(n, ledger_bytes) < 0 or max(n, ledger_bytes) > 1 << 40:
        raise ValueError("header")
    start, size = _layout(n, ledger_bytes), os.fstat(file.fileno()).st_size
    if size < start:
        raise ValueError("size")
    data, ledger = file.read(12 * n), file.read(ledger_bytes)
    if header.get("format") == _FORMAT and (header.get("content"), header.get("dim")) != (view.content, view.dim):
        raise ValueError("content")
    wanted = held if version is None else version or view.version
    if header != _header(view, wanted, n, ledger, data) or size != start + n * view.dim:
        raise ValueError("header")
    if version == "" and n != len(view):
        raise ValueError("clips")
    arrays = np.frombuffer(bytearray(data), np.float32).reshape(3, n)
    values = np.memmap(file, np.int8, "c", start, (n, view.dim))
    if hasattr(os, "posix_fadvise"):  # the system reads ahead of the first pass
        os.posix_fadvise(file.fileno(), start, min(n * view.dim, _AHEAD_BYTES), os.POSIX_FADV_WILLNEED)
        os.posix_fadvise(file.fileno(), start, n * view.dim, os.POSIX_FADV_SEQUENTIAL)
    return Int8Store(values, arrays[0], arrays[1], arrays[2], cache), Ledger.from_json(json.loads(ledger))
