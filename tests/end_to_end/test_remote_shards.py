"""Shards at signed addresses: index, query, score, select, report and replay, with no credentials in what is written."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.toy.pool import write_pool
from tests.data.http_server import Site, http_server

pytestmark = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="needs fsspec[http]")
FAST = ("--noise-strategy", "single", "--quiet", "--threads", "1")
SECRET = "X-Amz-Signature=0123abcdef"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two shards of two clips each."""
    folder = tmp_path_factory.mktemp("site")
    pool = write_pool(folder / "pool", clips_per_motion=1, seed=3, motions=("bounce", "slide", "spin", "roll"))
    videos = sorted((pool).rglob("*.mp4"))
    made = Site(signature=SECRET)
    for number in range(2):
        with tarfile.open(folder / f"s-{number}.tar", "w") as archive:
            for video in videos[2 * number : 2 * number + 2]:
                archive.add(video, video.name)
        made.files[f"set/s-{number}.tar"] = (folder / f"s-{number}.tar").read_bytes()
    with http_server(made):
        yield made


def test_the_whole_job(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address, cache = f"{site.address}/set/s-{{0..1}}.tar", str(tmp_path / "cache")
    store, queries, scores = tmp_path / "store", tmp_path / "queries", tmp_path / "scores.parquet"
    assert main(["data", "check", f"{address}?{SECRET}", "--shard-cache", cache, "--quiet"]) == 0
    asked = dict(site.seen)
    command = ["index", f"{address}?{SECRET}", "--out", str(store), "--shard-cache", cache, *FAST, "-v"]
    assert main(command) == 0
    made = motive.Store.open(store)
    assert [clip_id.partition("/")[0] for clip_id in made.clip_ids] == ["s-0.tar"] * 2 + ["s-1.tar"] * 2
    assert main([*command[:-1], "-v"]) == 0, "resumed"
    assert main(["query", f"{site.address}/set/s-1.tar", "--like", str(store), "--out", str(queries), "--quiet"]) == 0
    assert dict(site.seen) == asked, "each shard is fetched once, for all of these"
    assert main(["score", str(store), str(queries), "--out", str(scores)]) == 0
    (shard,) = (tmp_path / "cache").rglob("s-0.tar")
    shard.unlink()
    names = ["select", str(scores), "--top", "4", "--scores-only", "--out", str(tmp_path / "names")]
    assert main(names) == 0
    needed = (tmp_path / "names/needed.csv").read_text().splitlines()
    size = len(site.files["set/s-0.tar"])
    assert needed[1].startswith(f"s-0.tar,{size},2,")
    assert needed[1].endswith(f",{site.address}/set/s-0.tar")
    assert main(["select", str(scores), "--top", "4", "--out", str(tmp_path / "selected")]) == 1
    said = capsys.readouterr()
    assert "the server refuses access (403)" in said.err, "the signature was not kept"
    assert main(command) == 0, "gives it again, and fetches the shard"
    assert main(["select", str(scores), "--top", "4", "--out", str(tmp_path / "selected")]) == 0
    assert len(motive.data.read_dataset(tmp_path / "selected/shards").clips) == 4
    assert main(["report", str(scores), "--out", str(tmp_path / "report")]) == 0
    assert "cannot be shown" not in (tmp_path / "report/index.html").read_text("utf-8")
    again = tmp_path / "again"
    assert main(["replay", str(store / "run.json"), "--out", str(again), "--quiet"]) == 0
    np.testing.assert_array_equal(motive.Store.open(again).vectors(), made.vectors())
    record = json.loads((store / "run.json").read_text())
    assert record["arguments"]["dataset"] == address
    said_later = capsys.readouterr()
    texts = [said.out, said.err, said_later.out, said_later.err]
    texts += [str(path) for path in tmp_path.rglob("*")]
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("0123abcdef" in text for text in texts)


def test_another_cache_is_said(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"{site.address}/set/s-0.tar?{SECRET}"
    command = ["index", address, "--out", str(tmp_path / "store"), *FAST, "--shard-cache"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert main([*command, str(tmp_path / "two")]) == 2
    assert "give the same --shard-cache" in capsys.readouterr().err
