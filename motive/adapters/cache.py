"""Encoded clips and captions on disk, keyed by everything that changes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from motive.errors import OptionError, StoreError
from motive.publish import published

_VERSION = 1
KINDS = ("latents", "mask", "text")


class Cache:
    """A folder of encoded tensors: one safetensors file an entry, under two levels of hash folders.

    Entries are written to a temporary file and renamed, so that a reader never sees half a file and
    several writers may share the folder. An entry that cannot be read, or whose recorded key is not the one asked
    for, counts as absent and is replaced by the next put.

    Args:
        directory: the folder; made when the first entry is written.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def path(self, kind: str, key_fields: Mapping[str, Any]) -> Path:
        """Where the entry of that key lies, whether it exists or not."""
        digest = hashlib.blake2b(_key_text(kind, key_fields).encode(), digest_size=20).hexdigest()
        return self.directory / kind / digest[:2] / digest[2:4] / f"{digest}.safetensors"

    def get(self, kind: str, key_fields: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The tensors of an entry on the CPU, or None.

        Args:
            kind: one of KINDS.
            key_fields: JSON-able values; for latents the clip's content hash, the clip spec, the encoder's fingerprint
                and settings; for masks the content hash, the clip spec and the mask's settings; for text the caption,
                the text encoder's fingerprint and settings.
        """
        path = self.path(kind, key_fields)
        try:
            with safe_open(path, framework="pt") as file:
                recorded = file.metadata() or {}
                if recorded.get("key") != _key_text(kind, key_fields):
                    return None
                rows = json.loads(recorded["rows"])
                names = list(file.keys())
                return {name: _padded(file.get_tensor(name), rows.get(name)) for name in names}
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def put(self, kind: str, key_fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write an entry, replacing one that is there.

        Trailing rows that are all zero (text padding) are left out of the file and restored by get.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.path(kind, key_fields)
        stored, rows = {}, {}
        for name, tensor in tensors.items():
            tensor = tensor.detach().cpu()
            stored[name] = _trimmed(tensor)
            if stored[name].shape != tensor.shape:
                rows[name] = tensor.shape[0]
        content = save(stored, metadata={"key": _key_text(kind, key_fields), "rows": json.dumps(rows)})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with published(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise StoreError(
                f"cannot write the cache {path.parent}: {error.strerror or error}; "
                "free space or fix permissions, then run the same command again"
            ) from error


def _key_text(kind: str, key_fields: Mapping[str, Any]) -> str:
    if kind not in KINDS:
        raise OptionError(f"Cache: kind must be one of {', '.join(KINDS)}, got {kind!r}; choose one")
    try:
        return json.dumps([_VERSION, kind, dict(key_fields)], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"Cache: key_fields must be JSON values, got {error}; give text, numbers, lists and dicts"
        ) from error


def _trimmed(tensor: Tensor) -> Tensor:
    """The tensor without its trailing all-zero rows; at least one row stays, so that the shape is known."""
    if tensor.ndim != 2 or tensor.shape[0] < 2:
        return tensor.contiguous()
    used = torch.nonzero(tensor.ne(0).any(dim=1))
    return tensor[: max(1, int(used[-1]) + 1) if len(used) else 1].contiguous()


def _padded(tensor: Tensor, rows: int | None) -> Tensor:
    if rows is None or rows == tensor.shape[0]:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(rows - tensor.shape[0], *tensor.shape[1:])])
