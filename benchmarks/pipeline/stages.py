"""Time of a pass by stage: kernels, or operations on the CPU, sorted into a few kinds by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.harness.rows import Record

KINDS = {
    "attention": r"flash|fmha|sdpa|attention|attn",
    "projection": r"motive|sketch_kernel|outer_kernel|inverse_kernel|direct_kernel|reduce_kernel|gather_kernel",
    "products": r"gemm|cutlass|nvjet|xmma|cublas|::mm|addmm|bmm|matmul|::linear|convolution|conv3d|slow_conv",
    "copies": r"memcpy|memset|copy|::to$|::cat|fill",
}
"""Kind -> what the name of its kernels holds; the first that fits counts. What fits none is ``norms and the rest``."""

REST = "norms and the rest"
TOP = 12


def kind_of(name: str) -> str:
    """The kind of a kernel or operation."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), REST)


def shares(times: Mapping[str, float]) -> dict[str, float]:
    """Share of each kind in the time of all kernels: name -> time."""
    total = sum(times.values()) or 1.0
    found = dict.fromkeys([*KINDS, REST], 0.0)
    for name, time in times.items():
        found[kind_of(name)] += time / total
    return found


def profile(run: Callable[[], Any], device: str) -> dict[str, float]:
    """Milliseconds of each kernel of one call, by torch's profiler."""
    on_gpu = device != "cpu"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as found:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return {event.key: getattr(event, key) / 1e3 for event in found.key_averages() if getattr(event, key) > 0}


def stage_row(run: Callable[[], Any], device: str, clips: int) -> Record:
    """Shares of one call, and the kernels that take longest."""
    times = profile(run, device)
    found, total = shares(times), sum(times.values())
    top = sorted(times.items(), key=lambda item: -item[1])[:TOP]
    return {
        "op": "stages",
        "shares": found,
        "busy_ms": total,
        "projection_ms_per_clip": found["projection"] * total / clips,
        "top": [[name[:100], time] for name, time in top],
    }
