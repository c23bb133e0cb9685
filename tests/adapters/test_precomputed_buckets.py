"""Caches of several shapes with buckets: each clip lies in a bucket that its latents have the shape of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import motive
from motive.adapters import Adapter, load_adapter
from motive.adapters.precomputed.base import Seen
from motive.adapters.precomputed.use import open_latents
from motive.data import ClipSpec, load_clip
from motive.data.video.buckets import Bucket, BucketConfig, ClipSpecs, in_order
from motive.errors import ClipError
from motive.gradients.draws import DrawConfig
from motive.indexing.config import ReadConfig
from tests.adapters.test_precomputed import fastvideo, scene
from tests.data.clipmaker import encode

BASE = ClipSpec(fps=16, frames=9, height=32, width=32)
BUCKETS = ("48x32x9", "32x32x9", "32x32x5")
SPECS = ClipSpecs(BASE, in_order([Bucket.parse(name) for name in BUCKETS]))
CACHED = {"a": ("48x32x9",), "b": ("32x32x9",), "c": ("32x32x9", "32x32x5"), "d": ("32x32x5",), "e": ("64x32x9",)}
"""Clip -> the shapes that its latents are cached in. All are 64x40 and long enough for each, so that encoding would bring
them to 48x32x9."""

CHOSEN = {"a": "48x32x9", "b": "32x32x9", "c": "32x32x9", "d": "32x32x5"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate([*CACHED, "f"]):
        encode(folder / f"{name}.mp4", scene(seed))
        (folder / f"{name}.txt").write_text(f"the {name}")
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_wan: Path) -> Adapter:
    return load_adapter(tiny_wan)


@pytest.fixture(scope="module")
def latents(adapter: Adapter, videos: Path) -> Mapping[tuple[str, str], Tensor]:
    """(clip, bucket) -> what indexing encodes."""
    with adapter.video_encoder() as run:
        return {
            (name, size): run(torch.from_numpy(load_clip(videos / f"{name}.mp4", Bucket.parse(size).spec(BASE)).frames))
            for name, sizes in CACHED.items()
            for size in sizes
        }


@pytest.fixture(scope="module")
def cache(latents: Mapping[tuple[str, str], Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As musubi-tuner names it: by the frames taken and the size of the video's own frames."""
    folder = tmp_path_factory.mktemp("cache")
    for (name, size), value in latents.items():
        key = f"latents_{'x'.join(map(str, value.shape[1:]))}_float32"
        metadata = {"architecture": "wan", "format_version": "1.0.1"}
        file = folder / f"{name}_00000-{Bucket.parse(size).frames:03d}_0064x0040_wan.safetensors"
        save_file({key: value.contiguous()}, file, metadata=metadata)
    return folder


def test_a_clip_has_the_buckets_of_its_latents(adapter: Adapter, videos: Path, cache: Path) -> None:
    found = open_latents(cache, adapter, SPECS)
    for name, size in CHOSEN.items():
        held = {bucket.name for bucket in found.fitting(videos / f"{name}.mp4").buckets}
        assert held == set(CACHED[name])
        assert size in held
    with pytest.raises(ClipError, match=r"latents_shape: the latents of e\.mp4 are 3x4x8 .* and no bucket is"):
        found.fitting(videos / "e.mp4")
    with pytest.raises(ClipError, match="no_latents"):
        found.fitting(videos / "f.mp4")
    one = ClipSpecs(BASE)
    assert open_latents(cache, adapter, one).fitting(videos / "e.mp4") == one


def test_rows_of_fastvideo_have_their_shape(
    adapter: Adapter, videos: Path, latents: Mapping[tuple[str, str], Tensor], tmp_path: Path
) -> None:
    rows = {name: latents[name, CACHED[name][0]] for name in "abe"}
    found = open_latents(fastvideo(tmp_path / "rows", rows, adapter), adapter, SPECS, 16)
    for name in "ab":
        assert [bucket.name for bucket in found.fitting(videos / f"{name}.mp4").buckets] == [CHOSEN[name]]
    with pytest.raises(ClipError, match="latents_shape"):
        found.fitting(videos / "e.mp4")
    with pytest.raises(ClipError, match="no_latents"):
        found.fitting(videos / "f.mp4")


def test_the_first_clip_of_each_shape_is_proved_whole(
    adapter: Adapter, videos: Path, latents: Mapping[tuple[str, str], Tensor], cache: Path
) -> None:
    found, calls = open_latents(cache, adapter, SPECS), []
    with adapter.clip_encoder() as run:

        def counted(frames: Tensor) -> dict[str, Tensor]:
            calls.append(len(frames))
            return run(frames)

        for name, size in [*CHOSEN.items()] * 2:
            clip = load_clip(videos / f"{name}.mp4", Bucket.parse(size).spec(BASE))
            frames = len(clip.frames)
            seen = Seen(videos / f"{name}.mp4", clip.used_first, clip.used_last, True, frames, 16.0, 40, 64)
            taken = found.take(seen, torch.from_numpy(clip.frames), counted)["latents"]
            assert torch.equal(taken, latents[name, size])
    assert calls == [1, 9, 1, 9, 1, 1, 5, 1, 1, 1, 1]


def test_an_index_of_a_cache_of_several_shapes(tiny_wan: Path, videos: Path, cache: Path, tmp_path: Path) -> None:
    """Vectors are those of encoding into the same buckets, where encoding would choose them."""
    config = motive.IndexConfig(
        model=str(tiny_wan), clip_spec=BASE, buckets=BucketConfig(sizes=BUCKETS), draws=DrawConfig("single"), threads=1
    )
    done = motive.index(videos, out=tmp_path / "taken", config=replace(config, latents=str(cache)))
    assert (done.stored, dict(done.reasons)) == (4, {"latents_shape": 1, "no_latents": 1})
    taken = motive.Store.open(tmp_path / "taken")
    buckets = dict(zip(taken.clip_ids, taken.columns(["bucket"]).column("bucket").to_pylist(), strict=True))
    assert buckets == {f"{name}.mp4": size for name, size in CHOSEN.items()}
    encoded = motive.index(videos, out=tmp_path / "encoded", config=config)
    assert encoded.stored == 6
    ours = motive.Store.open(tmp_path / "encoded")
    np.testing.assert_array_equal(taken.vectors()[0], ours.vectors()[0])
    read = ReadConfig(latents=str(cache))
    assert motive.query(videos, like=tmp_path / "taken", out=tmp_path / "asked", read=read).stored == 4
