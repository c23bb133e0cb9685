"""Cosmos-Curate: the output of its split pipeline, ``clips/`` and ``metas/v0/`` (or ``metas_jsonl/v0/``).

Layout of github.com/nvidia-cosmos/cosmos-curate (commit 29f1358, 1 May 2026: metadata_writer_stage.py); looked up on
29 November 2026.
"""

from __future__ import annotations

from motive.data.formats.curated import CuratedClips


class CosmosCurate(CuratedClips):
    """Recognised against NeMo Curator by ``filtered_windows``, which it writes for every clip."""

    name = "cosmos_curate"
    marker = "filtered_windows"
