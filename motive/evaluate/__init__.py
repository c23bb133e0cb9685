"""Quality of a ranking: retrieval by label, against chance and against similarities that need no model."""

from motive.evaluate.baselines import frame_difference_features, pixel_features
from motive.evaluate.compare import BASELINES, EvaluateConfig, compare
from motive.evaluate.result import EvaluationResult, LabelCount, MethodResult, load, save
from motive.evaluate.retrieval import Retrieval, bootstrap_interval, chance_level, retrieval_by_label

__all__ = [
    "BASELINES",
    "EvaluateConfig",
    "EvaluationResult",
    "LabelCount",
    "MethodResult",
    "Retrieval",
    "bootstrap_interval",
    "chance_level",
    "compare",
    "frame_difference_features",
    "load",
    "pixel_features",
    "retrieval_by_label",
    "save",
]
