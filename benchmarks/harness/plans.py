"""Sections of a run on each kind of device, the most valuable first, since a run may end early."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.session import SECONDS, Section

SUITES = ("kernels", "capture", "pipeline", "quality", "scoring")

CPU = {
    "kernels": (
        "benchmarks.kernels.materialized_route",
        "benchmarks.kernels.projection_types",
        "benchmarks.kernels.factorized_route",
        "benchmarks.kernels.factorized_accuracy",
        "benchmarks.kernels.weighting",
    ),
    "capture": ("benchmarks.capture.forward_backward",),
    "pipeline": ("benchmarks.pipeline.masks", "benchmarks.pipeline.datasets"),
    "quality": ("benchmarks.quality.noise_combine",),
    "scoring": ("benchmarks.scoring.search", "benchmarks.scoring.large"),
}
"""Suite -> modules."""

# A warning of another version of torch must not hide what a test would say.
GPU_TESTS = [sys.executable, "-m", "pytest", "-q", "-rfE", "--maxfail=40", "-W", "default", "-p", "no:cacheprovider",
             "tests/gpu"]  # fmt: skip
SLOW_OR_OPTIONAL = "triton or a_pass_in_a_graph"
"""Tests that are no gate: of the second language, which takes minutes to compile, and of graphs, which nothing needs."""


@dataclass(frozen=True)
class Choice:
    """What a run is asked for.

    Attributes:
        suite: one of SUITES, or ``all``.
        out: folder of the results.
        quick: smaller inputs, fewer repetitions.
        rehearse: the sections of a GPU on the CPU, with small shapes.
        wheels: folder of wheels that the machine lacks.
        peers: folder of other packages to compare with.
        redo: sections to do again, with cases that are done.
    """

    suite: str
    out: Path
    quick: bool = False
    rehearse: bool = False
    wheels: Path | None = None
    peers: Path | None = None
    redo: frozenset[str] = frozenset()


def cpu_plan(choice: Choice) -> list[Section]:
    """A section for each module."""
    chosen = [name for suite in CPU if choice.suite in (suite, "all") for name in CPU[suite]]
    quick = ["--quick"] if choice.quick else []
    return [
        Section(name.removeprefix("benchmarks."), [sys.executable, "-m", name, "--out", str(choice.out), *quick])
        for name in chosen
    ]


def gpu_plan(choice: Choice) -> list[Section]:
    """The machine, the gate, the ceilings, and the sections of the suites."""
    before, after = _machine(choice), _suites(choice)
    return before + [section for suite, section in after if choice.suite in (suite, "all")]


def _module(choice: Choice, section: str, name: str, *arguments: str) -> list[str]:
    """The command of one of our modules."""
    command = [sys.executable, "-m", name, *arguments, "--out", str(choice.out)]
    command += ["--rehearse"] if choice.rehearse else []
    command += ["--quick"] if choice.quick or choice.rehearse else []
    return [*command, "--again"] if section in choice.redo else command


def _machine(choice: Choice) -> list[Section]:
    machine = [sys.executable, "-m", "benchmarks.harness.machine"]
    gate = [*GPU_TESTS, "-k", f"not ({SLOW_OR_OPTIONAL})"]
    plan = [Section("versions", [*machine, "versions"], 0.1, 5, always=True)]
    if choice.wheels is not None:
        plan.append(Section("wheels", [*machine, "wheels", str(choice.wheels)], 0.15, 5, always=True))
    if not choice.rehearse:
        plan.append(Section("build", [*machine, "build"], 0.5, 30, needs=("nvcc",), always=True, required=True))
    return [
        *plan,
        Section("gate", gate, 0.35, 20, gate=True),
        Section("ceilings", _module(choice, "ceilings", "benchmarks.harness.device"), 0.1, 5),
    ]


def _suites(choice: Choice) -> list[tuple[str, Section]]:
    """(suite, section)."""

    def ours(suite: str, name: str, share: float, module: str, *arguments: str, **more) -> tuple[str, Section]:
        command = _module(choice, name, f"benchmarks.{module}", *arguments)
        return suite, Section(name, command, share, **more)

    weighting = [sys.executable, "-m", "benchmarks.kernels.weighting"]
    if choice.rehearse:
        weighting += ["--device", "cpu", "--quick", "--no-compile"]
    else:
        weighting += ["--device", "cuda", "--out", str(choice.out)]
    peers = ("--peers", str(choice.peers)) if choice.peers is not None else ()
    timed = ("--seconds", SECONDS)
    report = str(choice.out / "resources.md")
    resources = [sys.executable, "-m", "benchmarks.kernels.resources", "--write", report]
    full = ("--clip", "full")

    def gradients(name: str, share: float, model: str, *more: str) -> tuple[str, Section]:
        return ours("pipeline", name, share, "pipeline.gradients", "--model", model, *more, least_s=30)

    return [
        ours("kernels", "materialized", 0.2, "kernels.gpu", "--only", "materialized"),
        ours("kernels", "factorized", 0.25, "kernels.gpu", "--only", "factorized"),
        gradients("preview", 0.5, "wan2.1-1.3b", "--clip", "preview"),
        gradients("full", 0.5, "wan2.1-1.3b", *full),
        ours("scoring", "search", 0.3, "scoring.gpu"),
        ("kernels", Section("weighting", weighting, 0.2)),
        ours("pipeline", "end_to_end", 0.4, "pipeline.end_to_end", *timed, least_s=60),
        ours("kernels", "sanitizer", 0.4, "kernels.sanitize", *timed, least_s=20),
        ("kernels", Section("tests_optional", [*GPU_TESTS, "-k", SLOW_OR_OPTIONAL], 0.4, 20)),
        ours("kernels", "types", 0.15, "kernels.gpu", "--only", "types"),
        ours("kernels", "counters", 0.3, "kernels.counters", *timed),
        ("kernels", Section("resources", resources, 0.1, 5)),
        ours("kernels", "peers", 0.4, "kernels.gpu_peers", *peers, *timed),
        gradients("wan5b_full", 0.4, "wan2.2-ti2v-5b", *full),
        gradients("ltx_full", 0.4, "ltx-2b", *full),
        gradients("wan5b_preview", 0.4, "wan2.2-ti2v-5b", "--clip", "preview"),
        gradients("ltx_preview", 0.4, "ltx-2b", "--clip", "preview"),
        ours("pipeline", "encoders", 0.4, "pipeline.encoders"),
    ]


def plan_for(choice: Choice, device: str) -> list[Section]:
    """The sections of a run on this device; a rehearsal is the GPU's plan on the CPU.

    Raises:
        ValueError: the suite has nothing for the device.
    """
    if device == "cpu" and not choice.rehearse:
        return cpu_plan(choice)
    known = _known(_suites(choice))
    if choice.suite not in (*known, "all"):
        raise ValueError(f"run: --suite must be {', '.join(known)} or all on a GPU, got {choice.suite}; choose one")
    return gpu_plan(choice)


def _known(sections: Sequence[tuple[str, Section]]) -> list[str]:
    return list(dict.fromkeys(suite for suite, _ in sections))
