"""A store, motive info and the run's summary say which frames of a file were attributed, and what is odd about it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.data.video.facts import FACT_NAMES, NOTES, PIXEL_RULES, describe_use, notes_lines, read_notes
from motive.errors import OptionError
from motive.store import INDEX_COLUMNS, Store, StoreRow
from motive.store.info import clip_info
from tests.data.clipmaker import discs, encode

FAST = ("--noise-strategy", "single", "--quiet")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels of 16:11, an HDR clip, two recordings joined, and one where nothing moves."""
    folder = tmp_path_factory.mktemp("pool")
    encode(folder / "anamorphic.mp4", discs(30, 2.0), fps=24, aspect=Fraction(16, 11))
    encode(folder / "hdr.mp4", discs(30, 2.0), fps=24, colour={"color_trc": 16})
    parts = [encode(folder / f"{n}.ts", discs(20, 2.0), fps=24, options={"bf": "0"}) for n in range(2)]
    (folder / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    encode(folder / "still.mkv", np.full((30, 96, 160, 3), 90, np.uint8), codec="ffv1", pixel_format="bgr0", fps=24)
    return folder


@pytest.fixture(scope="module")
def store(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "store"
    assert main(["index", str(pool), "--out", str(out), *FAST]) == 3
    return out


def test_every_fact_has_a_column() -> None:
    assert set(FACT_NAMES) <= set(INDEX_COLUMNS)


def test_the_store_records_what_was_used(store: Path) -> None:
    opened = motive.Store.open(store)
    rows = {row["clip_id"]: row for row in opened.columns(None).to_pylist()}
    assert set(rows) == {"anamorphic.mp4", "hdr.mp4", "joined.ts"}
    row = rows["anamorphic.mp4"]
    assert describe_use(row, 12.0) == (
        "frames 0-29 of 30 at 24 fps, 1.25 s, resampled to 12 fps; 160x96 px of 16:11; stream 0"
    )
    assert (row["alpha"], row["deinterlaced"], row["notes"]) == (False, "", "[]")
    assert rows["hdr.mp4"]["hdr"] == "pq"
    ((kind, text),) = read_notes(rows["joined.ts"]["notes"])
    assert kind == "time_stamps"
    assert "frame 20 of joined.ts jumps back" in text
    assert opened.identity.gradient["pixels"] == PIXEL_RULES


def test_failures_after_decoding_say_what_was_used(store: Path) -> None:
    (failure,) = motive.Store.open(store).failures()
    assert failure.reason == "static"
    assert "(frames 0-28 of 30 at 24 fps, 1.21 s, resampled to 12 fps; 160x96 px; stream 0)" in failure.detail


def test_the_summary_counts_what_is_odd(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "store"
    assert main(["index", str(pool), "--out", str(out), *FAST]) == 3
    said = capsys.readouterr()
    text = said.out + said.err
    assert "is HDR (PQ); no tone mapping was applied" in text
    assert "1 clips" not in text
    assert "the time stamp of frame 20 of joined.ts jumps back" in text
    summary = json.loads((out / "summary.json").read_text())
    assert {kind: found["clips"] for kind, found in summary["notes"].items()} == {"hdr": 1, "time_stamps": 1}


def test_info_shows_a_clip(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(store), "--clip", "joined.ts", "anamorphic.mp4"]) == 0
    said = capsys.readouterr().out
    assert "160x96 px of 16:11" in said
    assert "note    the time stamp of frame 20" in said
    assert main(["info", str(store), "--clip", "still.mkv"]) == 2
    assert "static" in capsys.readouterr().err
    with pytest.raises(OptionError, match="nobody"):
        clip_info(store, ["nobody"])


def test_stores_without_these_columns_are_read(tmp_path: Path) -> None:
    """What motive wrote before it recorded these facts."""
    old = {name: kind for name, kind in INDEX_COLUMNS.items() if name not in set(FACT_NAMES) - {"source_fps"}}
    identity = {"projection": {"dim": 4}, "gradient": {"family": "toy"}}
    made = Store.create(tmp_path / "old", identity=identity, columns_schema=old, dim=4)
    made.append([StoreRow("a.mp4", np.ones(4, np.float32), {"path": "/clips/a.mp4", "source_fps": 24.0})])
    assert clip_info(tmp_path / "old", ["a.mp4"]).lines() == [
        "a.mp4",
        "  file    /clips/a.mp4",
        "  shown   not recorded by this store",
    ]


def test_a_store_of_other_pixel_rules_is_not_extended(
    pool: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("motive.indexing.setup.PIXEL_RULES", PIXEL_RULES + 1)
    assert main(["query", str(pool), "--like", str(store), "--out", str(tmp_path / "q"), "--quiet"]) == 1
    assert "pixels" in capsys.readouterr().err


def test_a_spec_that_leaves_interlaced_clips_out(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
    encode(folder / "i.mp4", discs(30, 2.0), fps=24, options=options)
    encode(folder / "p.mp4", discs(30, 2.0), fps=24)
    out = tmp_path / "store"
    assert main(["index", str(folder), "--out", str(out), "--clip-interlaced", "error", *FAST]) == 3
    opened = motive.Store.open(out)
    assert opened.clip_ids == ["p.mp4"]
    assert [failure.reason for failure in opened.failures()] == ["interlaced"]


def test_notes_are_counted_by_kind() -> None:
    counts = {"hdr": (1, "a.mp4 is HDR (PQ)"), "alpha": (2, "b.mov has transparent pixels")}
    assert notes_lines(counts) == [
        f"2 clips {NOTES['alpha']} (for example: b.mov has transparent pixels)",
        "a.mp4 is HDR (PQ)",
    ]
