"""The projected gradient of every parameter and clip, compared with a plain forward and backward pass.

    python -m benchmarks.capture.forward_backward [--quick] [--growth] [--apart] [--compile] [--threads N] [--out DIR]

One model and batch of the Wan architecture (benchmarks.capture.models); the baseline is the forward and backward pass
of the same model and batch with all parameters requiring gradients, the faster of eager and compiled (--compile).
Targets on the CPU: time at most 0.85 of it, memory at most 0.9. --growth varies batch, frames and parameters and draws
capture_growth.svg; --apart keeps segments and draws apart. Full-size models on a GPU: benchmarks.pipeline.gradients.

Peers: a backward pass for each clip; hooks that form each sample's gradient; torch.func's vmap(grad), alone and with
the projectors of traker and dattri where they are installed. The latter take minutes for all parameters, so one layer
is projected.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

import motive_kernels as mk
from benchmarks.capture.models import APART, GROWTH, TARGET, TINY, Bench, Size
from benchmarks.harness.rows import Record, append
from benchmarks.kernels.projection_types import complete
from motive_kernels.capture import scope
from motive_kernels.capture.loop import per_sample_gradients
from motive_kernels.capture.scope import Route

MEMORY = ("imports", "model", "forward_backward", "ours")
LAYER = "blocks.0.attn1.to_q.weight"


def check() -> None:
    """Ours against the loop of backward passes on a small model; nothing is timed if it is wrong."""
    bench = Bench(TINY)
    exact = per_sample_gradients(bench.model, bench.losses, dict(bench.model.named_parameters()))
    want = bench.projector.project({name: g.double() for name, g in exact.items()}, impl="torch")
    got = mk.projected_gradients(bench.model, bench.losses, bench.projector)
    error = float(((got - want).norm(dim=1) / want.norm(dim=1)).max())
    if error > 1e-4:
        raise RuntimeError(f"benchmarks: captured gradients must be within 1e-4, got {error:.1e}; run the tests")


def ours(bench: Bench, route: Route = "auto") -> Callable[[], Any]:
    """Projected gradients, with the checks of the first pass behind us."""
    capture = mk.GradientCapture(bench.model, bench.projector, route=route)
    return lambda: capture(bench.losses)


def always_materialized(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same with every gradient formed, whatever it costs."""

    def forced() -> Any:
        with mock.patch.object(scope, "factorized_is_cheaper", return_value=False):
            return run()

    return forced


def runs(bench: Bench, compiled: bool, quick: bool) -> dict[str, Callable[[], Any]]:
    """Name -> what is timed. The names of the plain passes begin with forward_backward."""
    found: dict[str, Callable[[], Any]] = {"forward_backward, eager": bench.forward_backward}
    if compiled:
        model = torch.compile(bench.model)
        found["forward_backward, compiled"] = lambda: bench.forward_backward(model)
    found["ours"] = ours(bench)
    if quick:
        return found
    found["hooks that form each gradient"] = always_materialized(ours(bench))
    found["ours, stream route"] = ours(bench, route="stream")
    found["a backward pass a clip"] = bench.one_by_one
    found["vmap(grad)"] = bench.vmap_grad
    return found


def peers(bench: Bench) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Projection of one layer's per-sample gradients by each peer that is installed."""
    flat = torch.randn(bench.size.batch, bench.model.get_parameter(LAYER).numel())
    if importlib.util.find_spec("trak") is not None:
        projectors = importlib.import_module("trak.projectors")
        kind = projectors.ProjectionType("rademacher")
        projector = projectors.BasicProjector(flat.shape[1], 512, 0, kind, torch.device("cpu"), block_size=100)
        yield "traker BasicProjector, one layer", lambda: projector.project(flat, 0)
    if importlib.util.find_spec("dattri") is not None:
        random_project = importlib.import_module("dattri.func.projection").random_project
        project = random_project(flat, len(flat), 512, len(flat), 0, "normal", device="cpu")
        yield "dattri random_project, one layer", lambda: project(flat)


def timed(calls: Mapping[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Wall times in turns, so that all see the same machine, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: {"ms_median": median(t), "ms_min": min(t), "ms_max": max(t)} for name, t in times.items()}


def records(bench: Bench, calls: Mapping[str, Callable[[], Any]], repeats: int, device: str) -> Iterator[Record]:
    """A row for each call, with its ratio to the faster plain pass."""
    size, parameters = bench.size, sum(p.numel() for p in bench.model.parameters())
    times = timed(calls, repeats, device)
    plain = min(t["ms_median"] for name, t in times.items() if name.startswith("forward_backward"))
    for name, found in times.items():
        yield {
            "suite": "capture",
            "op": "capture",
            "impl": name,
            "route": "auto" if name == "ours" else None,
            "dtype": str(next(bench.model.parameters()).dtype).removeprefix("torch."),
            "shape": [size.batch, size.tokens, 128 * size.heads, size.ffn, size.layers],
            "parameters": parameters,
            **found,
            "baseline": "forward_backward",
            "ratio": found["ms_median"] / plain,
        }


def peak_bytes(what: str, threads: int) -> int:
    """Peak resident memory of a process that makes the model and runs one way three times."""
    command = [sys.executable, "-m", "benchmarks.capture.forward_backward", "--memory", what, "--threads", str(threads)]
    # Tensors are given back to the system when they are freed, so the peak is that of live ones.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def report_peak(what: str) -> None:
    """The child's side of peak_bytes."""
    if what != "imports":
        bench = Bench(TARGET)
        run = {"ours": ours(bench), "forward_backward": bench.forward_backward, "model": lambda: None}[what]
        for _ in range(3):
            run()
    # Not ru_maxrss: a child's begins at what its parent had.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


def memory(threads: int) -> Record:
    """Peak memory of our tensors compared with the plain pass, model included, each in its own process."""
    peaks = {what: peak_bytes(what, threads) for what in MEMORY}
    tensors = {what: peak - peaks["imports"] for what, peak in peaks.items()}
    return {
        "suite": "capture",
        "op": "peak memory",
        "impl": "ours",
        "dtype": "float32",
        "shape": [TARGET.batch, TARGET.tokens, 128 * TARGET.heads, TARGET.ffn, TARGET.layers],
        "bytes": tensors["ours"],
        "bytes_baseline": tensors["forward_backward"],
        "bytes_model_alone": tensors["model"],
        "bytes_imports": peaks["imports"],
        "baseline": "forward_backward",
        "ratio": tensors["ours"] / tensors["forward_backward"],
    }


def growth(repeats: int) -> Iterator[Record]:
    """Plain and ours while one thing grows."""
    for axis, sizes in GROWTH.items():
        for size in sizes:
            bench = Bench(size)
            calls = {"forward_backward, eager": bench.forward_backward, "ours": ours(bench)}
            for record in records(bench, calls, repeats, "cpu"):
                yield {**record, "op": f"capture, growing {axis}"}


def apart(repeats: int) -> Iterator[Record]:
    """Vectors of four segments of each clip, and of four draws of one clip, compared with one vector a clip."""
    bench = Bench(APART)
    capture = mk.GradientCapture(bench.model, bench.projector)
    whole = capture(lambda: bench.segments(1)[:, 0])
    error = float((capture(lambda: bench.segments(4)).sum(1) - whole).norm() / whole.norm())
    if error > 1e-4:
        raise RuntimeError(f"benchmarks: vectors of segments must add up within 1e-4, got {error:.1e}; run the tests")
    calls: dict[str, Callable[[], Any]] = {
        "forward_backward, eager": bench.forward_backward,
        "ours": lambda: capture(bench.losses),
        "ours, four segments": lambda: capture(lambda: bench.segments(4)),
        "ours, a pass a segment": lambda: [capture(lambda j=j: bench.segments(4)[:, j]) for j in range(4)],
    }
    yield from records(bench, calls, repeats, "cpu")
    draws = Bench(replace(APART, batch=4))
    summed, separate = (mk.GradientCapture(draws.model, draws.projector) for _ in range(2))
    calls = {
        "forward_backward, eager": draws.forward_backward,
        "ours, four draws summed": lambda: summed(lambda: draws.losses().sum(0, keepdim=True)),
        "ours, four draws apart": lambda: separate(draws.losses),
    }
    for record in records(draws, calls, repeats, "cpu"):
        if record["impl"] != "forward_backward, eager":
            yield record


def draw(found: list[Record], path: Path) -> None:
    """The growth curves as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(GROWTH), figsize=(10, 3), layout="constrained")
    of_axis: dict[str, Callable[[Record], float]] = {
        "batch": lambda r: r["shape"][0],
        "frames": lambda r: r["shape"][1] / 256,
        "parameters": lambda r: r["parameters"] / 1e6,
    }
    for panel, (axis, value) in zip(panels, of_axis.items(), strict=True):
        rows = [r for r in found if r["op"].endswith(axis)]
        for impl in dict.fromkeys(r["impl"] for r in rows):
            points = [(value(r), r["ms_median"] / 1e3) for r in rows if r["impl"] == impl]
            panel.plot(*zip(*points, strict=True), marker="o", label=impl)
        panel.set_xlabel({"batch": "clips", "frames": "latent frames", "parameters": "million parameters"}[axis])
        panel.set_ylim(0)
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def all_records(options: argparse.Namespace) -> Iterator[Record]:
    """What the options ask for."""
    if options.growth:
        yield from growth(2 if options.quick else 3)
        return
    if options.apart:
        for record in apart(1 if options.quick else 2):
            yield {**record, "op": "capture, apart"}
        return
    size = Size(2, 512, 1, (2, 16, 16), 2, 256) if options.quick else TARGET
    bench = Bench(size)
    yield from records(bench, runs(bench, options.compile, options.quick), 2 if options.quick else 3, "cpu")
    if not options.quick:
        plain = {"forward_backward, eager": bench.forward_backward}
        for record in records(bench, {**plain, **dict(peers(bench))}, 1, "cpu"):
            if record["impl"] not in plain:
                yield {**record, "shape": [bench.size.batch, *bench.model.get_parameter(LAYER).shape]}
        yield memory(options.threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, two repetitions, no peers")
    parser.add_argument("--growth", action="store_true", help="growth curves instead")
    parser.add_argument("--apart", action="store_true", help="what keeping segments and draws apart costs instead")
    parser.add_argument("--compile", action="store_true", help="also time the compiled plain pass")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of every row")
    parser.add_argument("--memory", choices=MEMORY, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        report_peak(options.memory)
        return
    check()
    found = []
    for record in all_records(options):
        found.append(complete(record))
        times = f"{record['ms_median']:10.1f} {record['ms_min']:10.1f}" if "ms_median" in record else f"{'':21}"
        print(f"{record['op']:30} {record['impl']:34} {times} {record['ratio']:7.3f}", flush=True)
        append(options.out, found[-1])
    if options.growth and options.out:
        draw(found, options.out / "capture_growth.svg")


if __name__ == "__main__":
    main()
