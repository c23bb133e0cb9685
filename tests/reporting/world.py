"""A small world to report on: two stores, a scores file, and a source of clips that needs no video files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from motive.data.base import Failure
from motive.errors import ClipError
from motive.reporting.build import build_report
from motive.reporting.config import ReportConfig
from motive.reporting.media import ClipFrames, Recipe
from motive.store import Origin, Store, StoreRow

MOTIONS = ("bounce", "roll", "spin", "swing")
IDENTITY: Mapping[str, Any] = {
    "projection": {"kind": "tensor_sketch", "dim": 8, "seed": 0},
    "gradient": {
        "loss": "test/1",
        "family": "toy",
        "fingerprints": {"transformer": "0123456789abcdef0123"},
        "settings": {},
        "clip_spec": {"fps": 16.0, "frames": 9, "height": 48, "width": 64},
        "mask": {"source": "dis", "weighting": "motion", "pooling": "causal_max"},
        "motion_source": {"name": "dis"},
        "draws": {"strategy": "uniform", "count": 4, "sigma": 0.751, "seed": 0},
        "latent_shape": [16, 3, 6, 8],
    },
}


@dataclass
class World:
    """Paths of a scored dataset, and a reader for its clips.

    Attributes:
        scores: the scores file.
        values: [n, q] its scores.
        clip_ids, query_ids: in the order of the scores.
        gone: names of clip files that can no longer be read.
        read: paths that the reader was asked for.
    """

    folder: Path
    scores: Path
    values: np.ndarray
    clip_ids: list[str]
    query_ids: list[str]
    gone: set[str] = field(default_factory=set)
    read: list[Path] = field(default_factory=list)

    def source(self, path: Path, recipe: Recipe) -> ClipFrames:
        """A square that crosses a textured ground, its mask where it is."""
        self.read.append(path)
        if path.name in self.gone:
            raise ClipError("missing_file", "the file is no longer where indexing found it")
        spec = recipe.clip_spec
        height, width, count = spec.height, spec.width, spec.frames
        frames = np.full((count, height, width, 3), (90, 120, 150), np.uint8)
        frames[:, ::4, :, 1] += 30
        weights = np.zeros(recipe.grid, np.float32)
        for t in range(count):
            x = int((width - 12) * t / (count - 1))
            frames[t, 20:32, x : x + 12] = (220, 60, 40)
            j = -(-t * (recipe.grid[0] - 1) // (count - 1))
            weights[j, 2:5, min(recipe.grid[2] - 1, x * recipe.grid[2] // width)] = 1.0
        return ClipFrames(frames, spec.fps, weights)

    def build(self, out: Path, config: ReportConfig | None = None, enlarge: bool = False) -> str:
        """Build a report and return its HTML; its films keep their small size unless ``enlarge`` is asked for."""
        config = config or ReportConfig()
        config = config if enlarge else replace(config, min_height_px=16)
        return build_report(self.scores, out, config, self.source).path.read_text("utf-8")


def make_world(
    folder: Path,
    *,
    clips: int = 30,
    queries: int = 4,
    caption: str = "a red square on a grey ground",
    clip_ids: Sequence[str] | None = None,
    query_ids: Sequence[str] | None = None,
    failures: Sequence[Failure] = (),
    gradient: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> World:
    """Write two stores and a scores file with random scores, clips of the query's own motion a little higher."""
    rng = np.random.default_rng(seed)
    ids = sorted(clip_ids if clip_ids is not None else [f"clips/{n:05d}.mp4" for n in range(clips)])
    names = sorted(query_ids if query_ids is not None else [f"query-{n:02d}.mp4" for n in range(queries)])
    identity = {**IDENTITY, "gradient": {**IDENTITY["gradient"], **(gradient or {})}}
    stores = []
    for role, members in (("clips", ids), ("queries", names)):
        store = Store.create(folder / role, identity=identity, origin=Origin(config={"vectors": {"model": "toy"}}))
        rows = [
            StoreRow(
                member,
                rng.standard_normal(8).astype(np.float32),
                {
                    "path": str(folder / "videos" / role / f"{position}.mp4"),
                    "caption": caption,
                    "magnitude_px_mean": float(rng.gamma(2.0)),
                    "static": False,
                    "columns": json.dumps({"motion": MOTIONS[position % len(MOTIONS)]}),
                },
            )
            for position, member in enumerate(members)
        ]
        store.append(rows)
        stores.append(store)
    stores[0].append_failures(failures)
    own = np.arange(len(ids))[:, None] % len(MOTIONS) == np.arange(len(names))[None, :] % len(MOTIONS)
    values = (rng.normal(0.02, 0.12, own.shape) + 0.18 * own).astype(np.float32)
    scores = folder / "scores.parquet"
    write_scores(scores, values, ids, names, stores[0].path, stores[1].path)
    return World(folder, scores, values, ids, names)


def write_scores(
    path: Path, values: np.ndarray, clip_ids: Sequence[str], query_ids: Sequence[str], store: Path, queries: Path
) -> None:
    """A scores file as motive score writes it."""
    thresholds = np.quantile(values, 0.9, axis=0)
    votes = (values >= thresholds).sum(axis=1)
    order = np.lexsort((np.arange(len(values)), -values.mean(axis=1), -votes))
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(1, len(values) + 1)
    columns: dict[str, pa.Array] = {
        "clip_id": pa.array(clip_ids, pa.large_string()),
        "votes": pa.array(votes, pa.int32()),
        "mean": pa.array(values.mean(axis=1), pa.float32()),
        "max": pa.array(values.max(axis=1), pa.float32()),
        "rank": pa.array(rank),
        "percentile": pa.array(100.0 * (1 - (rank - 1) / len(values)), pa.float32()),
    }
    columns.update({f"query/{name}": pa.array(values[:, q], pa.float32()) for q, name in enumerate(query_ids)})
    identities = {}
    for role, folder in (("store", store), ("queries", queries)):
        if (folder / "manifest.json").is_file():
            identities[role] = dict(Store.open(folder).manifest.identity_digest)
    metadata = {
        "identities": identities,
        "format": "motive.scores",
        "version": 2,
        "store": str(store),
        "queries": str(queries),
        "store_version": "v",
        "clips": len(values),
        "similarity": "cosine",
        "preconditioner": "ridge",
        "damping": 1.0,
        "vote_share": 0.1,
        "vote_count": max(1, len(values) // 10),
        "rank_by": "votes",
        "thresholds": dict(zip(query_ids, map(float, thresholds), strict=True)),
        "ties": {"0.1": {"count": max(1, len(values) // 10), "tied": 4, "tied_above": 1, "undecided": 0}},
    }
    table = pa.table(columns).replace_schema_metadata({b"motive": json.dumps(metadata).encode()})
    pq.write_table(table, path)


def keep_top(scores: Path, top_k: int) -> None:
    """Make a scores file one of int8 scores: of each query the scores of its top-k clips alone."""
    table = pq.read_table(scores)
    columns = {name: table.column(name) for name in table.column_names}
    for name in (name for name in columns if name.startswith("query/")):
        values = columns[name].to_numpy()
        best = np.argsort(-values, kind="stable")[:top_k]
        columns[name] = pa.array(values, mask=~np.isin(np.arange(len(values)), best))
    header = {**json.loads(table.schema.metadata[b"motive"]), "precision": "int8", "top_k": top_k}
    pq.write_table(pa.table(columns).replace_schema_metadata({b"motive": json.dumps(header).encode()}), scores)
