"""An hour of fuzzing that is guided by coverage (atheris): every reader in a separate process, its memory limited."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fuzz_targets import TARGETS
from tests.faults.rows import Row, require

QUICK_S, FULL_S = 5, 3900
_GROWTH_MB = 200
"""Over the last three quarters of a run; the inputs that are kept for their coverage are in it."""
_STEADY_S = 120
"""A shorter run has its start within the last three quarters."""
_WATCH_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of fuzzing one reader.

    Attributes:
        inputs: that were tried.
        processor_s: processor time that it took.
        features: of coverage, as libFuzzer counts them, with the seeds alone and at the end.
        memory_mb: after a quarter of the time and at the end.
    """

    inputs: int
    processor_s: float
    features: tuple[int, int]
    memory_mb: tuple[float, float]


def run(quick: bool, folder: Path) -> list[Row]:
    """Every reader for the same time; nothing where atheris is absent."""
    if importlib.util.find_spec("atheris") is None:
        return []
    seconds = (QUICK_S if quick else FULL_S) // len(TARGETS)
    rows = []
    for name in TARGETS:
        rows.append(_row(name, max(3, seconds), folder))
        print(f"{rows[-1].fault}: {rows[-1].note}", file=sys.stderr, flush=True)
    return rows


def _row(name: str, seconds: int, folder: Path) -> Row:
    done = fuzz(name, seconds, folder / name.replace(" ", "-"))
    return Row(
        f"fuzzing guided by coverage: {name}",
        done.inputs,
        "only motive's own errors; no hang, no growth",
        f"{seconds / 60:.3g} min, {done.processor_s / 60:.3g} min of processor time; features covered "
        f"{done.features[0]:,} by the seeds, {done.features[1]:,} at the end; "
        f"memory {done.memory_mb[0]:.0f} MB after a quarter, {done.memory_mb[1]:.0f} MB at the end",
    )


def fuzz(name: str, seconds: int, folder: Path) -> Outcome:
    """Fuzz one reader for a number of seconds.

    Raises:
        BrokenPromise: something else than motive's own error came out, an input took a minute, or memory grew.
    """
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.guided_child", name, str(folder)]
    flags = ["-timeout=60", "-rss_limit_mb=1500", "-max_len=16384", "-print_final_stats=1"]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"-max_total_time={seconds}", f"-artifact_prefix={folder}/found-", *flags],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        memory = _watch(process)
    text = log.read_text(encoding="utf-8", errors="replace")
    done = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    require(process.returncode == 0 and done is not None, f"{name}: {text[-3000:]}; inputs in {folder}")
    features = [int(found) for found in re.findall(r"\bft: (\d+)", text)]
    quarter, end = memory[len(memory) // 4], memory[-1]
    require(
        seconds < _STEADY_S or end[1] - quarter[1] < _GROWTH_MB,
        f"{name}: memory grew from {quarter[1]:.0f} to {end[1]:.0f} MB",
    )
    return Outcome(
        int(done[1]) if done else 0, end[0], (features[0], features[-1]) if features else (0, 0), (quarter[1], end[1])
    )


def _watch(process: subprocess.Popen[bytes]) -> list[tuple[float, float]]:
    """(processor seconds, resident megabytes) of a process every few seconds until it ends."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = [(0.0, 0.0)]
    while process.poll() is None:
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        if fields[0] != "Z":
            found.append(((int(fields[11]) + int(fields[12])) / tick, int(fields[21]) * page / 2**20))
        time.sleep(min(_WATCH_S, 0.5 * len(found)))
    process.wait()
    return found
