"""The training command for a selection in its dataset's own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motive.data.writers.diffsynth import diffsynth_training
from motive.data.writers.diffusion_pipe import diffusion_pipe_training
from motive.data.writers.fastvideo import fastvideo_training
from motive.data.writers.folder import folder_training
from motive.data.writers.hf import hf_training
from motive.data.writers.musubi import musubi_training
from motive.data.writers.writer import Export, Training, quoted


def _ai_toolkit_training(export: Export, config: str) -> Training:
    return Training(
        "ai-toolkit 0.12.26 (commit 27a03a9, 2026-08-21)",
        (f"python run.py {quoted(export.final / config)}",),
        "The job is that of the dataset, on the selected clips. After a move of the folder, correct the paths in it.",
    )


OWN: Mapping[str, Callable[[Export, str], Training]] = {
    "ai-toolkit": _ai_toolkit_training,
    "diffsynth": diffsynth_training,
    "diffusion-pipe": diffusion_pipe_training,
    "fastvideo": lambda export, table: fastvideo_training(export),
    "folder": lambda export, table: folder_training(export, ""),
    "musubi": musubi_training,
    "videofolder": lambda export, table: hf_training(export),
}
"""Name of a dataset format to the commands for a selection in it; its table is named relative to the selection."""
