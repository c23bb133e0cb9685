"""The shapes and the model that selected clips were attributed at and with, as the stores have them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from motive.data import Attributed
from motive.data.video.buckets import Bucket
from motive.errors import ConfigError
from motive.extras import require
from motive.scores.stores import ScoredStores

_FETCHED = 1 << 16


def attributed_of(stores: ScoredStores, ids: Any) -> Attributed:
    """What the stores say of some clips.

    Args:
        stores: that hold them.
        ids: pyarrow array of large_string, in the order of the selection.
    """
    store = stores.first
    spec, family = _clip_spec(stores), store.identity.gradient.get("family")
    names: dict[str, int] = {}
    shape_of, rates = array("i"), set[float | None]()
    columns = stores.known(["bucket", "source_fps"])
    for start in range(0, len(ids), _FETCHED):
        table = stores.table(ids[start : start + _FETCHED], columns)[1]
        if "bucket" in columns:
            shape_of.extend(names.setdefault(name or "", len(names)) for name in table.column("bucket").to_pylist())
        if "source_fps" in columns:
            rates.update(table.column("source_fps").unique().to_pylist())
    shapes = tuple(_shape(name, spec) for name in names) or (_shape("", spec),)
    rate = rates.pop() if len(rates) == 1 else None
    return Attributed(
        shapes=shapes,
        shape_of=shape_of if len(shapes) > 1 else (),
        fps=spec.get("fps", 16.0),
        family=family if isinstance(family, str) else "",
        model=store.manifest.origin.model,
        source_fps=round(rate, 3) if rate else None,
    )


def seconds_of(stores: ScoredStores, bucket: str) -> float:
    """Length of the clips of a bucket in seconds; of all clips without buckets.

    Args:
        stores: of the clips.
        bucket: as the store's index has it; empty without buckets.
    """
    spec = _clip_spec(stores)
    return _shape(bucket, spec)[2] / spec.get("fps", 16.0)


def clip_path(stores: ScoredStores, clip_id: str, where: str) -> tuple[str, str]:
    """Path and bucket of a clip; the latter is empty without buckets."""
    pa = require("pyarrow", where, extra="tables")
    columns = ["path", *stores.known(["bucket"])]
    (row,) = stores.table(pa.array([clip_id], pa.large_string()), columns)[1].to_pylist()
    return row["path"] or "", row.get("bucket") or ""


def _shape(bucket: str, spec: Mapping[str, float]) -> tuple[int, int, int]:
    """Width, height and frames of a bucket; those of the clip spec without one."""
    if bucket:
        try:
            found = Bucket.parse(bucket)
        except ConfigError:
            pass  # another software's name
        else:
            return found.width, found.height, found.frames
    return int(spec.get("width", 832)), int(spec.get("height", 480)), int(spec.get("frames", 81))


def _clip_spec(stores: ScoredStores) -> dict[str, float]:
    """Rate, length and size that the clips were attributed at, where the stores say."""
    spec = stores.first.identity.gradient.get("clip_spec")
    names = ("fps", "frames", "height", "width")
    if not isinstance(spec, Mapping) or not all(isinstance(spec.get(name), (int, float)) for name in names):
        return {}
    return {name: float(spec[name]) for name in names}
