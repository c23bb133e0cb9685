"""Every format that is read, through index, score and select back to the same format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import motive
from motive.data import Clip, ClipSpec, DecoderPool, dataset_formats, read_dataset, write_video
from motive.data.media import media_of
from motive.gradients.draws import DrawConfig
from motive.toy.render import render_clip
from motive_kernels import ProjectionSpec
from tests.data.sample import CAPTIONS, Sample
from tests.data.samples import SAMPLES

CLIP_SPEC = ClipSpec(fps=12.0, frames=5, height=32, width=32)
CONFIG = motive.IndexConfig(
    model="toy",
    clip_spec=CLIP_SPEC,
    draws=DrawConfig(strategy="single"),
    projection=ProjectionSpec(dim=64),
    parameters=("proj_out.*",),  # a pass over the last layer alone; how gradients are taken matters to no dataset
    batch_size=4,
    threads=1,
    decode_threads=1,
)


class LentPool:
    """Stands for a run's DecoderPool: one for all runs of this file, since starting a decoder takes longer than they do.

    Args:
        pool: that stays open.
    """

    def __init__(self, pool: DecoderPool) -> None:
        self.load_clip, self.measure_shape = pool.load_clip, pool.measure_shape

    def close(self) -> None:
        """Leave it open."""


@pytest.fixture(scope="module", autouse=True)
def one_decoder() -> Iterator[None]:
    with DecoderPool(CLIP_SPEC) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr("motive.indexing.encode.DecoderPool", lambda specs: LentPool(pool))
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("videos")
    for number, motion in enumerate(("slide", "spin", "swing")):
        frames = render_clip(motion, number).frames[:12]
        write_video(folder / f"{number}.mp4", frames[:, 32:96, 32:96], 24)
    return [(folder / f"{number}.mp4").read_bytes() for number in range(3)]


@pytest.fixture(scope="module")
def queries(videos: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    (folder / "clips").mkdir()
    (folder / "clips/q.mp4").write_bytes(videos[0])
    motive.index(folder / "clips", out=folder / "store", config=CONFIG)
    return folder / "store"


def content(clip: Clip) -> bytes:
    with media_of(clip.path).open() as file:
        return file.read()


def test_every_registered_format_has_a_sample() -> None:
    missing = sorted(set(dataset_formats()) - {sample.format for sample in SAMPLES})
    assert not missing, f"tests/data/samples.py has no dataset of format {', '.join(missing)}"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_dataset_comes_back_in_its_own_format(
    tmp_path: Path, videos: list[bytes], queries: Path, sample: Sample
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    path = sample.make(root, videos)
    before = read_dataset(path)
    assert before.format == sample.format, "it is recognised"
    assert sorted(failure.reason for failure in before.failures) == sorted(sample.bad)
    usable = {clip.clip_id: clip for clip in before.clips if content(clip) in videos}
    assert sorted(clip.caption for clip in usable.values()) == sorted(CAPTIONS)
    (broken,) = {clip.clip_id for clip in before.clips} - set(usable)

    run = motive.index(path, out=tmp_path / "store", config=CONFIG)
    assert (run.stored, run.failed) == (3, len(sample.bad) + 1), run.lines()
    listed = {failure.clip_id: failure.reason for failure in motive.Store.open(tmp_path / "store").failures()}
    assert set(listed) == {broken, *(failure.clip_id for failure in before.failures)}
    motive.score(tmp_path / "store", queries, tmp_path / "scores.parquet")
    out = tmp_path / "out"
    chosen = motive.select(tmp_path / "scores.parquet", out, motive.SelectConfig(top="2")).clip_ids
    record = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    assert {name: words.split(": ")[1] for name, words in record["failed"]["each"].items()} == listed
    assert sum(entry["clips"] for entry in record["explanation"]) == 3, "every scored clip is explained"

    again = read_dataset(out / sample.inside, sample.read_as or sample.format)
    assert not again.failures
    ids = ids_of(sample, out)
    found = {ids.get(clip.clip_id, clip.clip_id): clip for clip in again.clips}
    assert sorted(found) == sorted(chosen)
    for clip_id, clip in found.items():
        check_clip(sample, usable[clip_id], clip)
    if sample.values is not None:
        check_values(sample, path if path.is_file() else root, out / sample.inside)


def ids_of(sample: Sample, out: Path) -> dict[str, str]:
    """Ids in the dataset by those of the selection, where its file names are others."""
    if not sample.renames:
        return {}
    with (out / "clips.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["clip_id"] for row in csv.DictReader(file)}


def check_clip(sample: Sample, before: Clip, after: Clip) -> None:
    """The video, the caption, and every column as text."""
    assert content(after) == content(before)
    assert after.caption == before.caption
    kept = {name: text for name, text in before.columns.items() if name not in sample.paths}
    assert {name: after.columns.get(name) for name in kept} == kept
    if sample.values is not None:
        assert "note" in kept, "the sample has columns that no format knows"


def check_values(sample: Sample, before: Path, after: Path) -> None:
    """The unknown columns as the files have them: null stays null, and a list a list."""
    assert sample.values is not None
    was, now = sample.values(before), sample.values(after)
    assert len(now) == 2
    for note, values in now.items():
        assert values == was[note]
        kinds = {name: type(value) for name, value in was[note].items()}
        assert {name: type(value) for name, value in values.items()} == kinds
