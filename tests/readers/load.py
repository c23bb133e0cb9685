"""Reads a selection by a tool's own code and prints what it found, as JSON lines of [file, caption, columns].

    python load.py TOOL SELECTION SOURCES

SELECTION is its folder, or the file of it that the tool is given. Runs in the readers' environment, without motive. SOURCES holds a clone of each tool. Where a tool's reader stands in a
module that imports a GPU framework which it does not use for reading, that framework is replaced by an empty module.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

Found = tuple[str, str, dict[str, Any]]


def empty(name: str, **attributes: Any) -> types.ModuleType:
    """A module of that name with these attributes; its parents are made too."""
    parent, _, last = name.rpartition(".")
    module = sys.modules.setdefault(name, types.ModuleType(name))
    module.__spec__ = module.__spec__ or ModuleSpec(name, None)
    module.__dict__.setdefault("__path__", [])
    for key, value in attributes.items():
        setattr(module, key, value)
    if parent:
        setattr(empty(parent), last, module)
    return module


def given(selection: Path, name: str) -> Path:
    """The file that was given, or that of this name in a selection's folder."""
    return selection / name if selection.is_dir() else selection


def hub_videofolder(folder: Path, sources: Path) -> Iterator[Found]:
    """datasets.load_dataset("videofolder")."""
    import datasets

    data = datasets.load_dataset("videofolder", data_dir=str(folder), split="train", cache_dir=str(sources / "hub"))
    for row in data.cast_column("video", datasets.Video(decode=False)):
        yield (
            row["video"]["path"],
            row.get("caption") or row.get("text") or "",
            {k: v for k, v in row.items() if k != "video"},
        )


def hub_webdataset(folder: Path, sources: Path) -> Iterator[Found]:
    """datasets.load_dataset("webdataset")."""
    import datasets

    files = sorted(map(str, (folder / "shards").glob("*.tar")))
    data = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    data = data.cast_column("mp4", datasets.Video(decode=False)) if "mp4" in (data.features or {}) else data
    for row in data:
        yield row["__key__"], row["txt"], row["json"]


def hub_json(file: Path, sources: Path) -> Iterator[Found]:
    """datasets.load_dataset("json")."""
    import datasets

    data = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(sources / "hub"))
    for row in data:
        yield row["path"], row["caption"], row


def webdataset(folder: Path, sources: Path) -> Iterator[Found]:
    """webdataset.WebDataset."""
    import webdataset as wds

    files = sorted(map(str, (folder / "shards").glob("*.tar")))
    for row in wds.WebDataset(files, shardshuffle=False):
        yield row["__key__"], row["txt"].decode(), json.loads(row["json"])


def musubi(folder: Path, sources: Path) -> Iterator[Found]:
    """musubi-tuner's dataset config and its VideoDataset."""
    sys.path.insert(0, str(sources / "musubi-tuner/src"))
    from argparse import Namespace

    from musubi_tuner.dataset import config_utils
    from musubi_tuner.dataset.architectures import ARCHITECTURE_WAN

    config = config_utils.load_user_config(str(given(folder, "dataset.toml")))
    generator = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer())
    blueprint = generator.generate(config, Namespace(debug_dataset=False), architecture=ARCHITECTURE_WAN)
    group = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    for dataset in group.datasets:
        source = dataset.datasource
        for at in range(len(source)):
            path, video, caption, _ = source.get_video_data(at)
            assert len(video) > 0, f"{path} has no frames"
            yield path, caption, source.data[at] if hasattr(source, "data") else {}  # a folder has no columns


def diffsynth(folder: Path, sources: Path) -> Iterator[Found]:
    """DiffSynth-Studio's UnifiedDataset."""
    import importlib

    package = empty("diffsynth_data")
    package.__path__ = [str(sources / "DiffSynth-Studio/diffsynth/core/data")]  # type: ignore[attr-defined]
    empty("torchvision")
    operators = importlib.import_module("diffsynth_data.operators")
    unified = importlib.import_module("diffsynth_data.unified_dataset")
    table = given(folder, "metadata.jsonl")
    data = unified.UnifiedDataset(
        base_path=str(table.parent),
        metadata_path=str(table),
        data_file_keys=("video",),
        main_data_operator=operators.ToAbsolutePath(str(table.parent)),
    )
    for at in range(len(data)):
        row = data[at]
        yield row["video"], row["prompt"], row


def diffusion_pipe(folder: Path, sources: Path) -> Iterator[Found]:
    """diffusion-pipe's DirectoryDataset, up to its table of clips and captions."""
    import importlib
    import logging

    import av
    import toml

    class VideoFromFile:
        """The three facts of a video that the reader asks ComfyUI for."""

        def __init__(self, path: str) -> None:
            with av.open(path) as container:
                stream = container.streams.video[0]
                self._size = (stream.width, stream.height)
                self._rate = stream.average_rate
                self._frames = sum(1 for _ in container.decode(stream))

        def get_dimensions(self) -> tuple[int, int]:
            return self._size

        def get_frame_count(self) -> int:
            return self._frames

        def get_frame_rate(self) -> Any:
            return self._rate

    sys.path.insert(0, str(sources / "diffusion-pipe"))
    empty("deepspeed.utils.logging", logger=logging.getLogger("deepspeed"))
    empty("deepspeed", comm=empty("deepspeed.comm", get_rank=lambda: 0, is_initialized=lambda: False))
    empty("comfy.model_management")
    empty("comfy_api.latest", InputImpl=types.SimpleNamespace(VideoFromFile=VideoFromFile))
    empty("utils.common", is_main_process=lambda: True, VIDEO_EXTENSIONS={".mp4"}, round_to_nearest_multiple=None)
    empty("utils.cache", Cache=None)
    empty("utils").__path__ = [str(sources / "diffusion-pipe/utils")]  # type: ignore[attr-defined]
    dataset = importlib.import_module("utils.dataset")
    dataset.NUM_PROC = 1
    config = toml.load(given(folder, "dataset.toml"))
    for directory in config["directory"]:
        found = dataset.DirectoryDataset(directory, config, "wan", framerate=16)
        for row in found._get_ungrouped_metadata():
            yield row["image_spec"][1], row["caption"][0], {}


def finetrainers(folder: Path, sources: Path) -> Iterator[Found]:
    """finetrainers' choice of a dataset for a local folder, and that dataset."""
    import importlib
    import logging

    import datasets

    package = empty("finetrainers")
    package.__path__ = [str(sources / "finetrainers/finetrainers")]  # type: ignore[attr-defined]
    empty("decord", bridge=types.SimpleNamespace(set_bridge=lambda name: None))
    empty("finetrainers.functional")
    empty("diffusers.utils", load_image=None, load_video=None)
    empty("torchvision.io.video_reader", VideoReader=object)
    empty("finetrainers.logging", get_logger=logging.getLogger)
    empty("finetrainers.utils.import_utils", is_datasets_version=lambda operation, version: False)
    helpers = empty("finetrainers.utils")
    helpers.__path__ = [str(sources / "finetrainers/finetrainers/utils")]  # type: ignore[attr-defined]
    helpers.find_files = importlib.import_module("finetrainers.utils.file").find_files  # type: ignore[attr-defined]
    data_package = empty("finetrainers.data")
    data_package.__path__ = [str(sources / "finetrainers/finetrainers/data")]  # type: ignore[attr-defined]
    module = importlib.import_module("finetrainers.data.dataset")
    config = {"data_root": str(folder), "dataset_type": "video"}
    if given(folder, "training.json").is_file():
        (config,) = json.loads(given(folder, "training.json").read_text(encoding="utf-8"))["datasets"]
    data = module._initialize_local_dataset(config["data_root"], config["dataset_type"])
    assert type(data).__name__ == "VideoFileCaptionFileListDataset", type(data).__name__
    data._data = data._data.cast_column("video", datasets.Video(decode=False))
    for row in data:
        yield row["video"]["path"], row["caption"], {}


READERS: dict[str, Callable[[Path, Path], Iterator[Found]]] = {
    "hub_videofolder": hub_videofolder,
    "hub_webdataset": hub_webdataset,
    "hub_json": hub_json,
    "webdataset": webdataset,
    "musubi": musubi,
    "diffsynth": diffsynth,
    "diffusion_pipe": diffusion_pipe,
    "finetrainers": finetrainers,
}

if __name__ == "__main__":
    tool, folder, sources = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found = list(READERS[tool](folder, sources))
    print("\n".join(json.dumps(item, default=str) for item in found))
