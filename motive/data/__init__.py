"""Datasets in, standardised clips out, selections back in the form they came in."""

from motive.data.base import Clip, Dataset, Failure, Part, ReadOptions, Unread
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset, SubsetRow
from motive.data.formats.registry import dataset_format, dataset_formats, read_dataset
from motive.data.subset import spreadsheet_safe, write_subset
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.clips import LoadedClip, load_clip
from motive.data.video.encode import write_video
from motive.data.video.isolated import ClipReader, DecoderPool
from motive.data.video.video import DecodeLimits

__all__ = [
    "Clip",
    "ClipReader",
    "ClipSpec",
    "Dataset",
    "DatasetFormat",
    "DecodeLimits",
    "DecoderPool",
    "Detection",
    "Failure",
    "LoadedClip",
    "Part",
    "ReadOptions",
    "Row",
    "Subset",
    "SubsetRow",
    "Unread",
    "dataset_format",
    "dataset_formats",
    "load_clip",
    "read_dataset",
    "spreadsheet_safe",
    "write_subset",
    "write_video",
]
