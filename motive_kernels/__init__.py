"""One random projection, every route, every back end: kernels for gradient attribution.

Needs torch and NumPy only; knows nothing of video models. Start with ProjectionSpec and Projector.
"""

from __future__ import annotations

import logging

from motive_kernels.capture import GradientCapture, projected_gradients
from motive_kernels.ops.dot_scores.api import dot_scores
from motive_kernels.ops.motion_weights.api import MotionOrder, MotionPooling, MotionSpatial, motion_weights
from motive_kernels.ops.noise_latents.api import noise_latents
from motive_kernels.ops.quantize_rows.api import quantize_rows
from motive_kernels.ops.registry import implementations
from motive_kernels.ops.topk_dot.api import topk_dot
from motive_kernels.ops.vote.api import vote
from motive_kernels.ops.vote.reference import VoteStatistics
from motive_kernels.ops.weighted_loss.api import weighted_loss
from motive_kernels.projection.projector import ProjectionSpec, Projector, canonical_name
from motive_kernels.rng.philox import keyed_normal
from motive_kernels.search.base import NotFiniteError, quantize_queries

logging.getLogger("motive_kernels").addHandler(logging.NullHandler())

__all__ = [
    "GradientCapture",
    "MotionOrder",
    "MotionPooling",
    "MotionSpatial",
    "NotFiniteError",
    "ProjectionSpec",
    "Projector",
    "VoteStatistics",
    "canonical_name",
    "dot_scores",
    "implementations",
    "keyed_normal",
    "motion_weights",
    "noise_latents",
    "projected_gradients",
    "quantize_queries",
    "quantize_rows",
    "topk_dot",
    "vote",
    "weighted_loss",
]
