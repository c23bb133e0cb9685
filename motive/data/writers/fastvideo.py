"""FastVideo: ``videos/`` and ``videos2caption.json``."""

from __future__ import annotations

from motive.data.formats.tables import write_json
from motive.data.writers.writer import Export, SelectionWriter, Training, quoted


class FastVideoWriter(SelectionWriter):
    """The layout that its preprocessing calls ``merged``: a list of objects with ``path``, in ``videos/``, and ``cap``."""

    name = "fastvideo"
    videos_in, flat = "videos", True
    holds_videos = True

    def write(self, export: Export) -> None:
        records = (
            export.record(
                row, {"path": path.removeprefix("videos/"), "cap": row.clip.caption, "clip_id": row.clip.clip_id}
            )
            for row, path in export.videos(self)
        )
        write_json(export.folder / "videos2caption.json", records, lines=False)

    def training(self, export: Export) -> Training:
        return fastvideo_training(export)


def fastvideo_training(export: Export) -> Training:
    """The commands that encode and train."""
    width, height, frames = export.size
    data = export.final.with_name(export.final.name + "-latents")
    attributed = export.attributed
    model, other = attributed.model_or("Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    facts = (
        (attributed.shorter(frames), f"have fewer than {frames} frames, and FastVideo drops them"),
        (attributed.longer(frames), f"have more than {frames} frames, and FastVideo cuts them"),
        (attributed.other_sizes(width, height), f"are of another size than {width}x{height}, and FastVideo crops them"),
    )
    losses = [f"{count} of {len(attributed.shape_of)} clips {what}" for count, what in facts if count]
    return Training(
        "FastVideo (commit 2f3d407, 2026-08-21)",
        (
            "torchrun --nproc_per_node=1 -m fastvideo.pipelines.preprocess.v1_preprocessing_new "
            f"--model_path {quoted(model)} --mode preprocess --workload_type t2v --preprocess.video_loader_type torchvision "
            f"--preprocess.dataset_type merged --preprocess.dataset_path {quoted(export.final)} "
            f"--preprocess.dataset_output_dir {quoted(data)} --preprocess.preprocess_video_batch_size 2 "
            f"--preprocess.dataloader_num_workers 0 --preprocess.max_height {height} --preprocess.max_width {width} "
            f"--preprocess.num_frames {frames} --preprocess.train_fps {attributed.fps:g} "
            "--preprocess.samples_per_file 8 --preprocess.flush_frequency 8 "
            "--preprocess.video_length_tolerance_range 5",
            "bash examples/training/finetune/wan_t2v_1.3B/crush_smol/finetune_t2v_lora.sh",
        ),
        f"Set DATA_DIR in that script to {data}/combined_parquet_dataset, and MODEL_PATH to {model}.",
        (*losses, *([other] if other else [])),
    )
