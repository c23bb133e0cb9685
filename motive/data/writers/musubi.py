"""musubi-tuner: a JSON Lines file of ``video_path`` and ``caption``, and the TOML that names it."""

from __future__ import annotations

from pathlib import PurePath

from motive.data.writers.writer import Export, SelectionWriter, Training, json_lines, quoted, toml_text
from motive.errors import OptionError

_TABLE, _TOML = "videos.jsonl", "dataset.toml"


class MusubiWriter(SelectionWriter):
    """Paths are absolute, since musubi takes them as they are; stems are unique, since its cache is named by them."""

    name = "musubi"
    videos_in, flat = "videos", True

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
        records = (
            export.record(
                row,
                {
                    "video_path": str(export.final / path) if export.files != "none" else path,
                    "caption": row.clip.caption,
                    "clip_id": row.clip.clip_id,
                },
            )
            for row, path in export.videos(self)
        )
        json_lines(export.folder / _TABLE, records)
        (export.folder / _TOML).write_text(musubi_toml(export, _TABLE), encoding="utf-8")

    def training(self, export: Export) -> Training:
        return musubi_training(export, _TOML)


def musubi_toml(export: Export, table: str) -> str:
    """A dataset config of one JSON Lines file."""
    width, height, frames = export.size
    cache = export.final.with_name(PurePath(export.final).name + "-cache")
    return (
        "[general]\n"
        f"resolution = [{width}, {height}]\n"
        "batch_size = 1\n"
        "enable_bucket = true\n"
        "\n"
        "[[datasets]]\n"
        f"video_jsonl_file = {toml_text(export.final / table)}\n"
        f"cache_directory = {toml_text(cache)}\n"
        f"target_frames = [{frames}]\n"
        'frame_extraction = "head"\n'
        "# source_fps = 30.0  # the videos' rate, if it is not the model's: musubi-tuner resamples only when asked to\n"
    )


def musubi_training(export: Export, config: str) -> Training:
    """The three commands that train on a dataset config."""
    toml = quoted(export.final / config)
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
    )
