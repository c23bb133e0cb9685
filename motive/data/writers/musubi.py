"""musubi-tuner: a JSON Lines file of ``video_path`` and ``caption``, and the TOML that names it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from motive.data.writers.attributed import Shape
from motive.data.writers.writer import (
    Export,
    SelectionWriter,
    Training,
    json_line,
    new_json_lines,
    quoted,
    toml_text,
)
from motive.errors import OptionError

_TABLE, _TOML = "videos.jsonl", "dataset.toml"
_PATHS = ("path", "video")
"""Columns that a reader of JSON Lines would take before ``video_path``."""


class MusubiWriter(SelectionWriter):
    """Paths are absolute, since musubi takes them as they are; stems are unique, since its cache is named by them."""

    name = "musubi"
    videos_in, flat = "videos", True
    reads = ("musubi", _TOML)

    def check(self, export: Export) -> None:
        if export.files == "none":
            seen: dict[str, str] = {}
            for row in export.rows:
                other = seen.setdefault(row.clip.path.stem, str(row.clip.path))
                if other != str(row.clip.path):
                    raise OptionError(
                        f"select: musubi-tuner names its cache by file name, and {row.clip.path} and {other} share "
                        "one; leave out --scores-only, so that the selection gives each clip its own name"
                    )

    def write(self, export: Export) -> None:
        shapes = export.attributed.shapes
        with ExitStack() as stack:
            files = [stack.enter_context(new_json_lines(export.folder / _table(shape, shapes))) for shape in shapes]
            for at, (row, path) in enumerate(export.videos(self)):
                fixed = {
                    "video_path": str(export.final / path) if export.files != "none" else path,
                    "caption": row.clip.caption,
                    "clip_id": row.clip.clip_id,
                }
                place = export.attributed.shape_of[at] if len(shapes) > 1 else 0
                files[place].write(json_line({**fixed, **export.own(row, [*fixed, *_PATHS]), **row.scores}))
        (export.folder / _TOML).write_text(_toml(export), encoding="utf-8")

    def training(self, export: Export) -> Training:
        return musubi_training(export, _TOML)


def _table(shape: Shape, shapes: Sequence[Shape]) -> str:
    """Name of the table of the clips of a shape."""
    return _TABLE if len(shapes) == 1 else f"videos-{_name(shape)}.jsonl"


def _name(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _toml(export: Export) -> str:
    """A dataset config with an entry for each shape: of several target_frames in one entry musubi-tuner takes a long clip
    at each of them."""
    shapes, cache = export.attributed.shapes, cache_beside(export.final)
    rate = export.attributed.source_fps
    fps = "# source_fps = 30.0  # the videos' rate, if it is not the model's: musubi-tuner resamples only when asked to"
    sizes = [f"resolution = [{width}, {height}]\n" for width, height, _ in shapes]
    common = sizes[0] if len(set(sizes)) == 1 else ""
    text = f"[general]\n{common}batch_size = 1\nenable_bucket = true\n"
    for shape, size in zip(shapes, sizes, strict=True):
        text += (
            "\n"
            "[[datasets]]\n"
            f"{'' if common else size}"
            f"video_jsonl_file = {toml_text(export.final / _table(shape, shapes))}\n"
            f"cache_directory = {toml_text(cache if len(shapes) == 1 else cache / _name(shape))}\n"
            f"target_frames = [{shape[2]}]\n"
            'frame_extraction = "head"\n'
            f"{fps if rate is None else f'source_fps = {float(rate)!r}'}\n"
        )
    return text


def cache_beside(final: Path) -> Path:
    """Where the cache of a selection lies: beside it, so that a later selection can replace the folder."""
    return final.with_name(final.name + "-cache")


def musubi_training(export: Export, config: str) -> Training:
    """The three commands that train on a dataset config."""
    toml = quoted(export.final / config)
    _, other = export.attributed.model_or("Wan2.1 T2V 1.3B")
    if export.attributed.family == "wan":
        other = other if "1.3B" not in export.attributed.model else ""
    return Training(
        "musubi-tuner 0.3.4 (commit 30c658c, 2026-06-24)",
        (
            f"python src/musubi_tuner/wan_cache_latents.py --dataset_config {toml} --vae wan_2.1_vae.safetensors",
            f"python src/musubi_tuner/wan_cache_text_encoder_outputs.py --dataset_config {toml} "
            "--t5 models_t5_umt5-xxl-enc-bf16.pth --batch_size 16",
            "accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 "
            "src/musubi_tuner/wan_train_network.py --task t2v-1.3B --dit wan2.1_t2v_1.3B_bf16.safetensors "
            f"--dataset_config {toml} --sdpa --mixed_precision bf16 --fp8_base --optimizer_type adamw8bit "
            "--learning_rate 2e-4 --gradient_checkpointing --max_data_loader_n_workers 2 "
            "--persistent_data_loader_workers --network_module networks.lora_wan --network_dim 32 "
            "--timestep_sampling shift --discrete_flow_shift 3.0 --max_train_epochs 16 --save_every_n_epochs 1 "
            f"--seed 42 --output_dir output --output_name {quoted(export.final.name)}",
        ),
        "Give the paths of your model files. The cache lies beside the selection, so that a later selection into the "
        "same folder can replace it. After a move of the folder, correct the paths in it.",
        (other,) if other else (),
    )
