"""Speed of motion_weights, noise_latents and weighted_loss, compared with plain PyTorch, torch.compile and the memory itself.

    python -m benchmarks.kernels.weighting [--quick] [--device cpu|cuda] [--threads N] [--no-compile] [--out DIR]

All three move memory and do little else, so the ceiling is measured: motion_weights against reading the flow once
(torch.sum), the other two against copying (Tensor.copy_), each scaled to the bytes that the op has to move. Everything
is timed in turns, round after round, and fractions and ratios are medians over the rounds, so a busy machine slows all
rows alike. Target: 0.8 of the ceiling with 32 samples.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

import motive_kernels as mk
from benchmarks.harness.rows import Record, append, commit
from motive_kernels.ops.motion_weights import reference as motion_reference
from motive_kernels.ops.noise_latents import reference as noise_reference
from motive_kernels.ops.weighted_loss import reference as loss_reference

SAMPLES = 32
LATENTS = (16, 5, 60, 104)
"""[c, F, h, w]: 17 frames of 480 x 832 at a stride of 8."""
SMALL_LATENTS = (16, 5, 30, 52)
FLOW, GRID = (17, 240, 416), (5, 30, 52)
TARGET = 0.8
L2_BYTES = 128 * 2**20
"""Inputs rotate over more than this, so that none is still in a cache."""

Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One op on inputs of one type.

    Attributes:
        op: its name.
        shape: of the main input.
        bytes: that have to be moved, each once.
        reads_only: the result is small: compare with reading instead of copying.
        public: the op, given an implementation, over rotating inputs.
        plain: the reference as a function for torch.compile, over the same inputs.
    """

    op: str
    shape: list[int]
    bytes: int
    reads_only: bool
    public: Callable[[str], Call]
    plain: Callable[[Callable], Call]


def rotating(sets: list[tuple], call: Callable) -> Call:
    """A call that takes the next of several inputs each time."""
    turn = [0]

    def run() -> Any:
        turn[0] = (turn[0] + 1) % len(sets)
        return call(*sets[turn[0]])

    return run


def copies(make: Callable[[], tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Inputs made often enough to fill the caches."""
    first = make()
    size = sum(tensor.nbytes for tensor in first)
    return [first, *(make() for _ in range(L2_BYTES // size))]


def cases(dtype: torch.dtype, device: str, quick: bool) -> Iterator[Case]:
    """The three ops on 32 samples, the inputs of one alive at a time."""
    shape = (SAMPLES, *(SMALL_LATENTS if quick else LATENTS))
    yield loss_case(shape, dtype, device)
    yield noise_case(shape, dtype, device)
    yield motion_case((5, *FLOW[1:]) if quick else FLOW, (2, *GRID[1:]) if quick else GRID, dtype, device)


def loss_case(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    sets = copies(lambda: tuple(torch.randn(shape, device=device).to(dtype) for _ in range(2)))
    weights = torch.rand(SAMPLES, *shape[2:], device=device)
    moved = 3 * sets[0][0].nbytes + weights.nbytes

    def public(impl: str) -> Call:
        return rotating(sets, lambda p, t: mk.weighted_loss(p, t, weights, impl=impl))

    def plain(wrap: Callable) -> Call:
        run = wrap(loss_reference.weighted_loss)
        return rotating(sets, lambda p, t: run(p, t, weights, 1.0))

    return Case("weighted_loss", list(shape), moved, False, public, plain)


def noise_case(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    sets = copies(lambda: (torch.randn(shape, device=device).to(dtype),))
    shared, sigma = torch.randn(1, *shape[1:], device=device).to(dtype), torch.rand(SAMPLES, device=device)
    moved = 3 * sets[0][0].nbytes + shared.nbytes

    def public(impl: str) -> Call:
        return rotating(sets, lambda z: mk.noise_latents(z, shared, sigma, impl=impl))

    def plain(wrap: Callable) -> Call:
        run = wrap(noise_reference.noise_latents)
        return rotating(sets, lambda z: run(z, shared, sigma))

    return Case("noise_latents", list(shape), moved, False, public, plain)


def motion_case(frames: tuple[int, int, int], grid: tuple[int, int, int], dtype: torch.dtype, device: str) -> Case:
    sets = copies(lambda: (3 * torch.randn(SAMPLES, *frames, 2, device=device).to(dtype),))

    def public(impl: str) -> Call:
        return rotating(sets, lambda flow: mk.motion_weights(flow, grid, impl=impl))

    def plain(wrap: Callable) -> Call:
        run = wrap(motion_reference.motion_weights)
        return rotating(sets, lambda flow: run(flow, None, *grid, "normalise_first", "causal_mean", "bilinear"))

    return Case("motion_weights", list(sets[0][0].shape), sets[0][0].nbytes, True, public, plain)


def ceiling(case: Case, device: str) -> tuple[Call, int]:
    """Plain reading or copying, and the bytes that it moves."""
    source = torch.ones(max(case.bytes // 2, L2_BYTES) // 4, device=device)
    if case.reads_only:
        return (lambda: source.sum()), source.nbytes
    to = torch.empty_like(source)
    return (lambda: to.copy_(source)), 2 * source.nbytes


def seconds(call: Call, device: str, clock: str) -> float:
    """Time of one call, to its end."""
    if device == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    call()
    return now() - start


def compiled(function: Callable) -> Callable:
    return torch.compile(function, fullgraph=True, dynamic=False)


def contestants(case: Case, device: str, with_compile: bool) -> Iterator[tuple[str, Call]]:
    """(implementation, call) for each that can run here; the reason is printed for each that cannot."""
    for impl in ("cpp",) if device == "cpu" else ("cuda", "triton"):
        reason = mk.implementations()[case.op][impl]
        if reason is None:
            yield impl, case.public(impl)
        else:
            print(f"{case.op}: {impl} not measured ({reason})")
    yield "torch", case.public("torch")
    if with_compile:
        call = case.plain(compiled)
        try:
            call()
        except TorchDynamoException as error:
            print(f"{case.op}: torch.compile not measured ({type(error).__name__})")
        else:
            yield "torch.compile", call


def measure(case: Case, device: str, clock: str, rounds: int, with_compile: bool) -> Iterator[Record]:
    """One record for the ceiling and one for each contestant, timed in turns."""
    top, top_bytes = ceiling(case, device)
    calls = {"memory": top, **dict(contestants(case, device, with_compile))}
    times: dict[str, list[float]] = {impl: [] for impl in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(rounds):
        for impl, call in calls.items():
            times[impl].append(seconds(call, device, clock))
    scale = case.bytes / top_bytes
    for impl, taken in times.items():
        fractions = [scale * least / t for least, t in zip(times["memory"], taken, strict=True)]
        ratios = [t / plain for t, plain in zip(taken, times["torch"], strict=True)]
        yield {
            "op": case.op,
            "impl": impl,
            "shape": case.shape,
            "bytes": top_bytes if impl == "memory" else case.bytes,
            "flops": None,
            "ms_median": 1e3 * median(taken),
            "ms_min": 1e3 * min(taken),
            "ms_max": 1e3 * max(taken),
            "fraction_of_ceiling": 1.0 if impl == "memory" else median(fractions),
            "baseline": "torch",
            "ratio": None if impl == "memory" else median(ratios),
        }


def check(device: str) -> None:
    """Every implementation against the reference; nothing is timed if one is wrong."""
    for dtype in (torch.float32, torch.bfloat16):
        for case in cases(dtype, device, quick=True):
            for impl, call in contestants(case, device, with_compile=False):
                error = relative_error(call(), case.public("torch")())
                if error > 2 * torch.finfo(dtype).eps + 1e-5:
                    raise RuntimeError(
                        f"benchmarks: {case.op} by {impl} must be like its reference, got {error:.1e} off; "
                        "run the tests"
                    )


def relative_error(got: Any, want: Any) -> float:
    """Of a tensor, or the largest of several."""
    if isinstance(got, Tensor):
        return float((got.float() - want.float()).norm() / want.float().norm())
    return max(relative_error(a, b) for a, b in zip(got, want, strict=True))


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, as the allocator of a GPU does: else new pages are most of every time."""
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4
        library.mallopt(m_mmap_max, 0)
        library.mallopt(m_trim_threshold, -1)


def rows(quick: bool, device: str, clock: str = "wall", with_compile: bool = True) -> Iterator[Record]:
    """Every record, complete."""
    where = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    for dtype in (torch.float32, torch.bfloat16) if quick else (torch.float32, torch.bfloat16, torch.float16):
        for case in cases(dtype, device, quick):
            for record in measure(case, device, clock, 5 if quick else 15, with_compile and dtype == torch.float32):
                yield {
                    "suite": "kernels",
                    "route": None,
                    "device": where,
                    "clock": "events" if device == "cuda" else clock,
                    "dtype": str(dtype).removeprefix("torch."),
                    **record,
                    "commit": commit(),
                    "versions": {"python": platform.python_version(), "torch": torch.__version__},
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller inputs, fewer rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for a machine that others use"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes long on a CPU")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    check(options.device)
    print(f"{'op':15} {'by':14} {'type':9} {'ms':>9} {'least':>9} {'GB/s':>7} {'of ceiling':>10} {'x torch':>8}")
    for record in rows(options.quick, options.device, options.clock, not options.no_compile):
        speed = record["bytes"] / record["ms_median"] / 1e6
        ratio = "" if record["ratio"] is None else f"{record['ratio']:8.3f}"
        missed = record["impl"] in ("cpp", "cuda") and record["fraction_of_ceiling"] < TARGET
        print(
            f"{record['op']:15} {record['impl']:14} {record['dtype']:9} {record['ms_median']:9.3f} "
            f"{record['ms_min']:9.3f} {speed:7.1f} {record['fraction_of_ceiling']:10.2f} {ratio:>8}"
            f"{'  below the target' if missed else ''}",
            flush=True,
        )
        append(options.out, record)


if __name__ == "__main__":
    main()
