"""Latents of musubi-tuner and FastVideo, written in their published layouts with the tiny Wan encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import motive
from motive.adapters import Adapter, load_adapter
from motive.adapters.pipeline import channel
from motive.adapters.precomputed.base import Seen
from motive.adapters.precomputed.use import TOLERANCE, PrecomputedLatents, difference, open_latents
from motive.data import ClipSpec, LoadedClip, load_clip
from motive.data.video.buckets import ClipSpecs
from motive.errors import ClipError, IdentityMismatch, OptionError
from motive.gradients.draws import DrawConfig
from motive.indexing.config import ReadConfig
from tests.data.clipmaker import encode
from tests.tiny_pipelines import FIRST_FRAME

SPEC = ClipSpec(fps=16, frames=9, height=32, width=32)
SHAPE = (16, 3, 4, 4)
ONE = ClipSpecs(SPEC)
NAMES = ("a", "b", "c")
Encode = Callable[[Tensor], dict[str, Tensor]]


def scene(seed: int, frames: int = 14, height: int = 40, width: int = 64) -> np.ndarray:
    chosen = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = chosen.repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(picture, 3 * at, axis=1) for at in range(frames)])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(NAMES):
        encode(folder / f"{name}.mp4", scene(seed))
        (folder / f"{name}.txt").write_text(f"the {name}")
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_wan: Path) -> Adapter:
    return load_adapter(tiny_wan)


@pytest.fixture(scope="module")
def latents(adapter: Adapter, videos: Path) -> Mapping[str, Tensor]:
    """What indexing encodes."""
    with adapter.video_encoder() as run:
        return {name: run(torch.from_numpy(load_clip(videos / f"{name}.mp4", SPEC).frames)) for name in NAMES}


def musubi(folder: Path, latents: Mapping[str, Tensor], dtype: torch.dtype = torch.float32, **about: str) -> Path:
    """Cache files of musubi-tuner 0.3.4: normalised latents, and text embeddings that are not read."""
    folder.mkdir(exist_ok=True)
    kind = str(dtype).removeprefix("torch.")
    metadata = {"architecture": "wan", "width": "64", "height": "40", "format_version": "1.0.1", "frame_count": "9"}
    for name, value in latents.items():
        _, frames, height, width = value.shape
        tensors = {f"latents_{frames}x{height}x{width}_{kind}": value.to(dtype).contiguous()}
        save_file(tensors, folder / f"{name}_00000-009_0064x0040_wan.safetensors", metadata={**metadata, **about})
        save_file({"varlen_t5_bfloat16": torch.zeros(3, 32)}, folder / f"{name}_wan_te.safetensors")
    return folder


def fastvideo(folder: Path, latents: Mapping[str, Tensor], adapter: Adapter, **about: Any) -> Path:
    """Parquet of FastVideo 0.2.0: the encoder's mean as raw bytes; num_frames is that of the latents."""
    folder.mkdir(exist_ok=True)
    vae: Any = adapter
    rows = []
    for name, value in latents.items():
        mean, std = channel(vae._vae["latents_mean"], value[None]), channel(vae._vae["latents_std"], value[None])
        raw = (value[None] * std + mean)[0].numpy()
        embedding = np.zeros((3, 32), np.float32)
        rows.append({
            "id": name, "vae_latent_bytes": raw.tobytes(), "vae_latent_shape": list(raw.shape),
            "vae_latent_dtype": str(raw.dtype), "text_embedding_bytes": embedding.tobytes(),
            "text_embedding_shape": [3, 32], "text_embedding_dtype": "float32", "file_name": name, "caption": "x",
            "media_type": "video", "width": 32, "height": 32, "num_frames": 3, "duration_sec": 0.5, "fps": 16.0,
            **about,
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "data_chunk_0.parquet", row_group_size=2)
    return folder


def seen_of(path: Path, clip: LoadedClip) -> Seen:
    steady = bool((np.diff(clip.frame_times_s) > 0).all())
    size = (clip.source_height, clip.source_width)
    return Seen(path, clip.used_first, clip.used_last, steady, len(clip.frames), clip.source_fps, *size)


def take(found: PrecomputedLatents, adapter: Adapter, path: Path, spec: ClipSpec = SPEC) -> Tensor:
    clip = load_clip(path, spec)
    with adapter.clip_encoder() as run:
        return found.take(seen_of(path, clip), torch.from_numpy(clip.frames), run)["latents"]


def refused(found: PrecomputedLatents, adapter: Adapter, path: Path, spec: ClipSpec = SPEC) -> str:
    with pytest.raises(ClipError) as raised:
        take(found, adapter, path, spec)
    return raised.value.reason


def test_musubi_latents_are_those_that_are_encoded(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    found = open_latents(musubi(tmp_path / "cache", latents), adapter, ONE)
    assert found.identity() == {"tool": "musubi-tuner", "dtype": "float32", "rules": 1}
    for name in NAMES:
        assert torch.equal(take(found, adapter, videos / f"{name}.mp4"), latents[name])
    rounded = open_latents(musubi(tmp_path / "half", latents, torch.bfloat16), adapter, ONE)
    assert rounded.identity()["dtype"] == "bfloat16"
    assert torch.equal(take(rounded, adapter, videos / "a.mp4"), latents["a"].bfloat16().float())


def test_fastvideo_latents_are_those_that_are_encoded(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    folder = fastvideo(tmp_path / "cache", latents, adapter)
    for path in (folder, folder / "data_chunk_0.parquet"):
        found = open_latents(path, adapter, ONE, 16)
        assert found.identity() == {"tool": "FastVideo", "dtype": "float32", "rules": 1}
        for name in NAMES:
            torch.testing.assert_close(take(found, adapter, videos / f"{name}.mp4"), latents[name], rtol=0, atol=1e-5)


def changed(kind: str, cache: Path, latents: Mapping[str, Tensor], adapter: Any) -> None:
    """Spoil the cache entry of clip a."""
    entry = cache / "a_00000-009_0064x0040_wan.safetensors"
    tensors, key = load_file(entry), "latents_3x4x4_float32"
    metadata = {"architecture": "wan", "format_version": "1.0.1"}
    if kind == "gone":
        entry.unlink()
    elif kind == "cut":
        entry.write_bytes(entry.read_bytes()[:-99])
    elif kind in ("0064x0041", "00000-013", "00004-009"):
        part = {"0064x0041": "0064x0040", "00000-013": "00000-009", "00004-009": "00000-009"}[kind]
        entry.rename(cache / entry.name.replace(part, kind))
    elif kind == "version":
        save_file(tensors, entry, metadata={**metadata, "format_version": "2.0"})
    elif kind == "type":
        save_file({"latents_3x4x4_bfloat16": tensors[key].bfloat16()}, entry, metadata=metadata)
    elif kind == "shape":
        save_file({"latents_2x4x4_float32": tensors[key][:, :2].contiguous()}, entry, metadata=metadata)
    elif kind == "nan":
        save_file({key: tensors[key] * torch.nan}, entry, metadata=metadata)
    elif kind == "other clip":
        save_file({key: latents["b"].contiguous()}, entry, metadata=metadata)
    elif kind == "raw":
        mean, std = (channel(adapter._vae[name], latents["a"][None])[0] for name in ("latents_mean", "latents_std"))
        save_file({key: (latents["a"] * std + mean).contiguous()}, entry, metadata=metadata)
    else:  # the first frame is right, the others are not
        mixed = torch.cat([latents["a"][:, :1], latents["b"][:, 1:]], 1)
        save_file({key: mixed.contiguous()}, entry, metadata=metadata)


REFUSALS = {
    "gone": "no_latents", "cut": "latents_unreadable", "0064x0041": "latents_frames", "00000-013": "latents_frames",
    "00004-009": "latents_frames", "version": "latents_unreadable", "type": "latents_dtype", "shape": "latents_shape",
    "nan": "nan_latents", "other clip": "latents_differ", "raw": "latents_differ", "other end": "latents_differ",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "reason"), REFUSALS.items(), ids=REFUSALS)
def test_latents_that_are_not_the_clips_are_refused(
    kind: str, reason: str, adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    cache = musubi(tmp_path / "cache", latents)
    found = open_latents(cache, adapter, ONE)
    changed(kind, cache, latents, adapter)
    if kind in ("0064x0041", "00000-013", "00004-009", "gone"):  # names are listed when the cache is opened
        found = open_latents(cache, adapter, ONE)
    assert refused(found, adapter, videos / "a.mp4") == reason
    take(found, adapter, videos / "b.mp4")  # one bad clip does not spoil the others


def test_the_whole_first_clip_is_proved_and_the_first_frame_of_each(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    clip, calls = load_clip(videos / "a.mp4", SPEC), []
    found = open_latents(musubi(tmp_path / "cache", latents), adapter, ONE)
    with adapter.clip_encoder() as run:

        def counted(frames: Tensor) -> dict[str, Tensor]:
            calls.append(len(frames))
            return run(frames)

        for _ in range(3):
            found.take(seen_of(videos / "a.mp4", clip), torch.from_numpy(clip.frames), counted)
    assert calls == [1, 9, 1, 1]


def test_the_tolerance_lies_between_rounding_and_another_clip(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor]
) -> None:
    """Rounding and filters stay below it, another clip does not."""
    source = load_clip(videos / "a.mp4", ClipSpec(16, 9, 40, 64)).frames[:, :, 12:52]  # the square that is cropped
    resized = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_LANCZOS4) for frame in source])
    with adapter.video_encoder() as run:
        lanczos = run(torch.from_numpy(resized))
    values = {
        "rounded": difference(latents["a"].bfloat16().float(), latents["a"]),
        "lanczos": difference(lanczos, latents["a"]),
        "clip": difference(latents["b"], latents["a"]),
    }
    assert values["rounded"] < TOLERANCE / 2, values
    assert values["lanczos"] < TOLERANCE, values
    assert values["clip"] > 1.2 * TOLERANCE, values


def test_frames_of_another_rate_are_refused(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    """musubi-tuner takes neighbouring frames: at half the file's rate, ours are every other one."""
    found = open_latents(musubi(tmp_path / "cache", latents), adapter, ONE)
    slow = replace(SPEC, fps=8, short="hold")
    assert refused(found, adapter, videos / "a.mp4", slow) == "latents_frames"
    centred = replace(SPEC, start="centre")
    assert refused(found, adapter, videos / "a.mp4", centred) == "latents_frames"


def test_a_rate_that_is_not_recorded_must_be_stated(
    adapter: Adapter, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    folder, cache = fastvideo(tmp_path / "fast", latents, adapter), musubi(tmp_path / "musubi", latents)
    for fps in (None, 24.0):
        with pytest.raises(OptionError, match=r"latents_fps must be the rate .* clip_spec.fps 16"):
            open_latents(folder, adapter, ONE, fps)
    with pytest.raises(OptionError, match=r"clip_spec.start must be head"):
        open_latents(folder, adapter, ClipSpecs(replace(SPEC, start="centre")), 16)
    with pytest.raises(OptionError, match="latents_fps must be left out for musubi-tuner"):
        open_latents(cache, adapter, ONE, 16)


def test_musubi_configurations_with_source_fps_are_refused(
    tiny_wan: Path, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    table = tmp_path / "set.toml"
    table.write_text(f'[[datasets]]\nvideo_directory = "{videos}"\nsource_fps = 30.0\ntarget_frames = [9]\n')
    config = motive.IndexConfig(model=str(tiny_wan), clip_spec=SPEC, root=(str(videos),))
    config = replace(config, latents=str(musubi(tmp_path / "cache", latents)))
    with pytest.raises(OptionError, match="which sets source_fps"):
        motive.index(table, out=tmp_path / "store", config=config)


def test_rows_of_fastvideo_that_do_not_fit(
    adapter: Adapter, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    other = open_latents(fastvideo(tmp_path / "fps", latents, adapter, fps=30.0), adapter, ONE, 16)
    assert refused(other, adapter, videos / "a.mp4") == "latents_frames"
    twice = fastvideo(tmp_path / "twice", latents, adapter)
    (twice / "again.parquet").write_bytes((twice / "data_chunk_0.parquet").read_bytes())
    assert refused(open_latents(twice, adapter, ONE, 16), adapter, videos / "a.mp4") == "no_latents"
    short = fastvideo(tmp_path / "short", latents, adapter, vae_latent_bytes=b"1234")
    assert refused(open_latents(short, adapter, ONE, 16), adapter, videos / "a.mp4") == "latents_unreadable"
    cropped = fastvideo(tmp_path / "crop", {"a": latents["b"]}, adapter)
    assert refused(open_latents(cropped, adapter, ONE, 16), adapter, videos / "a.mp4") == "latents_differ"
    assert refused(open_latents(cropped, adapter, ONE, 16), adapter, videos / "b.mp4") == "no_latents"


def test_caches_that_cannot_be_used_are_refused_before_anything_runs(
    adapter: Adapter, latents: Mapping[str, Tensor], tmp_path: Path, tiny_folder: Callable[[str], Path]
) -> None:
    cache = musubi(tmp_path / "cache", latents)
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    eight = tmp_path / "eight"
    musubi(eight, {"a": latents["a"]}, torch.float8_e4m3fn)
    broken = musubi(tmp_path / "broken", {"a": latents["a"]}, architecture="hunyuan_video")
    cases = [
        (tmp_path / "nowhere", adapter, "does not exist"),
        (tmp_path / "empty", adapter, "has none"),
        (tmp_path / "other.parquet", adapter, "latents_fps must be"),
        (eight, adapter, "got float8_e4m3fn"),
        (broken, adapter, "architecture hunyuan_video"),
        (cache, load_adapter("toy"), "there is none"),
        (cache, load_adapter(tiny_folder(next(iter(FIRST_FRAME)))), "there is none"),
    ]
    for path, model, message in cases:
        with pytest.raises(OptionError, match=message):
            open_latents(path, model, ONE)


def test_an_index_from_latents(
    adapter: Adapter, tiny_wan: Path, videos: Path, latents: Mapping[str, Tensor], tmp_path: Path
) -> None:
    """The vectors are those of encoding, the identity is not, and a clip without latents is a failure."""
    config = motive.IndexConfig(model=str(tiny_wan), clip_spec=SPEC, draws=DrawConfig("single"), threads=1)
    cache = musubi(tmp_path / "cache", {name: latents[name] for name in "ab"})
    plain = motive.index(videos, out=tmp_path / "plain", config=config)
    assert not plain.failed
    done = motive.index(videos, out=tmp_path / "taken", config=replace(config, latents=str(cache)))
    assert (done.stored, dict(done.reasons)) == (2, {"no_latents": 1})
    ours, taken = motive.Store.open(tmp_path / "plain"), motive.Store.open(tmp_path / "taken")
    assert taken.clip_ids == ["a.mp4", "b.mp4"]
    np.testing.assert_array_equal(taken.vectors(), ours.vectors()[:2])
    assert "latents" not in ours.identity.gradient
    assert taken.identity.gradient["latents"] == {"tool": "musubi-tuner", "dtype": "float32", "rules": 1}
    with pytest.raises(IdentityMismatch, match=r"gradient\.latents"):
        motive.query(videos, like=tmp_path / "taken", out=tmp_path / "q")
    asked = motive.query(videos, like=tmp_path / "taken", out=tmp_path / "q", read=ReadConfig(latents=str(cache)))
    assert asked.stored == 2
