"""DiffSynth-Studio: ``metadata.jsonl`` with the columns ``video`` and ``prompt``."""

from __future__ import annotations

from motive.data.writers.writer import Export, SelectionWriter, Training, json_lines, quoted


class DiffSynthWriter(SelectionWriter):
    """JSON Lines rather than CSV: pandas reads an empty caption in a CSV, or ``None`` and ``NA``, as a number."""

    name = "diffsynth"

    def write(self, export: Export) -> None:
        records = (
            export.record(row, {"video": path, "prompt": row.clip.caption, "clip_id": row.clip.clip_id})
            for row, path in export.videos(self)
        )
        json_lines(export.folder / "metadata.jsonl", records)

    def training(self, export: Export) -> Training:
        return diffsynth_training(export, "metadata.jsonl")


def diffsynth_training(export: Export, table: str) -> Training:
    """The command that trains on a table of ``video`` and ``prompt``."""
    width, height, frames = export.size
    model = "Wan-AI/Wan2.1-T2V-1.3B"
    parts = ("diffusion_pytorch_model*.safetensors", "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth")
    command = (
        "accelerate launch examples/wanvideo/model_training/train.py "
        f"--dataset_base_path {quoted(export.final)} --dataset_metadata_path {quoted(export.final / table)} "
        f"--height {height} --width {width} --num_frames {frames} --dataset_repeat 100 "
        f'--model_id_with_origin_paths "{",".join(f"{model}:{part}" for part in parts)}" '
        '--learning_rate 1e-4 --num_epochs 5 --remove_prefix_in_ckpt "pipe.dit." '
        f"--output_path models/train/{quoted(export.final.name)} --lora_base_model dit "
        '--lora_target_modules "q,k,v,o,ffn.0,ffn.2" --lora_rank 32'
    )
    return Training("DiffSynth-Studio (commit fed7b18, 2026-08-20)", (command,), "A LoRA of Wan2.1 T2V 1.3B.")
