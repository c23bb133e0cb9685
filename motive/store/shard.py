"""The vectors of a shard: a safetensors file of three tensors, written by safetensors and read in slices.

The reader parses the header itself, since it wants parts of files whose bytes are checked elsewhere, and wants
every fault of a hostile header to be a StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from motive.errors import StoreError
from motive.store.files import Files
from motive.store.fingerprint import digest
from motive.store.ids import ClipIds
from motive.store.records import load_json

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 1 << 16
_DTYPES: Mapping[str, tuple[str, int]] = {"ids.bytes": ("U8", 1), "ids.offsets": ("I64", 8), "vectors": ("F32", 4)}


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a shard's file lie: bytes from the start of the file to each tensor, and id bytes."""

    vectors: int
    ids_offsets: int
    ids_bytes: int
    ids_size: int


def encode_vectors(ids: ClipIds, vectors: NDArray[np.float32]) -> tuple[bytes, str]:
    """Bytes of a shard's safetensors file, and the digest of its ids."""
    tensors: dict[str, NDArray[Any]] = {
        "vectors": np.ascontiguousarray(vectors, "<f4"),
        "ids.offsets": np.ascontiguousarray(ids.offsets, "<i8"),
        "ids.bytes": np.ascontiguousarray(ids.data),
    }
    return save(tensors, {"format": "motive.store.vectors"}), digest_ids(ids)


def digest_ids(ids: ClipIds) -> str:
    """Digest of the id tensors: the bytes of ids.offsets, then those of ids.bytes."""
    return digest(np.ascontiguousarray(ids.offsets, "<i8").tobytes() + ids.data.tobytes())


def read_layout(files: Files, name: str, rows: int, dim: int) -> Layout:
    """Read and check the header of a shard's file.

    Raises:
        StoreError: it is not the safetensors file of a shard with these rows and this width.
    """
    where, size = files.where(name), files.size(name)
    if size is None or size < _LENGTH_BYTES:
        _damaged(where, f"the file must be safetensors, got {'none' if size is None else f'{size} bytes'}")
    length = int.from_bytes(files.read(name, 0, _LENGTH_BYTES), "little")
    if length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
        _damaged(where, f"the header must fit the file and {_MAX_HEADER_BYTES} bytes, got {length}")
    header = load_json(files.read(name, _LENGTH_BYTES, length), where)
    if not isinstance(header, dict) or sorted(set(header) - {"__metadata__"}) != sorted(_DTYPES):
        found = sorted(header) if isinstance(header, dict) else type(header).__name__
        _damaged(where, f"tensors must be {', '.join(_DTYPES)}, got {found}")
    start, data_size = _LENGTH_BYTES + length, size - _LENGTH_BYTES - length
    spans = {tensor: _span(header[tensor], tensor, where) for tensor in _DTYPES}
    ids_size = spans["ids.bytes"][1] - spans["ids.bytes"][0]
    shapes = {"ids.bytes": [ids_size], "ids.offsets": [rows + 1], "vectors": [rows, dim]}
    for tensor, (dtype, item_bytes) in _DTYPES.items():
        begin, end = spans[tensor]
        count = int(np.prod([int(length) for length in shapes[tensor]], dtype=object))
        if header[tensor].get("dtype") != dtype or header[tensor].get("shape") != shapes[tensor]:
            found = (header[tensor].get("dtype"), header[tensor].get("shape"))
            _damaged(where, f"{tensor} must be {dtype} {shapes[tensor]}, got {found}")
        if end - begin != count * item_bytes:
            _damaged(where, f"{tensor} must take {count * item_bytes} bytes, got {end - begin}")
    edges = sorted(spans.values())
    if [edges[0][0], edges[1][0], edges[2][0], data_size] != [0, edges[0][1], edges[1][1], edges[2][1]]:
        _damaged(where, f"tensors must fill the {data_size} data bytes one after another, got {edges}")
    return Layout(start + spans["vectors"][0], start + spans["ids.offsets"][0], start + spans["ids.bytes"][0], ids_size)


def read_ids(files: Files, name: str, layout: Layout, rows: int, expected_digest: str) -> ClipIds:
    """The ids of a shard.

    Raises:
        StoreError: they are not what the commit record promises.
    """
    offsets = np.frombuffer(files.read(name, layout.ids_offsets, (rows + 1) * 8), "<i8").astype(np.int64, copy=False)
    ids = ClipIds(np.frombuffer(files.read(name, layout.ids_bytes, layout.ids_size), np.uint8), offsets)
    fault = ids.fault()
    if fault:
        _damaged(files.where(name), fault)
    if digest_ids(ids) != expected_digest:
        _damaged(files.where(name), f"ids must have digest {expected_digest}, got {digest_ids(ids)}")
    return ids


def read_vectors(files: Files, name: str, layout: Layout, dim: int, start: int, stop: int) -> NDArray[np.float32]:
    """Rows start to stop - 1 of a shard's vectors, [stop - start, k], read-only."""
    data = files.read(name, layout.vectors + start * dim * 4, (stop - start) * dim * 4)
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(stop - start, dim)


def _span(entry: Any, tensor: str, where: str) -> tuple[int, int]:
    span = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(span, list) or len(span) != 2 or any(type(edge) is not int for edge in span):
        _damaged(where, f"{tensor} must have data_offsets, got {entry!r}")
    if not 0 <= span[0] <= span[1]:
        _damaged(where, f"{tensor} must have rising data_offsets, got {span}")
    return span[0], span[1]


def _damaged(where: str, reason: str) -> NoReturn:
    raise StoreError(f"{where}: {reason}; the file is damaged: run motive verify, or restore it from a copy")
