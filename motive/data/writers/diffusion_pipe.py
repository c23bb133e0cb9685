"""diffusion-pipe: videos and captions in one folder, and the TOML that names it."""

from __future__ import annotations

from motive.data.writers.attributed import Attributed
from motive.data.writers.folder import write_captioned
from motive.data.writers.writer import Export, SelectionWriter, Training, quoted, toml_text


class DiffusionPipeWriter(SelectionWriter):
    """diffusion-pipe takes every file of a folder for a video, so ``videos/`` holds nothing else; a clip without
    caption has an empty ``.txt``, since clips without one are skipped."""

    name = "diffusion-pipe"
    videos_in, flat = "videos", True
    holds_videos = True
    has_columns = has_values = False

    def write(self, export: Export) -> None:
        write_captioned(self, export)
        text = (
            f"{_buckets(export.attributed)}\n"
            "[[directory]]\n"
            f"path = {toml_text(export.final / 'videos')}\n"
            "num_repeats = 1\n"
        )
        (export.folder / "dataset.toml").write_text(text, encoding="utf-8")

    def training(self, export: Export) -> Training:
        return diffusion_pipe_training(export, "dataset.toml")


def _buckets(attributed: Attributed) -> str:
    """The keys that state sizes and lengths: whole buckets where the clips have several."""
    if len(attributed.shapes) > 1:
        rows = (f"    [{width}, {height}, {frames}],\n" for width, height, frames in attributed.clips)
        return f"size_buckets = [\n{''.join(rows)}]\n"
    width, height, frames = attributed.main
    return (
        f"resolutions = [[{width}, {height}]]\n"
        "enable_ar_bucket = true\n"
        "min_ar = 0.5\n"
        "max_ar = 2.0\n"
        "num_ar_buckets = 7\n"
        f"frame_buckets = [1, {frames}]\n"
    )


def diffusion_pipe_training(export: Export, config: str) -> Training:
    """The command that trains on a dataset config."""
    return Training(
        "diffusion-pipe (commit 8f83dbf, 2026-08-20)",
        (
            "cp examples/wan_14b_min_vram.toml examples/motion.toml",
            f'sed -i "s|^dataset = .*|dataset = \'"{quoted(export.final / config)}"\'|" examples/motion.toml',
            'NCCL_P2P_DISABLE="1" NCCL_IB_DISABLE="1" deepspeed --num_gpus=1 train.py --deepspeed '
            "--config examples/motion.toml",
        ),
        "Set ckpt_path and output_dir in examples/motion.toml. diffusion-pipe resamples clips to the model's frame rate "
        "and drops those that are then shorter than every frame bucket. The model is that of the example; for another one "
        "take its [model] section from docs/supported_models.md of diffusion-pipe.",
    )
