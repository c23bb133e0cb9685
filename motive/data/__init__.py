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
from motive.data.writers.attributed import Attributed
from motive.data.writers.registry import SAME, selection_writer, selection_writers
from motive.data.writers.writer import Export, Files, SelectionWriter, Training

__all__ = [
    "SAME",
    "Attributed",
    "Clip",
    "ClipReader",
    "ClipSpec",
    "Dataset",
    "DatasetFormat",
    "DecodeLimits",
    "DecoderPool",
    "Detection",
    "Export",
    "Failure",
    "Files",
    "LoadedClip",
    "Part",
    "ReadOptions",
    "Row",
    "SelectionWriter",
    "Subset",
    "SubsetRow",
    "Training",
    "Unread",
    "dataset_format",
    "dataset_formats",
    "load_clip",
    "read_dataset",
    "selection_writer",
    "selection_writers",
    "spreadsheet_safe",
    "write_subset",
    "write_video",
]
