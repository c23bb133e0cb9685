"""The training command for a selection in its dataset's own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motive.data.writers.diffsynth import diffsynth_training
from motive.data.writers.fastvideo import fastvideo_training
from motive.data.writers.folder import folder_training
from motive.data.writers.hf import hf_training
from motive.data.writers.writer import Export, Training

OWN: Mapping[str, Callable[[Export, str], Training]] = {
    "diffsynth": diffsynth_training,
    "fastvideo": lambda export, table: fastvideo_training(export),
    "folder": lambda export, table: folder_training(export, ""),
    "videofolder": lambda export, table: hf_training(export),
}
"""Name of a dataset format to the commands for a selection in it; its table is named relative to the selection."""
