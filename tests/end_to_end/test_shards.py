"""A dataset in tar shards goes the whole way, and gives what its files would have given."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

import motive
from motive.cli.main import main
from motive.toy.pool import write_pool

SMALL = ("--clip-frames", "9", "--clip-height", "48", "--clip-width", "48")
FAST = ("--noise-strategy", "single", *SMALL, "--quiet", "--threads", "1")


def test_from_shards_to_a_selection_and_a_report(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", clips_per_motion=1, seed=2, motions=("bounce", "slide", "spin"))
    files = sorted(path for path in pool.rglob("*.mp4"))
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, part in enumerate((files[:2], files[2:])):
        with tarfile.open(shards / f"{number}.tar", "w") as archive:
            for file in part:
                archive.add(file, f"clips/{file.name}")
    (shards / "2.tar").write_bytes(b"no tar" * 1000)
    store, queries = tmp_path / "store", tmp_path / "queries"
    assert main(["index", str(shards), "--out", str(store), "--workers", "1", *FAST]) == 3, "one shard is no tar"
    made = motive.Store.open(store)
    assert made.clip_ids == [f"{int(file == files[2])}.tar/clips/{file.name}" for file in files]
    assert [(failure.clip_id, failure.reason) for failure in made.failures()] == [("2.tar", "damaged")]
    assert main(["index", str(pool), "--dataset-format", "folder", "--out", str(tmp_path / "plain"), *FAST]) == 0
    plain = motive.Store.open(tmp_path / "plain")
    np.testing.assert_array_equal(made.vectors(), plain.vectors(), "the same videos in another wrapping")
    assert main(["query", str(files[0]), "--like", str(store), "--out", str(queries), "--quiet"]) == 0
    scores = str(tmp_path / "scores.parquet")
    assert main(["score", str(store), str(queries), "--out", scores]) == 0
    assert main(["select", scores, "--top", "2", "--out", str(tmp_path / "selected")]) == 0
    chosen = []
    for shard in sorted((tmp_path / "selected").rglob("*.tar")):
        with tarfile.open(shard) as archive:
            videos = [member for member in archive.getmembers() if member.name.endswith(".mp4")]
            chosen += [(Path(member.name).name, archive.extractfile(member).read()) for member in videos]  # type: ignore[union-attr]
    assert len(chosen) == 2, "a selection from shards is shards"
    assert {content for _, content in chosen} < {file.read_bytes() for file in files}
    assert len({name for name, _ in chosen}) == 2
    assert main(["report", scores, "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "No film" not in page, "the report shows clips out of shards"
