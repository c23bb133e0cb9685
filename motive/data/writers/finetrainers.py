"""finetrainers: ``videos.txt`` and ``prompts.txt``, a line a clip, and the JSON that names the folder."""

from __future__ import annotations

import json

from motive.data.writers.writer import Export, SelectionWriter, Training, caption_lines, quoted
from motive.errors import OptionError


class FinetrainersWriter(SelectionWriter):
    """Two files of lines, so a caption's line ends become spaces; columns and scores are in ``clips.csv``."""

    name = "finetrainers"
    videos_in, flat = "videos", True
    has_columns = has_values = False

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
        shapes = [[frames, height, width] for width, height, frames in export.attributed.clips]
        dataset = {
            "data_root": str(export.final),
            "dataset_type": "video",
            "video_resolution_buckets": shapes,
            "reshape_mode": "bicubic",
        }
        text = json.dumps({"datasets": [dataset]}, indent=2, ensure_ascii=False)
        (export.folder / "training.json").write_text(text + "\n", encoding="utf-8")

    def training(self, export: Export) -> Training:
        config = quoted(export.final / "training.json")
        attributed = export.attributed
        family = attributed.family if attributed.family in _MODELS else "wan"
        name, default, layers = _MODELS[family]
        model, other = attributed.model_or(default, tuple(_MODELS))
        return Training(
            "finetrainers (commit f476c37, 2025-06-04)",
            (
                "torchrun --standalone --nnodes=1 --nproc_per_node=1 --rdzv_backend c10d --rdzv_endpoint localhost:0 "
                "train.py --parallel_backend ptd --pp_degree 1 --dp_degree 1 --dp_shards 1 --cp_degree 1 --tp_degree 1 "
                f"--model_name {name} --pretrained_model_name_or_path {quoted(model)} "
                f"--dataset_config {config} --dataset_shuffle_buffer_size 10 --enable_precomputation "
                "--precomputation_items 25 --flow_weighting_scheme logit_normal --training_type lora --seed 42 "
                "--batch_size 1 --train_steps 3000 --rank 32 --lora_alpha 32 "
                f'--target_modules "{layers}" --gradient_checkpointing '
                "--checkpointing_steps 500 --optimizer adamw --lr 5e-5 --output_dir output",
            ),
            f"A LoRA of {model} on one GPU. A clip goes to a bucket of as many frames as it has, or fewer; of the whole "
            "clip, frames are taken at even distances.",
            (other,) if other else (),
        )


_ATTENTION = "(to_q|to_k|to_v|to_out.0)"
_MODELS = {
    "wan": ("wan", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", f"blocks.*{_ATTENTION}"),
    "ltx": (
        "ltx_video",
        "a-r-r-o-w/LTX-Video-diffusers",
        f"(transformer_blocks|single_transformer_blocks).*{_ATTENTION}",
    ),
    "cogvideox": (
        "cogvideox",
        "THUDM/CogVideoX1.5-5B",
        f"(transformer_blocks|single_transformer_blocks).*{_ATTENTION}",
    ),
    "hunyuan": (
        "hunyuan_video",
        "hunyuanvideo-community/HunyuanVideo",
        "(transformer_blocks|single_transformer_blocks).*"
        "(to_q|to_k|to_v|to_out.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)",
    ),
}
"""Our family to finetrainers' name for it, its example's model and the layers of its LoRA."""
