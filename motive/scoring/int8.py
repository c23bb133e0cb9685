"""A store's vectors as bytes: a cache beside the store, mapped into memory, that anyone may delete.

One file for each version of the clips: a header of 4096 bytes, then for each clip in order of id the scale, the norm of
its vector and the error of its bytes (float32), then the bytes. The store's own record stays float32.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

import motive_kernels as mk
from motive.scoring.blocks import prefetched, read_blocks
from motive.scoring.view import View
from motive.store.files import TEMPORARY_PREFIX, LocalFiles
from motive.store.fingerprint import digest

CACHE = "cache"
_FORMAT = "motive.int8/1"
_HEADER = 4096
_BLOCK_BYTES = 1 << 25
_AHEAD_BYTES = 1 << 28


@dataclass(frozen=True)
class Int8Store:
    """Unit vectors as bytes.

    Attributes:
        values: [n, k] int8, mapped from the file.
        scales: [n] float32; scales * values is close to the unit vector; 0 for a zero vector.
        norms: [n] float32, of the vectors.
        errors: [n] float32, the norm of (unit vector - scales * values), not less than the true one.
        cache: ``read``, ``written``, or why it could not be kept.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    norms: NDArray[np.float32]
    errors: NDArray[np.float32]
    cache: str


def int8_store(view: View, where: str) -> Int8Store:
    """The cached bytes of a whole view, made if they are missing, stale or damaged.

    Raises:
        StoreError: a shard is damaged.
    """
    name = f"{CACHE}/int8-{view.version}.bin"
    local = view.files if isinstance(view.files, LocalFiles) else None
    if local is not None:
        with suppress(OSError, ValueError):
            return _open(open(f"{local.root}/{name}", "rb"), view, "read")
    try:
        if local is None:
            raise OSError(0, "the store is not on a local disk")
        target = Path(local.root) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb") as file:
                _write(file, view, where)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with suppress(OSError):
                os.unlink(temporary)
        _drop_others(target)
        return _open(open(target, "rb"), view, "written")
    except OSError as error:  # a store that may only be read can still be scored
        file = tempfile.TemporaryFile()  # noqa: SIM115 -- the mapping keeps it
        _write(file, view, where)
        file.flush()
        return _open(file, view, f"not kept: {error.strerror or error}")


def _drop_others(target: Path) -> None:
    """Remove caches of earlier versions; who has one mapped keeps it until done."""
    for path in target.parent.glob("int8-*.bin"):
        if path != target:
            with suppress(OSError):
                path.unlink()


def _layout(view: View) -> tuple[int, int]:
    """Bytes of one of the small arrays, and where the values start."""
    small = 4 * len(view)
    return small, -(-(_HEADER + 3 * small) // _HEADER) * _HEADER


def _write(file: Any, view: View, where: str) -> None:
    n, k = len(view), view.dim
    start = _layout(view)[1]
    arrays = np.zeros((3, n), np.float32)
    file.truncate(start + n * k)
    file.seek(start)
    for first, block in prefetched(read_blocks(view, max(1, _BLOCK_BYTES // (4 * k)), where)):
        here = slice(first, first + len(block))
        values, scales = mk.quantize_rows(torch.from_numpy(block))
        file.write(values.numpy().data)
        arrays[0, here] = scales
        arrays[1, here], arrays[2, here] = byte_errors(block, values.numpy(), scales.numpy())
    data = arrays.tobytes()
    header = {"format": _FORMAT, "version": view.version, "clips": n, "dim": k, "digest": digest(data)}
    file.seek(0)
    file.write(json.dumps(header).encode().ljust(_HEADER))
    file.write(data)


def byte_errors(
    block: NDArray[np.float32], values: NDArray[np.int8], scales: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Norms of the vectors, and norms of what the bytes miss of the unit vectors, rounded up."""
    wide = block.astype(np.float64)
    norms = np.sqrt(np.einsum("nk,nk->n", wide, wide))
    wide /= np.where(norms > 0, norms, 1.0)[:, None]
    wide -= values * scales.astype(np.float64)[:, None]
    missed = np.sqrt(np.einsum("nk,nk->n", wide, wide)) * (1 + 1e-9)
    return norms, np.nextafter(missed.astype(np.float32), np.float32(np.inf))


def _open(file: BinaryIO, view: View, cache: str) -> Int8Store:
    """Map a file.

    Raises:
        ValueError: it is not what was written for this view.
    """
    n, k = len(view), view.dim
    small, start = _layout(view)
    with file:
        if os.fstat(file.fileno()).st_size != start + n * k:
            raise ValueError("size")
        file.seek(0)
        header = json.loads(file.read(_HEADER))
        data = file.read(3 * small)
        expected = {"format": _FORMAT, "version": view.version, "clips": n, "dim": k, "digest": digest(data)}
        if header != expected:
            raise ValueError("header")
        arrays = np.frombuffer(bytearray(data), np.float32).reshape(3, n)
        values = np.memmap(file, np.int8, "c", start, (n, k))
        if hasattr(os, "posix_fadvise"):  # the system reads ahead of the first pass
            os.posix_fadvise(file.fileno(), start, min(n * k, _AHEAD_BYTES), os.POSIX_FADV_WILLNEED)
            os.posix_fadvise(file.fileno(), start, n * k, os.POSIX_FADV_SEQUENTIAL)
    return Int8Store(values, arrays[0], arrays[1], arrays[2], cache)
