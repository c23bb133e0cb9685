"""A disk that is full, read-only, forbidden or limited: a clear error, a whole store, and a resume that works."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.kills import ended_by_kill, start
from tests.faults.points import Point
from tests.faults.rows import Row, check_equal, check_whole, require
from tests.faults.target import job

_CLIPS = 240
_OBEY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
"""Root that permissions hold for."""


def run(quick: bool, folder: Path) -> list[Row]:
    """All kinds that this user may make."""
    rng, rows = random.Random(0), []
    root = os.geteuid() == 0
    times = 2 if quick else 8
    rows.append(_limited(rng, times, folder))
    if root and _can_mount(folder):
        rows += [_full(times, folder), _read_only(rng, max(1, times // 2), folder)]
    if not root or shutil.which(_OBEY[0]):
        rows.append(_forbidden(rng, max(1, times // 2), folder))
    return rows


def _full(times: int, folder: Path) -> Row:
    for number in range(times):
        place = _mount(folder / f"full-{number}", f"{12 * (number + 3)}k")
        try:
            _refused(place, "No space left", "disk full")
            subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
            _resumed(place)
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
    return _row("disk full (tmpfs of 36 to 120 kB)", times)


def _read_only(rng: random.Random, times: int, folder: Path) -> Row:
    for number in range(times):
        place = _mount(folder / f"ro-{number}", "64m")
        try:
            _partly(place, rng)
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
            _refused(place, "Read-only", "disk became read-only")
            subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
            _resumed(place)
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
    return _row("disk became read-only", times)


def _forbidden(rng: random.Random, times: int, folder: Path) -> Row:
    for number in range(times):
        place = folder / f"forbidden-{number}"
        place.mkdir()
        _partly(place, rng)
        folders = [place / "store", *(path for path in (place / "store").iterdir() if path.is_dir())]
        for each in folders:
            each.chmod(0o555)
        _refused(place, "Permission denied", "permission lost", prefix=_OBEY if os.geteuid() == 0 else ())
        for each in folders:
            each.chmod(0o755)
        _resumed(place)
    return _row("permission lost", times)


def _limited(rng: random.Random, times: int, folder: Path) -> Row:
    for number in range(times):
        place = folder / f"limited-{number}"
        place.mkdir()
        limit = rng.randrange(100, 2400)

        def lower(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        _refused(place, "File too large", f"files limited to {limit} bytes", lower)
        _resumed(place)
    return _row("quota (files may not grow past 100 to 2,400 bytes)", times)


def _row(fault: str, times: int) -> Row:
    return Row(fault, times, "one line says what and where; the store verifies; resumed, it equals an undisturbed run")


def _program(
    place: Path, clips: int, before: Callable[[], None] | None = None, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    target = [sys.executable, "-m", "tests.faults.target", str(place / "store"), str(clips), "0"]
    command = [*prefix, *target]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=before, check=False)


def _refused(
    place: Path, says: str, after: str, before: Callable[[], None] | None = None, prefix: Sequence[str] = ()
) -> None:
    done = _program(place, _CLIPS, before, prefix)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    require(done.returncode == 1 and len(lines) == 1, f"{after}: {done.returncode}, {done.stderr[-500:]}")
    require(says in lines[0] and "; " in lines[0], f"{after}: the message is {lines[0]}")
    if (place / "store" / "manifest.json").exists():
        check_whole(str(place / "store"), after)


def _partly(place: Path, rng: random.Random) -> None:
    """A store that some of the units are in: a run that is killed between two commits."""
    point = Point("commit", rng.randrange(1, _CLIPS // 12))
    command = [sys.executable, "-m", "tests.faults.target", str(place / "store"), str(_CLIPS), "0", str(point)]
    require(ended_by_kill(start(command)), f"the run did not come past {point}")


def _resumed(place: Path) -> None:
    done = _program(place, _CLIPS)
    require(done.returncode == 0, f"resume: {done.stderr[-500:]}")
    check_equal(str(place / "store"), job(_CLIPS, 0).expected(), "resumed")


def _mount(place: Path, size: str) -> Path:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    return place


def _can_mount(folder: Path) -> bool:
    place = folder / "probe"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=False, stderr=subprocess.DEVNULL
    )
    if made.returncode == 0:
        subprocess.run(["umount", str(place)], check=True)
    return made.returncode == 0
