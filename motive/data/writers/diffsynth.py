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
    attributed = export.attributed
    model, other = attributed.model_or("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", prefix="Wan-AI/Wan2.1-T2V-")
    model, other = model.removesuffix("-Diffusers"), other.removesuffix("-Diffusers")
    if len(attributed.sizes) == 1:
        size = "--height {1} --width {0}".format(*attributed.sizes[0])
    else:
        size = f"--max_pixels {max(width * height for width, height in attributed.sizes)}"
    parts = ("diffusion_pytorch_model*.safetensors", "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth")
    command = (
        "accelerate launch examples/wanvideo/model_training/train.py "
        f"--dataset_base_path {quoted(export.final)} --dataset_metadata_path {quoted(export.final / table)} "
        f"{size} --num_frames {attributed.frames[-1]} --dataset_repeat 100 "
        f'--model_id_with_origin_paths "{",".join(f"{model}:{part}" for part in parts)}" '
        '--learning_rate 1e-4 --num_epochs 5 --remove_prefix_in_ckpt "pipe.dit." '
        f"--output_path models/train/{quoted(export.final.name)} --lora_base_model dit "
        '--lora_target_modules "q,k,v,o,ffn.0,ffn.2" --lora_rank 32'
    )
    note = f"A LoRA of {model.removeprefix('Wan-AI/')}."
    if len(attributed.shapes) > 1:
        note += " DiffSynth-Studio trains a video that has fewer frames at the most frames 4 n + 1 that it has"
        note += "." if len(attributed.sizes) == 1 else ", and each at its own aspect ratio, of at most max_pixels."
    return Training("DiffSynth-Studio (commit fed7b18, 2026-08-20)", (command,), note, (other,) if other else ())
