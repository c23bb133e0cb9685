"""Find the training clips that shape the motion of a video diffusion model.

The verbs of the main job are functions here; importing this package imports none of them yet.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motive.curate import SelectConfig, select
    from motive.demo import DemoConfig, demo
    from motive.doctor import doctor
    from motive.indexing.check import CheckConfig, check_dataset
    from motive.indexing.config import IndexConfig
    from motive.indexing.estimate import estimate
    from motive.indexing.index import index, query
    from motive.indexing.replay import replay
    from motive.reporting import ReportConfig, report
    from motive.scoring import ExportConfig, ScoreConfig, export, score, topk
    from motive.store import Store

logging.getLogger("motive").addHandler(logging.NullHandler())

_HOME = {
    "CheckConfig": "motive.indexing.check",
    "DemoConfig": "motive.demo",
    "ExportConfig": "motive.scoring",
    "IndexConfig": "motive.indexing.config",
    "ReportConfig": "motive.reporting",
    "ScoreConfig": "motive.scoring",
    "SelectConfig": "motive.curate",
    "Store": "motive.store",
    "check_dataset": "motive.indexing.check",
    "demo": "motive.demo",
    "doctor": "motive.doctor",
    "estimate": "motive.indexing.estimate",
    "export": "motive.scoring",
    "index": "motive.indexing.index",
    "query": "motive.indexing.index",
    "replay": "motive.indexing.replay",
    "report": "motive.reporting",
    "score": "motive.scoring",
    "select": "motive.curate",
    "topk": "motive.scoring",
}

__all__ = [
    "CheckConfig",
    "DemoConfig",
    "ExportConfig",
    "IndexConfig",
    "ReportConfig",
    "ScoreConfig",
    "SelectConfig",
    "Store",
    "check_dataset",
    "demo",
    "doctor",
    "estimate",
    "export",
    "index",
    "query",
    "replay",
    "report",
    "score",
    "select",
    "topk",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'motive' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
