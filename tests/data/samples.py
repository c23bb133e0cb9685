"""A small dataset of every format that is read, in the layout that its tool publishes (docs/formats/datasets.md).

Each has three clips, one that cannot be decoded, and where the layout allows it one entry that names no usable clip. Rows
carry columns that motive does not know, of every type that the layout has.
"""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from motive.data.formats.configs import load_config
from tests.data.sample import (
    BROKEN,
    CAPTIONS,
    GONE,
    NAMES,
    NOT_A_VIDEO,
    Row,
    Sample,
    by_note,
    members,
    place,
    rows,
    table,
    table_values,
    write_table,
    zipped,
)


def vidgen(root: Path, videos: Sequence[bytes]) -> Path:
    zipped(root / "VidGen_video_0.zip", members(videos, escape=False))
    write_table(root / "VidGen_1M_video_caption.json", list(rows("vid", "caption", True, suffix="")))
    return root


def openvid(root: Path, videos: Sequence[bytes]) -> Path:
    zipped(root / "OpenVid_part0.zip", members(videos, escape=False))
    scores = {"aesthetic score": 5.5, "motion score": 1e-6, "camera motion": "pan_left"}
    write_table(root / "data/train/OpenVid-1M.csv", [{**row, **scores} for row in rows("video", "caption", False)])
    return root


def fournex(root: Path, videos: Sequence[bytes]) -> Path:
    place(root / "raw/dynamic/dynamic_1", videos, [f"{number:08d}.mp4" for number in range(3)])
    (root / "raw/dynamic/dynamic_1" / BROKEN).rename(root / "raw/dynamic/dynamic_1/00000003.mp4")
    listed = [{**row, "number": number} for number, row in enumerate(rows("name", "caption", False))]
    write_table(root / "caption/dynamic_1_with_caption_upload.csv", listed)
    return root


def curated(cosmos: bool, chunks: bool = False) -> Callable[[Path, Sequence[bytes]], Path]:
    def make(root: Path, videos: Sequence[bytes]) -> Path:
        names = [str(uuid.UUID(int=number)) for number in range(5)]
        for name, data in zip(names, (*videos, NOT_A_VIDEO), strict=False):
            (root / "clips").mkdir(exist_ok=True)
            (root / f"clips/{name}.mp4").write_bytes(data)
        metas = []
        for name, row in zip(names, rows("path", "text", True), strict=True):
            windows = [{"start_frame": 0, "end_frame": 24, "qwen_caption": row.pop("text")}]
            row.pop("path")
            metas.append({"span_uuid": name, "windows": windows, **({"filtered_windows": []} if cosmos else {}), **row})
        if chunks:
            write_table(root / "metas_jsonl/v0/9f_0.jsonl", metas)
            return root
        (root / "metas/v0").mkdir(parents=True)
        for name, meta in zip(names, metas, strict=True):
            (root / f"metas/v0/{name}.json").write_text(json.dumps(meta, indent=4))
        return root

    return make


def meta_values(path: Path) -> dict[str, Mapping[str, Any]]:
    files = [*path.glob("metas/v0/*.json"), *path.glob("metas_jsonl/v0/*.jsonl")]
    texts = [[file.read_text()] if file.suffix == ".json" else file.read_text().splitlines() for file in files]
    return by_note([json.loads(text) for lines in texts for text in lines])


def data_juicer(name: str) -> Sample:
    def make(root: Path, videos: Sequence[bytes]) -> Path:
        place(root, videos)
        samples = []
        for row in rows("videos", "text", True):
            text = f"<__dj__video> {row['text']} <|__dj__eoc|>"
            samples.append({**row, "videos": [row["videos"]], "text": text, "__dj__stats__": {"motion": [1.5]}})
        return write_table(root / name, samples)

    kind = Path(name).suffix[1:]
    return Sample("data_juicer", make, kind, inside=name, paths=frozenset({"videos"}), values=table_values)


def embedded(videos: Sequence[bytes]) -> pa.Table:
    """A table as datasets writes it, with a row that has neither bytes nor a path."""
    found = []
    for row, data in zip(rows("name", "caption", True), (*videos, NOT_A_VIDEO, None), strict=True):
        video = {"bytes": data, "path": None if data is None else row["name"]}
        found.append({**{key: value for key, value in row.items() if key != "name"}, "video": video})
    kinds = {"video": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "none": pa.string()}
    inferred = pa.Table.from_pylist(found).schema
    fields = [pa.field(each.name, kinds.get(each.name, each.type)) for each in inferred]
    stated = json.dumps({"info": {"features": {"video": {"decode": False, "_type": "Video"}}}})
    return pa.Table.from_pylist(found, schema=pa.schema(fields, metadata={"huggingface": stated}))


def hub_parquet(root: Path, videos: Sequence[bytes]) -> Path:
    (root / "data").mkdir()
    pq.write_table(embedded(videos), root / "data/train-00000-of-00001.parquet", row_group_size=2)
    return root


def hub_arrow(root: Path, videos: Sequence[bytes]) -> Path:
    held = embedded(videos)
    with pa.ipc.new_stream(str(root / "data-00000-of-00001.arrow"), held.schema) as writer:
        writer.write_table(held, max_chunksize=3)
    (root / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (root / "dataset_info.json").write_text('{"features": {}}')
    return root


def hub_values(path: Path) -> dict[str, Mapping[str, Any]]:
    if (path / "metadata.jsonl").is_file():
        return table_values(path / "metadata.jsonl")
    if (path / "state.json").is_file():
        with pa.ipc.open_stream(str(path / "data-00000-of-00001.arrow")) as reader:
            return by_note(reader.read_all().to_pylist())
    return by_note(pq.read_table(path / "data/train-00000-of-00001.parquet").to_pylist())


def shards(root: Path, videos: Sequence[bytes]) -> Path:
    texts = {row["path"]: row for row in rows("path", "caption", True)}
    with tarfile.open(root / "x.tar", "w") as archive:
        for name, data in members(videos).items():
            row = texts.get(name, {"caption": "out", "path": name})
            fields = {key: value for key, value in row.items() if key not in ("path", "caption")}
            key = name.removesuffix(".mp4")
            inner = (
                (name, data),
                (f"{key}.txt", row["caption"].encode()),
                (f"{key}.json", json.dumps(fields).encode()),
            )
            for member, content in inner:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return root


def shard_values(path: Path) -> dict[str, Mapping[str, Any]]:
    found = []
    for file in sorted(path.glob("*.tar")):
        with tarfile.open(file) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(".json") else None
                found += [] if stream is None else [json.loads(stream.read())]
    return by_note(found)


def archive(root: Path, videos: Sequence[bytes]) -> Path:
    texts = {f"{name.removesuffix('.mp4')}.txt": text.encode() for name, text in zip(NAMES, CAPTIONS, strict=True)}
    zipped(root / "part0.zip", members(videos) | texts)
    return root


def with_texts(root: Path, videos: Sequence[bytes], bad: bytes | None = b"\xff not UTF-8") -> None:
    """Videos with a caption file each; that of one more video is not text, or missing."""
    place(root, [*videos])
    (root / GONE).write_bytes(NOT_A_VIDEO)
    for name, text in zip((*NAMES, BROKEN), (*CAPTIONS, "broken"), strict=True):
        (root / name).with_suffix(".txt").write_text(text, encoding="utf-8")
    if bad is not None:
        (root / GONE).with_suffix(".txt").write_bytes(bad)


def folder(root: Path, videos: Sequence[bytes]) -> Path:
    with_texts(root, videos)
    return root


def lists(root: Path, videos: Sequence[bytes]) -> Path:
    place(root, videos)
    (root / "videos.txt").write_text("".join(f"{name}\n" for name in (*NAMES, BROKEN, GONE)), encoding="utf-8")
    texts = (*CAPTIONS, "broken", "gone")
    (root / "prompts.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return root


def finetrainers_config(root: Path, videos: Sequence[bytes]) -> Path:
    (root / "set").mkdir()
    lists(root / "set", videos)
    config = root / "training.json"
    config.write_text(json.dumps({"datasets": [{"data_root": "set", "dataset_type": "video"}]}))
    return config


def musubi_table(root: Path, videos: Sequence[bytes]) -> Path:
    place(root, videos)
    write_table(root / "clips.jsonl", list(rows("video_path", "caption", True)))
    return musubi_config(root, 'video_jsonl_file = "clips.jsonl"')


def musubi_folders(root: Path, videos: Sequence[bytes]) -> Path:
    with_texts(root, videos)
    return musubi_config(root, 'video_directory = "."', 'video_directory = "sub"')


def musubi_config(root: Path, *entries: str) -> Path:
    config = root / "dataset.toml"
    general = '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n'
    config.write_text(general + "".join(f"\n[[datasets]]\n{entry}\ntarget_frames = [1, 5]\n" for entry in entries))
    return config


def diffusion_pipe(root: Path, videos: Sequence[bytes]) -> Path:
    with_texts(root, videos, bad=None)
    return diffusion_pipe_config(root)


def diffusion_pipe_json(root: Path, videos: Sequence[bytes]) -> Path:
    place(root, videos)
    (root / GONE).write_bytes(NOT_A_VIDEO)
    texts = dict(zip((*NAMES, BROKEN), (*CAPTIONS, "broken"), strict=True))
    for inner in ("", "sub"):
        mine = {Path(name).name: [text, "second"] for name, text in texts.items() if Path(name).parent == Path(inner)}
        (root / inner / "captions.json").write_text(json.dumps(mine))
    return diffusion_pipe_config(root)


def diffusion_pipe_config(root: Path) -> Path:
    config = root / "dataset.toml"
    config.write_text(
        "resolutions = [64]\nframe_buckets = [1, 5]\n"
        + "".join(f'\n[[directory]]\npath = "{p}"\n' for p in (".", "sub"))
    )
    return config


def job(root: Path, entry: Row) -> Path:
    config = root / "job.yaml"
    process = {"type": "sd_trainer", "datasets": [{"num_frames": 5, **entry}]}
    config.write_text(yaml.safe_dump({"job": "extension", "config": {"name": "x", "process": [process]}}))
    return config


def ai_toolkit(root: Path, videos: Sequence[bytes]) -> Path:
    with_texts(root, videos)
    return job(root, {"folder_path": ".", "caption_ext": "txt"})


def ai_toolkit_json(root: Path, videos: Sequence[bytes]) -> Path:
    place(root, videos)
    held = {row.pop("path"): row for row in rows("path", "caption", True)}
    (root / "captions.json").write_text(json.dumps(held))
    return job(root, {"dataset_path": "captions.json"})


def ai_toolkit_values(path: Path) -> dict[str, Mapping[str, Any]]:
    (process,) = load_config(path)["config"]["process"]
    (entry,) = process["datasets"]
    return by_note(list(json.loads((path.parent / entry["dataset_path"]).read_text(encoding="utf-8")).values()))


def musubi_values(path: Path) -> dict[str, Mapping[str, Any]]:
    (entry,) = load_config(path)["datasets"]
    return table_values(path.parent / Path(entry["video_jsonl_file"]).name)


OPEN_SORA = {"num_frames": 24, "height": 64, "width": 64, "aspect_ratio": 1.0, "resolution": 4096, "fps": 24.0}
BAD_TEXT, NO_CAPTION, ESCAPES = ("bad_text",), ("no_caption",), ("path_escapes_root",)

SAMPLES = (
    table("videofolder", "metadata.csv", "file_name", "text"),
    table("videofolder", "metadata.jsonl", "file_name", "text"),
    table("videofolder", "metadata.parquet", "file_name", "text"),
    table("diffsynth", "metadata.csv", "video", "prompt"),
    table("diffsynth", "metadata.json", "video", "prompt"),
    table("diffsynth", "metadata.jsonl", "video", "prompt"),
    table("jsonl", "clips.jsonl", "path", "caption"),
    table("table", "train.csv", "path", "caption"),
    table("table", "train.json", "video_path", "text"),
    table("table", "train.parquet", "video", "caption"),
    table("fastvideo", "videos2caption.json", "path", "cap", videos="videos"),
    table("opensora", "meta.csv", "path", "text", extra=OPEN_SORA),
    table("opensora", "meta.parquet", "path", "text", extra=OPEN_SORA),
    data_juicer("demo.jsonl"),
    data_juicer("demo.parquet"),
    Sample("vidgen", vidgen, values=table_values),
    Sample("openvid", openvid, paths=frozenset({"video"}), values=table_values),
    Sample("4dnex", fournex, values=table_values),
    Sample("cosmos_curate", curated(cosmos=True), values=meta_values),
    Sample("cosmos_curate", curated(cosmos=True, chunks=True), "chunks", values=meta_values),
    Sample("nemo_curator", curated(cosmos=False), values=meta_values),
    Sample("hf_datasets", hub_parquet, "parquet", ("bad_row",), "videofolder", values=hub_values),
    Sample("hf_datasets", hub_arrow, "arrow", ("bad_row",), "videofolder", values=hub_values),
    Sample("webdataset", shards, bad=ESCAPES, inside="shards", values=shard_values),
    Sample("zip", archive, bad=ESCAPES, read_as="folder"),
    Sample("folder", folder, bad=BAD_TEXT),
    Sample("finetrainers", lists),
    Sample("finetrainers-config", finetrainers_config, inside="training.json", renames=True),
    Sample("musubi", musubi_table, "table", inside="dataset.toml", paths=frozenset({"video_path"}), values=musubi_values),
    Sample("musubi", musubi_folders, "folders", BAD_TEXT, inside="dataset.toml"),
    Sample("diffusion-pipe", diffusion_pipe, "texts", NO_CAPTION, inside="dataset.toml"),
    Sample("diffusion-pipe", diffusion_pipe_json, "json", NO_CAPTION, inside="dataset.toml"),
    Sample("ai-toolkit", ai_toolkit, "folder", BAD_TEXT, inside="job.yaml"),
    Sample("ai-toolkit", ai_toolkit_json, "json", inside="job.yaml", values=ai_toolkit_values),
)  # fmt: skip
"""Every registered format has one; tests/end_to_end/test_round_trip.py says so."""
