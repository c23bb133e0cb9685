"""Videos in one folder, each with its caption in a text file: what ai-toolkit and many others read."""

from __future__ import annotations

from motive.data.writers.writer import Export, SelectionWriter, Training, quoted


class FolderWriter(SelectionWriter):
    """``videos/``: the clips and a ``.txt`` of the same name for each, also for an empty caption."""

    name = "folder"
    videos_in, flat = "videos", True
    holds_videos = True
    has_columns = has_values = False

    def write(self, export: Export) -> None:
        write_captioned(self, export)

    def training(self, export: Export) -> Training:
        return folder_training(export, "videos")


def write_captioned(writer: SelectionWriter, export: Export) -> None:
    """Videos and caption files in ``videos/``."""
    for row, path in export.videos(writer):
        (export.folder / path).with_suffix(".txt").write_text(row.clip.caption, encoding="utf-8", newline="")


def folder_training(export: Export, inner: str) -> Training:
    """How ai-toolkit trains on a folder."""
    videos = export.final / inner if inner else export.final
    frames, attributed = export.size[2], export.attributed
    others = attributed.shorter(frames) + attributed.longer(frames)
    losses = [
        f"{others} of {len(attributed.shape_of)} clips were attributed at another length than {frames} frames, and ai-toolkit "
        "spreads num_frames over the whole clip"
    ]
    return Training(
        "ai-toolkit (commit 27a03a9, 2026-08-21)",
        (
            "cp config/examples/train_lora_wan21_1b_24gb.yaml config/motion.yaml",
            f"sed -i 's|folder_path: .*|folder_path: \"'{quoted(videos)}'\"|' config/motion.yaml",
            "python run.py config/motion.yaml",
        ),
        f"Add num_frames: {frames} to the dataset in config/motion.yaml, else one frame of each clip is used. The example "
        "is of Wan2.1 T2V 1.3B; config/examples has those of other models.",
        tuple(losses) if others else (),
    )
