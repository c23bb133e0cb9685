"""Checks of this machine: what works, and why the rest does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import motive_kernels as mk
from motive.errors import MotiveError
from motive.extras import require
from motive.result import Result
from motive.versions import versions


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        area: ``package``, ``device``, ``kernel`` or ``codec``.
        name: what was looked at.
        works: whether it can be used here.
        detail: version, size or the reason why not.
    """

    area: str
    name: str
    works: bool
    detail: str


@dataclass(frozen=True)
class DoctorReport(Result):
    """What works on this machine.

    Attributes:
        findings: in the order of the report.
    """

    findings: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def lines(self) -> list[str]:
        """A heading for each area, and a line for each finding."""
        lines, area = [], ""
        for finding in self.findings:
            if finding.area != area:
                area = finding.area
                lines.append(f"{area}s")
            lines.append(f"  {'yes' if finding.works else 'no ':3} {finding.name:28} {finding.detail}")
        return lines


def doctor() -> DoctorReport:
    """Look at packages, devices, kernel back ends and video codecs; nothing is changed."""
    return DoctorReport((*_packages(), *_devices(), *_kernels(), *_codecs()))


def _packages() -> list[Finding]:
    found = versions().items()
    return [Finding("package", name, version is not None, version or "not installed") for name, version in found]


def _devices() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [Finding("device", "cpu", True, f"{cores} cores, {torch.get_num_threads()} torch threads")]
    if not torch.cuda.is_available():
        return [*found, Finding("device", "cuda", False, "torch sees no CUDA device")]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        detail = f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, sm_{facts.major}{facts.minor}"
        found.append(Finding("device", f"cuda:{number}", True, detail))
    return found


def _kernels() -> list[Finding]:
    found = []
    for op, reasons in mk.implementations().items():
        works = [impl for impl, reason in reasons.items() if reason is None]
        missing = "; ".join(f"{impl}: {reason}" for impl, reason in reasons.items() if reason is not None)
        detail = ", ".join(works) + (f" (not {missing})" if missing else "")
        found.append(Finding("kernel", op, bool(works), detail))
    return found


def _codecs() -> list[Finding]:
    return [
        _tried("H.264 write and read", _h264_round_trip),
        _tried("optical flow (OpenCV DIS)", lambda: require("cv2", "doctor", "video").__version__),
    ]


def _tried(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding("codec", name, True, attempt())
    except MotiveError as error:
        return Finding("codec", name, False, str(error))


def _h264_round_trip() -> str:
    """Write and read back five frames."""
    from motive.data import ClipSpec, load_clip
    from motive.data.video.encode import write_video

    frames = np.zeros((5, 32, 32, 3), dtype=np.uint8)
    frames[:, 8:24, 8:24] = 255
    with tempfile.TemporaryDirectory(prefix="motive-doctor-") as folder:
        path = Path(folder) / "probe.mp4"
        write_video(path, frames, fps=8.0)
        clip = load_clip(path, ClipSpec(fps=8.0, frames=5, height=32, width=32))
    return f"{clip.decoder}, mean error {np.abs(clip.frames.astype(int) - frames).mean():.1f} of 255"
