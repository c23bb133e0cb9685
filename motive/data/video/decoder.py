"""The process that decodes: it reads one request a line, writes frames into shared memory, and answers in JSON.

The process that asked trusts nothing from here but JSON of known fields, so that a decoder taken over by a hostile
file can at most give wrong frames for that file, or die.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from motive.config import to_json
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.clips import load_clip
from motive.data.video.decode import measure_shape, read_header
from motive.data.video.video import DecodeLimits
from motive.errors import ClipError, MissingExtra

OPEN_FILES = 64


def serve(frames_handle: int, frame_bytes: int, memory_bytes: int) -> None:
    """Answer requests from standard input until it ends.

    Args:
        frames_handle: file descriptor of the memory that frames are written to.
        frame_bytes: its size.
        memory_bytes: address space that this process may take.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (1, 2):  # FFmpeg's own messages
        os.dup2(nothing, handle)
    _limit(memory_bytes)
    with mmap.mmap(frames_handle, frame_bytes) as shared:
        for line in sys.stdin.buffer:
            answers.write(json.dumps(_answer(json.loads(line), shared), ensure_ascii=True) + "\n")
            answers.flush()


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _answer(request: dict[str, Any], shared: mmap.mmap) -> dict[str, Any]:
    path, limits = Path(request["path"]), DecodeLimits(**request["limits"])
    try:
        if request["asked"] == "header":
            return {"header": to_json(read_header(path, limits))}
        if request["asked"] == "shape":
            return {"shape": to_json(measure_shape(path, limits))}
        clip_spec = ClipSpec(**request["clip_spec"])
        shape = (clip_spec.frames, clip_spec.height, clip_spec.width, 3)
        out = np.frombuffer(shared, np.uint8, count=int(np.prod(shape))).reshape(shape)
        clip = load_clip(path, clip_spec, limits, out)
    except ClipError as error:
        return {"error": [error.reason, error.detail]}
    except MissingExtra as error:
        return {"missing": [error.where, error.package, error.extra]}
    except MemoryError:
        return {"error": ["out_of_memory", f"decoding took more than {limits.memory_bytes} bytes"]}
    times = clip.frame_times_s.tolist()
    return {"clip": {**clip.source_facts(), "decoder": clip.decoder, "resize": clip.resize, "frame_times_s": times}}
