"""finetrainers: ``videos.txt`` and ``prompts.txt``, a line a clip, and the JSON that names the folder."""

from __future__ import annotations

import json

from motive.data.writers.writer import Export, SelectionWriter, Training, caption_lines, quoted
from motive.errors import OptionError


class FinetrainersWriter(SelectionWriter):
    """Two files of lines, so a caption's line ends become spaces; columns and scores are in ``clips.csv``."""

    name = "finetrainers"
    videos_in, flat = "videos", True
    has_columns = False

    def check(self, export: Export) -> None:
        if export.files != "none":
            return
        for row in export.rows:
            if len(str(row.clip.path).splitlines()) != 1:
                raise OptionError(
                    f"select: finetrainers reads one file a line, and the name {str(row.clip.path)!r} holds a line end; "
                    "leave out --scores-only"
                )

    def write(self, export: Export) -> None:
        with (
            open(export.folder / "videos.txt", "x", encoding="utf-8", newline="") as videos,
            open(export.folder / "prompts.txt", "x", encoding="utf-8", newline="") as prompts,
        ):
            for row, path in export.videos(self):
                videos.write(path + "\n")
                prompts.write(caption_lines(row.clip.caption) + "\n")
        width, height, frames = export.size
        dataset = {
            "data_root": str(export.final),
            "dataset_type": "video",
            "video_resolution_buckets": [[frames, height, width]],
            "reshape_mode": "bicubic",
        }
        text = json.dumps({"datasets": [dataset]}, indent=2, ensure_ascii=False)
        (export.folder / "training.json").write_text(text + "\n", encoding="utf-8")

    def training(self, export: Export) -> Training:
        config = quoted(export.final / "training.json")
        return Training(
            "finetrainers (commit f476c37, 2025-06-04)",
            (
                "torchrun --standalone --nnodes=1 --nproc_per_node=1 --rdzv_backend c10d --rdzv_endpoint localhost:0 "
                "train.py --parallel_backend ptd --pp_degree 1 --dp_degree 1 --dp_shards 1 --cp_degree 1 --tp_degree 1 "
                "--model_name wan --pretrained_model_name_or_path Wan-AI/Wan2.1-T2V-1.3B-Diffusers "
                f"--dataset_config {config} --dataset_shuffle_buffer_size 10 --enable_precomputation "
                "--precomputation_items 25 --flow_weighting_scheme logit_normal --training_type lora --seed 42 "
                "--batch_size 1 --train_steps 3000 --rank 32 --lora_alpha 32 "
                '--target_modules "blocks.*(to_q|to_k|to_v|to_out.0)" --gradient_checkpointing '
                "--checkpointing_steps 500 --optimizer adamw --lr 5e-5 --output_dir output",
            ),
            "A LoRA of Wan2.1 T2V 1.3B on one GPU.",
        )
