"""NeMo Curator: the output of its ClipWriterStage, ``clips/`` and ``metas/v0/``.

Layout of github.com/NVIDIA-NeMo/Curator (commit 1e2e427, 21 August 2026: stages/video/io/clip_writer.py; the same in the
manual of 26.04); looked up on 29 November 2026.
"""

from __future__ import annotations

from motive.data.formats.curated import CuratedClips


class NemoCurator(CuratedClips):
    """Recognised against Cosmos-Curate by what it does not write."""

    name = "nemo_curator"
    others = ("filtered_windows",)
