"""Decoding in a separate process, which stays for the next clip and is replaced when it dies."""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from motive.child import describe_exit, python_command
from motive.config import to_json
from motive.data.media import media_of
from motive.data.video.buckets import ClipSpecs, SourceShape
from motive.data.video.clip_spec import ClipSpec
from motive.data.video.clips import LoadedClip
from motive.data.video.decode import Header
from motive.data.video.facts import checked_facts
from motive.data.video.video import DEFAULT_LIMITS, DecodeLimits
from motive.errors import ClipError, MissingExtra

_GRACE_S = 5.0
_MAX_ANSWER = 1 << 22
_START_S = 60.0

T = TypeVar("T")


class DecoderPool:
    """Decodes clips as load_clip does, each in one of a few processes with limits on time and memory.

    Safe to use from several threads, which get a process each. A process that dies, hangs or answers nonsense is
    ended, its clip is reported, and the next clip gets a new one.

    Args:
        clip_specs: of the clips; one for all, or those of buckets.
        limits: what one clip may cost.
    """

    def __init__(self, clip_specs: ClipSpec | ClipSpecs, limits: DecodeLimits = DEFAULT_LIMITS) -> None:
        self._specs = ClipSpecs(clip_specs) if isinstance(clip_specs, ClipSpec) else clip_specs
        self._limits = limits
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()
        self.started = 0

    def load_clip(self, path: Path | str, clip_spec: ClipSpec | None = None) -> LoadedClip:
        """As motive.data.load_clip.

        Args:
            path: a video file.
            clip_spec: no larger than the largest of the pool's; None takes the pool's own.

        Raises:
            ClipError: its reasons, and decoder_died: the process ended while it decoded this clip; timeout: it did
                not answer in time; out_of_memory.
        """
        seen = self._specs.base if clip_spec is None else clip_spec
        return self._with_decoder(lambda decoder: decoder.load_clip(path, seen))

    def read_header(self, path: Path | str) -> Header:
        """As motive.data.video.decode.read_header.

        Raises:
            ClipError: as load_clip.
        """
        return self._with_decoder(lambda decoder: decoder.read_header(path))

    def measure_shape(self, path: Path | str) -> SourceShape:
        """Length and size of a clip as displayed, without decoding more than its first frame.

        Raises:
            ClipError: as load_clip.
        """
        return self._with_decoder(lambda decoder: decoder.measure_shape(path))

    def _with_decoder(self, work: Callable[[_Decoder], T]) -> T:
        with self._lock:
            decoder = self._idle.pop() if self._idle else None
        if decoder is None:
            decoder = _Decoder(self._specs.largest_bytes, self._limits)
            self.started += 1
        try:
            result = work(decoder)
        except ClipError:
            if decoder.alive:
                self._give_back(decoder)
            raise
        except BaseException:
            decoder.close()
            raise
        self._give_back(decoder)
        return result

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _give_back(self, decoder: _Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)


class ClipReader:
    """Decodes clips by several clip specs, each in a separate process, to look again at what a store was made from."""

    def __init__(self) -> None:
        self._pools: dict[ClipSpec, DecoderPool] = {}
        self._lock = threading.Lock()

    def load_clip(self, path: Path, clip_spec: ClipSpec) -> LoadedClip:
        """As motive.data.load_clip, safe to use from several threads.

        Raises:
            ClipError: as DecoderPool.load_clip.
        """
        if not media_of(path).file.is_file():
            raise ClipError("missing_file", f"{path.name} is no longer where indexing found it")
        with self._lock:
            pool = self._pools.setdefault(clip_spec, DecoderPool(clip_spec))
        return pool.load_clip(path)

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *error: object) -> None:
        for pool in self._pools.values():
            pool.close()


class _Decoder:
    """One process, and the memory that it writes frames to."""

    def __init__(self, size: int, limits: DecodeLimits) -> None:
        self._limits = limits
        handle = _memory()
        try:
            os.ftruncate(handle, size)
            self._frames = mmap.mmap(handle, size)
            self._process = subprocess.Popen(
                python_command("motive.data.video.decoder", "serve", handle, size, limits.memory_bytes + size),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(handle,),
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        finally:
            os.close(handle)
        self._fresh = True
        self.alive = True

    def load_clip(self, path: Path | str, clip_spec: ClipSpec) -> LoadedClip:
        answer, name = self._request("clip", path, clip_spec), Path(path).name
        shape = (clip_spec.frames, clip_spec.height, clip_spec.width, 3)
        try:
            found = answer["clip"]
            times = np.array(found["frame_times_s"], np.float64)
            texts = {name: found[name] for name in ("decoder", "resize")}
            if times.shape != (clip_spec.frames,) or not all(isinstance(text, str) for text in texts.values()):
                raise ValueError("times or texts of another form")
            facts = checked_facts(found)
            frames = np.frombuffer(self._frames, np.uint8, count=math.prod(shape)).reshape(shape).copy()
            return LoadedClip(**facts, **texts, frames=frames, frame_times_s=times)
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(name) from error

    def read_header(self, path: Path | str) -> Header:
        answer = self._request("header", path)
        try:
            header = Header(**answer["header"])
            if any(type(value) not in (int, float) or not 0 <= value < math.inf for value in vars(header).values()):
                raise ValueError("numbers of another form")
            return header
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(Path(path).name) from error

    def measure_shape(self, path: Path | str) -> SourceShape:
        answer = self._request("shape", path)
        try:
            shape = SourceShape(**answer["shape"])
            if any(type(value) not in (int, float) or not 0 < value < math.inf for value in vars(shape).values()):
                raise ValueError("numbers of another form")
            return shape
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(Path(path).name) from error

    def _request(self, asked: str, path: Path | str, clip_spec: ClipSpec | None = None) -> dict[str, Any]:
        """Ask for a clip's frames in a clip spec, its header, or its shape."""
        request = {"asked": asked, "path": str(path), "limits": to_json(self._limits)}
        request["clip_spec"] = to_json(clip_spec)
        answer = self._ask(json.dumps(request).encode("ascii") + b"\n", Path(path).name)
        if "missing" in answer:
            raise MissingExtra(*map(str, answer["missing"]))
        if "error" in answer:
            reason, detail = answer["error"]
            raise ClipError(str(reason), str(detail))
        return answer

    def _broken(self, name: str) -> ClipError:
        self.close()
        return ClipError("decoder_died", f"the decoder of {name} gave an answer of another form")

    def _ask(self, request: bytes, name: str) -> dict[str, Any]:
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        limit_s = self._limits.timeout_s + _GRACE_S + (_START_S if self._fresh else 0.0)
        self._fresh = False
        deadline = time.monotonic() + limit_s
        answer = b""
        try:
            stdin.write(request)
            stdin.flush()
            while not answer.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([stdout], [], [], left)[0]:
                    self.close()
                    raise ClipError("timeout", f"{name} took more than {self._limits.timeout_s:g} s to decode")
                part = os.read(stdout.fileno(), 1 << 16)
                answer += part
                if not part or len(answer) > _MAX_ANSWER:
                    raise BrokenPipeError
            found = json.loads(answer)
            if not isinstance(found, dict):
                raise ValueError(f"an answer of type {type(found).__name__}")
            return found
        except (OSError, ValueError) as error:
            self.close()
            how = describe_exit(self._process.returncode)
            raise ClipError("decoder_died", f"the decoder ended with {how} on {name}") from error

    def close(self) -> None:
        self.alive = False
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _memory() -> int:
    """File descriptor of memory that two processes can share."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("motive-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
