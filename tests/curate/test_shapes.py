"""Trainers' files state every shape, the rate and the model that the selected clips were attributed at and with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motive.curate import SelectConfig, select, selection
from motive.data import read_dataset
from motive.scoring import score
from motive.store import Origin, Source, Store, StoreRow
from motive.store.tables import index_columns

CLIP_SPEC = {"fps": 12.0, "frames": 17, "height": 80, "width": 80}
BUCKETS = {"c0": "80x80x17", "c1": "80x80x17", "c2": "80x80x17", "c3": "80x80x9"}


def made(
    tmp_path: Path,
    buckets: dict[str, str] = BUCKETS,
    *,
    family: str = "wan",
    model: str = "Wan-AI/Wan2.1-T2V-14B-Diffusers",
    rates: tuple[float, ...] = (24.0,),
) -> Path:
    """A dataset of files that nobody decodes, its stores and its scores; the path of these."""
    rows = []
    (tmp_path / "set").mkdir()
    for name in buckets:
        (tmp_path / f"set/{name}.mp4").write_bytes(name.encode())
        rows.append({"path": f"{name}.mp4", "caption": f"about {name}"})
    (tmp_path / "set/clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = read_dataset(tmp_path / "set/clips.jsonl")
    gradient = {"family": family, "clip_spec": CLIP_SPEC}
    identity = {"projection": {"dim": 4}, "gradient": gradient}
    origin = Origin(Source.of(dataset), config={"vectors": {"model": model}})
    columns = index_columns(segments=False, buckets=True)
    store = Store.create(tmp_path / "store", identity=identity, origin=origin, columns_schema=columns)
    rng = np.random.default_rng(0)
    rows = []
    for at, clip in enumerate(dataset.clips):
        facts: dict[str, Any] = {"path": str(clip.path), "caption": clip.caption, "columns": "{}"}
        facts |= {"bucket": buckets[clip.path.stem], "source_fps": rates[at % len(rates)]}
        rows.append(StoreRow(clip.clip_id, rng.standard_normal(4).astype(np.float32), facts))
    store.append(rows)
    queries = Store.create(tmp_path / "queries", identity=identity)
    queries.append([StoreRow("q", rng.standard_normal(4).astype(np.float32))])
    score(store, queries, tmp_path / "scores.parquet")
    return tmp_path / "scores.parquet"


def chosen(scores: Path, name: str) -> tuple[Path, str, list[str]]:
    """Folder of a selection of all clips, its TRAIN.md and its summary."""
    out = scores.parent / name
    found = select(scores, out, SelectConfig(top="100%", format=name))
    return out, (out / "TRAIN.md").read_text(), found.lines()


def toml(path: Path) -> dict[str, Any]:
    reader = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    return reader.loads(path.read_text(encoding="utf-8"))


def test_musubi_has_an_entry_for_each_bucket(tmp_path: Path) -> None:
    """Of several lengths in one entry it would take a long clip at each."""
    out, _, _ = chosen(made(tmp_path), "musubi")
    config = toml(out / "dataset.toml")
    names = {}
    for entry in config["datasets"]:
        lines = Path(entry["video_jsonl_file"]).read_text().splitlines()
        names[entry["target_frames"][0]] = sorted(json.loads(line)["caption"] for line in lines)
        assert entry["source_fps"] == 24.0
    assert names == {17: ["about c0", "about c1", "about c2"], 9: ["about c3"]}
    assert config["general"]["resolution"] == [80, 80]
    caches = {entry["cache_directory"] for entry in config["datasets"]}
    assert caches == {f"{out}-cache/80x80x17", f"{out}-cache/80x80x9"}
    read = read_dataset(out / "dataset.toml")
    assert {part.frames for part in read.parts} == {(9,), (17,)}
    assert len(read.clips) == 4


def test_musubi_states_each_size(tmp_path: Path) -> None:
    out, _, _ = chosen(made(tmp_path, BUCKETS | {"c3": "48x128x9"}), "musubi")
    config = toml(out / "dataset.toml")
    assert "resolution" not in config["general"]
    assert {(*entry["resolution"], *entry["target_frames"]) for entry in config["datasets"]} == {
        (80, 80, 17),
        (48, 128, 9),
    }


def test_musubi_leaves_the_rate_open_where_files_differ(tmp_path: Path) -> None:
    out, _, _ = chosen(made(tmp_path, rates=(24.0, 30.0)), "musubi")
    assert all("source_fps" not in entry for entry in toml(out / "dataset.toml")["datasets"])


def test_diffusion_pipe_lists_the_buckets(tmp_path: Path) -> None:
    out, _, _ = chosen(made(tmp_path), "diffusion-pipe")
    config = toml(out / "dataset.toml")
    assert config["size_buckets"] == [[80, 80, 17], [80, 80, 9]]
    assert "frame_buckets" not in config
    (part,) = read_dataset(out / "dataset.toml").parts
    assert part.buckets == ((80, 80, 17), (80, 80, 9))


def test_finetrainers_lists_the_buckets(tmp_path: Path) -> None:
    out, train, _ = chosen(made(tmp_path), "finetrainers")
    (entry,) = json.loads((out / "training.json").read_text())["datasets"]
    assert entry["video_resolution_buckets"] == [[17, 80, 80], [9, 80, 80]]
    assert "--model_name wan --pretrained_model_name_or_path Wan-AI/Wan2.1-T2V-14B-Diffusers" in train


def test_finetrainers_trains_the_family_of_the_store(tmp_path: Path) -> None:
    _, train, lines = chosen(made(tmp_path, family="ltx", model="Lightricks/LTX-Video"), "finetrainers")
    assert "--model_name ltx_video --pretrained_model_name_or_path Lightricks/LTX-Video" in train
    assert "transformer_blocks|single_transformer_blocks" in train
    assert not [line for line in lines if "family" in line]


@pytest.mark.parametrize("name", ["diffsynth", "musubi", "fastvideo"])
def test_a_family_without_a_command_is_named(tmp_path: Path, name: str) -> None:
    _, train, lines = chosen(made(tmp_path, family="ltx", model="Lightricks/LTX-Video"), name)
    said = [line for line in lines if "the store's model is of the family ltx, and the command trains" in line]
    assert len(said) == 1
    assert "The store's model is of the family ltx" in train


def test_diffsynth_takes_the_longest_and_the_store_s_model(tmp_path: Path) -> None:
    _, train, lines = chosen(made(tmp_path), "diffsynth")
    assert "--height 80 --width 80 --num_frames 17" in train
    assert "Wan-AI/Wan2.1-T2V-14B:Wan2.1_VAE.pth" in train
    assert "fewer frames" in train
    assert not [line for line in lines if "store's model" in line]


def test_diffsynth_keeps_aspect_ratios(tmp_path: Path) -> None:
    _, train, _ = chosen(made(tmp_path, BUCKETS | {"c3": "48x128x17"}), "diffsynth")
    assert "--max_pixels 6400 --num_frames 17" in train
    assert "--height" not in train


def test_fastvideo_says_what_it_drops_and_crops(tmp_path: Path) -> None:
    scores = made(tmp_path, BUCKETS | {"c2": "48x128x17", "c4": "80x80x33"})
    _, train, lines = chosen(scores, "fastvideo")
    assert "--preprocess.max_height 80 --preprocess.max_width 80 --preprocess.num_frames 17" in train
    for text in (
        "1 of 5 clips have fewer than 17 frames, and FastVideo drops them",
        "1 of 5 clips have more than 17 frames, and FastVideo cuts them",
        "1 of 5 clips are of another size than 80x80, and FastVideo crops them",
    ):
        assert text in train
        assert text in lines


def test_ai_toolkit_says_what_it_stretches(tmp_path: Path) -> None:
    _, train, lines = chosen(made(tmp_path), "folder")
    assert "num_frames: 17" in train
    assert [line for line in lines if "1 of 4 clips were attributed at another length than 17 frames" in line]


def test_pictures_are_compared_over_the_clip_s_own_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}

    def hashed(path: str, seconds: float, load: Any) -> np.ndarray:
        seen[Path(path).stem] = seconds
        return np.frombuffer(Path(path).read_bytes().ljust(32, b"\0"), np.uint8)

    monkeypatch.setattr(selection, "frame_hash", hashed)
    select(made(tmp_path), tmp_path / "out", SelectConfig(top="100%", max_frame_similarity=0.999))
    assert seen == {"c0": 17 / 12, "c1": 17 / 12, "c2": 17 / 12, "c3": 9 / 12}
