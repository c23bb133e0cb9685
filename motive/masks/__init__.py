"""From a clip's frames to the weights of its loss."""

from motive.masks.base import MotionField, MotionSource
from motive.masks.camera import CameraReport, remove_camera
from motive.masks.registry import motion_source, motion_source_names
from motive.masks.weights import MaskConfig, MotionMask, mask_from_field, motion_mask

__all__ = [
    "CameraReport",
    "MaskConfig",
    "MotionField",
    "MotionMask",
    "MotionSource",
    "mask_from_field",
    "motion_mask",
    "motion_source",
    "motion_source_names",
    "remove_camera",
]
