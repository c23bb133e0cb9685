"""Scored datasets of files that nobody decodes."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from motive.data import read_dataset
from motive.scoring import ScoreConfig, score
from motive.store import Origin, Source, Store, StoreRow

IDENTITY = {"projection": {"dim": 6}, "gradient": {}}


@dataclass
class Scored:
    """A dataset, its stores and its scores."""

    dataset: Path
    store: Path
    scores: Path
    query_ids: list[str]


def write_dataset(root: Path, kind: str, count: int) -> Path:
    """A dataset in one of the layouts; returns what read_dataset is given."""
    if kind == "webdataset":
        root.mkdir()
        with tarfile.open(root / "x.tar", "w") as archive:
            for number in range(count):
                info = tarfile.TarInfo(f"clip {number:03d}.mp4")
                info.size = 1
                archive.addfile(info, io.BytesIO(b"v"))
        return root
    names = [f"videos/{number % 3}/clip {number:03d}é.mp4" for number in range(count)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"video %d" % number)
    captions = [f'=cmd|"{number}", a <b>roll</b>\nnext line' for number in range(count)]
    if kind == "folder":
        for name, caption in zip(names, captions, strict=True):
            (root / name).with_suffix(".txt").write_text(caption)
        return root
    keys = {"videofolder": ("file_name", "text"), "diffsynth": ("video", "prompt"), "jsonl": ("path", "caption")}[kind]
    rows = [
        {keys[0]: name, keys[1]: caption, "rank": f"own {number}", "fps": "16"}
        for number, (name, caption) in enumerate(zip(names, captions, strict=True))
    ]
    table = root / ("clips.jsonl" if kind == "jsonl" else "metadata.csv")
    with open(table, "w", newline="", encoding="utf-8") as file:
        if kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return table if kind == "jsonl" else root


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., Scored]:
    """scored(kind, count) -> a dataset of that layout, indexed with random vectors and scored."""

    def make(
        kind: str = "folder",
        count: int = 30,
        vectors: Sequence[Sequence[float]] | None = None,
        config: ScoreConfig | None = None,
    ) -> Scored:
        dataset = read_dataset(write_dataset(tmp_path / "data", kind, count))
        assert dataset.format == kind
        rng = np.random.default_rng(0)
        given = np.array(vectors if vectors is not None else rng.standard_normal((count, 6)), np.float32)
        store = Store.create(tmp_path / "store", identity=IDENTITY, origin=Origin(Source.of(dataset)))
        rows = [
            StoreRow(
                clip.clip_id,
                vector,
                {"path": str(clip.path), "caption": clip.caption, "columns": json.dumps(dict(clip.columns))},
            )
            for clip, vector in zip(dataset.clips, given, strict=True)
        ]
        for start in range(3):
            store.append(rows[start::3])
        queries = Store.create(tmp_path / "queries", identity=IDENTITY)
        queries.append([StoreRow(f"q/{n}.mp4", rng.standard_normal(6).astype(np.float32)) for n in range(4)])
        score(store, queries, tmp_path / "scores.parquet", config)
        return Scored(dataset.root, store.path, tmp_path / "scores.parquet", queries.clip_ids)

    return make
