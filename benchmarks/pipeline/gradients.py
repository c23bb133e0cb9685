"""Projected gradients of full-size models on a GPU, compared with a plain training step of the same model and batch.

    python -m benchmarks.pipeline.gradients --model wan2.1-1.3b --clip preview [--batches 16,1] [--quick]
                                            [--rehearse] [--out DIR] [--again]

Random weights at the true shapes (benchmarks.pipeline.models). The training step is a forward and backward pass with
all parameters requiring gradients, the faster of eager and compiled (for the first batch size), with the same attention
and checkpointing. Where a clip does not fit 80 GB, the fewest blocks are checkpointed that make it fit. Also: a CUDA
graph of our pass, peak memory, energy, and the share of each kind of kernel. --rehearse runs it all with small twins on
the CPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import motive_kernels as mk
from benchmarks.harness.device import Meter, Setting, memory_of, parse, synchronize
from benchmarks.harness.rows import Record, Sink
from benchmarks.pipeline.attention import attention_rows, fastest
from benchmarks.pipeline.models import MODELS, FullModel, conditioning, random_adapter, small, tokens_of
from benchmarks.pipeline.stages import stage_row
from motive.gradients.clips import Batch, EncodedClip, motion_weighted_losses
from motive.gradients.draws import DrawConfig, shared_noise

LIMIT_BYTES = 79e9
"""What a pass may take of a card of 80 GB; the rest is the driver's."""

BATCHES = {("wan2.1-1.3b", "preview"): (16, 1, 4, 32), ("wan2.1-1.3b", "full"): (1,), ("ltx-2b", "preview"): (32, 1)}
"""Clips of a pass, the target's first; elsewhere 1, and 8 at preview size."""

STEP = "training step"


class Bench:
    """One model, a batch of clips on the device, and the passes over it.

    Attributes:
        transformer: all parameters require gradients.
        blocks: those that can be checkpointed.
    """

    def __init__(self, model: FullModel, clip: str, setting: Setting, folder: Path) -> None:
        self.model, self.clip, self.setting = model, clip, setting
        self.dtype = torch.float32 if setting.rehearsal else torch.bfloat16
        name = str(self.dtype).removeprefix("torch.")
        self.adapter = random_adapter(model, folder, setting.device, name)
        self.transformer: Any = self.adapter.load_transformer(self.adapter.experts[0])
        repeated = set(self.transformer._repeated_blocks)
        self.blocks = [part for part in self.transformer.modules() if type(part).__name__ in repeated]
        self.tokens = tokens_of(model, self.adapter, clip)
        self.shape = self.adapter.latent_shape(model.clips[clip])
        shapes = {f"transformer.{n}": tuple(p.shape) for n, p in self.transformer.named_parameters()}
        self.projector = mk.Projector(mk.ProjectionSpec(), shapes)
        draw = DrawConfig("single", count=DrawConfig.count)
        self._sigma = torch.tensor(draw.sigmas(), device=setting.device)
        self._noise = shared_noise(0, 0, self.shape)[None].to(setting.device)
        self.batch: Batch
        self.capture = self.new_capture()

    def new_capture(self) -> mk.GradientCapture:
        """Unproved, since check() compares with the loop, and a proof takes the memory of the training step."""
        return mk.GradientCapture(self.transformer, self.projector, prefix="transformer.", verify=False)

    def take(self, clips: int) -> None:
        """A batch of random clips."""
        torch.manual_seed(clips)
        made = [
            EncodedClip(
                torch.randn(self.shape),
                torch.rand(self.shape[1:]),
                conditioning(self.model, "cpu", self.dtype),
            )
            for _ in range(clips)
        ]
        self.batch = Batch.of(made, torch.device(self.setting.device))
        self.capture = self.new_capture()

    def losses(self) -> Tensor:
        return motion_weighted_losses(self.adapter, self.transformer, self.batch, self._sigma, self._noise).flatten()

    def step(self) -> None:
        """A training step's gradients."""
        self.losses().sum().backward()
        self.transformer.zero_grad(set_to_none=True)

    def ours(self) -> Tensor:
        """The clips' projected gradients."""
        return self.capture(self.losses)

    def checkpoint_all_but(self, free: int) -> None:
        """Recompute the activations of every block but the first ``free`` in the backward pass."""
        if free >= len(self.blocks):
            self.transformer.disable_gradient_checkpointing()
            return
        kept = {id(block) for block in self.blocks[:free]}

        def run(block: nn.Module, *inputs: Any) -> Any:
            if id(block) in kept:
                return block(*inputs)
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)

        self.transformer.enable_gradient_checkpointing(run)

    def compile(self) -> None:
        """Compile the blocks, all by one compilation for this shape, in place."""
        backend = "eager" if self.setting.rehearsal else "inductor"
        self.transformer.compile_repeated_blocks(backend=backend, dynamic=False)

    def uncompile(self) -> None:
        for block in self.blocks:
            block._compiled_call_impl = None


def free_blocks(limit: float, peak: float, peak_more: float, more: int, blocks: int) -> int:
    """How many blocks may go without a checkpoint so that the peak stays within a limit.

    Args:
        limit: bytes.
        peak: bytes with every block checkpointed.
        peak_more: bytes with ``more`` of them not.
        blocks: of the model.
    """
    each = max((peak_more - peak) / more, 1.0)
    return max(0, min(blocks, int((limit - peak) // each)))


def fit(bench: Bench, limit: float = LIMIT_BYTES) -> int:
    """Leave as many blocks without a checkpoint as fit; how many those are. On the CPU half of them."""
    count = len(bench.blocks)
    if bench.setting.rehearsal:
        bench.checkpoint_all_but(count // 2)
        return count // 2
    peaks, more = [], 2
    for free in (0, more):
        bench.checkpoint_all_but(free)
        bench.ours()  # the checks of a first pass are not what is measured
        with memory_of(bench.setting.device) as found:
            bench.ours()
        peaks.append(found["peak_bytes_reserved"])
    free = free_blocks(limit, peaks[0], peaks[1], more, count)
    bench.checkpoint_all_but(free)
    return free


def timed(run: Callable[[], Any], setting: Setting, meter: Meter, clips: int, repeats: int) -> Record:
    """Time, memory and energy of a pass, after two that are not counted."""
    run()
    with memory_of(setting.device) as memory:
        run()  # it fetches memory from the driver, which the later ones keep
        before, times = meter.joules(), []
        for _ in range(repeats):
            begin = perf_counter()
            run()
            synchronize(setting.device)
            times.append((perf_counter() - begin) * 1e3)
        after = meter.joules()
    middle = median(times)
    energy = {} if before is None or after is None else {"joules_per_clip": (after - before) / repeats / clips}
    return {
        "ms_median": middle, "ms_min": min(times), "ms_max": max(times), "ms_per_clip": middle / clips,
        "clips_per_second": 1e3 * clips / middle, **memory, **energy, **meter.clocks(),
    }  # fmt: skip


def check(bench: Bench) -> Iterator[Record]:
    """Ours against projected weight gradients of an ordinary backward pass; nothing is timed if they differ."""
    got = bench.ours()
    if not bool(got.isfinite().all()):
        raise RuntimeError("benchmarks: projected gradients hold NaN or infinity; run the tests")
    losses = bench.losses()
    losses[0].backward()
    grads = {f"transformer.{n}": p.grad[None] for n, p in bench.transformer.named_parameters() if p.grad is not None}
    want = bench.projector.project(grads)[0]
    bench.transformer.zero_grad(set_to_none=True)
    error = float((got[0] - want).norm() / want.norm())
    # The peer rounds each weight's gradient to 16 bits once more.
    if not error < (1e-4 if bench.dtype == torch.float32 else 2e-2):
        raise RuntimeError(f"benchmarks: captured gradients must match plain ones, got {error:.1e} off; run the tests")
    yield {"op": "check", "impl": "ours", "model": bench.model.name, "clip": bench.clip, "error": error}


def graph_of(bench: Bench) -> Callable[[], Any]:
    """Our pass as a CUDA graph over the same batch; on the CPU the pass itself."""
    if bench.setting.rehearsal:
        return bench.ours
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            bench.ours()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        bench.ours()
    return graph.replay


def case_rows(bench: Bench, clips: int, free: int | None, repeats: int, compiled: bool) -> Iterator[Record]:
    """Ours, the training step eager and compiled, a graph of ours at preview size, and where the time goes."""
    setting, meter, recomputed = bench.setting, Meter(bench.setting.device), 0
    if free is not None:
        bench.checkpoint_all_but(free)
        recomputed = len(bench.blocks) - min(free, len(bench.blocks))
    about = {"op": "gradients", "model": bench.model.name, "clip": bench.clip, "batch": clips,
             "tokens": bench.tokens, "shape": [clips, *bench.shape], "dtype": str(bench.dtype).removeprefix("torch."),
             "checkpointed_blocks": recomputed, "blocks": len(bench.blocks)}  # fmt: skip
    ours = timed(bench.ours, setting, meter, clips, repeats)
    yield {**about, "impl": "ours", **ours}
    steps: dict[str, Record] = {}
    for kind in ("eager", "compiled") if compiled else ("eager",):
        try:
            if kind == "compiled":
                bench.compile()
            steps[kind] = timed(bench.step, setting, meter, clips, repeats)
        except (torch.OutOfMemoryError, TorchDynamoException) as error:
            yield {**about, "impl": f"{STEP}, {kind}", "not_measured": str(error).splitlines()[0][:160]}
            bench.transformer.zero_grad(set_to_none=True)
            continue
        finally:
            bench.uncompile()
        yield {**about, "impl": f"{STEP}, {kind}", **steps[kind]}
        yield {**about, "impl": "ours", **ours, **relative_to_fastest(ours, steps)}
    if bench.clip == "preview":  # longer passes launch rarely, and a graph keeps its own memory
        try:
            graph = timed(graph_of(bench), setting, meter, clips, repeats)
            yield {**about, "impl": "ours, CUDA graph", **graph, **relative_to_fastest(graph, steps)}
        except RuntimeError as error:
            yield {**about, "impl": "ours, CUDA graph", "not_measured": str(error).splitlines()[0][:160]}
    for name, run in (("ours", bench.ours), (f"{STEP}, eager", bench.step)):
        if name == "ours" or "eager" in steps:
            yield {**about, **stage_row(run, setting.device, clips), "impl": name}


def relative_to_fastest(ours: Record, steps: dict[str, Record]) -> Record:
    """Ratios to the faster training step, and of memory to the eager one."""
    if not steps:
        return {}
    kind = min(steps, key=lambda name: steps[name]["ms_median"])
    found: Record = {"baseline": f"{STEP}, {kind}", "ratio": ours["ms_median"] / steps[kind]["ms_median"]}
    if "eager" in steps and "peak_bytes" in ours:
        found["memory_ratio"] = ours["peak_bytes"] / steps["eager"]["peak_bytes"]
    return found


def show(row: Record) -> None:
    where = f"{row['model']} {row['clip']} x {row['batch']}" if "batch" in row else str(row.get("shape"))
    if "shares" in row:
        figures = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in row["shares"].items())
    elif "error" in row:
        figures = f"captured gradients match plain ones to {row['error']:.1e}"
    elif "ms_median" in row:
        memory = f"{row['peak_bytes'] / 1e9:6.1f} GB" if "peak_bytes" in row else ""
        ratio = f"{row['ratio']:6.3f} x" if row.get("ratio") else ""
        figures = f"{row['ms_median']:10.2f} ms {row.get('clips_per_second', 0):8.2f} clips/s {ratio} {memory}"
    else:
        figures = f"not measured: {row['not_measured']}"
    print(f"{row['op']:10} {where:28} {row['impl']:24} {figures}", flush=True)


def backends(chosen: SDPBackend | None) -> AbstractContextManager[Any]:
    """Take this attention where it can be taken, and otherwise what else there is."""
    if chosen is None:
        return nullcontext()
    rest = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    return sdpa_kernel([chosen, *(b for b in rest if b != chosen)], set_priority=True)


def batches_of(options: argparse.Namespace, setting: Setting) -> Sequence[int]:
    """Clips of the passes to measure."""
    if options.batches:
        return [int(count) for count in options.batches.split(",")]
    usual = (8, 1) if options.clip == "preview" else (1,)
    found = BATCHES.get((options.model, options.clip), usual)
    if setting.quick:
        found = found[:1]
    return sorted({min(count, 3) for count in found}) if setting.rehearsal else found


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", choices=tuple(MODELS), default="wan2.1-1.3b")
        parser.add_argument("--clip", choices=("preview", "full", "own"), default="preview")
        parser.add_argument("--batches", default="", help="clips of a pass, with commas between them")

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    model = small(MODELS[options.model]) if setting.rehearsal else MODELS[options.model]
    sink = Sink(options.out, setting.common("pipeline"), show, options.again)
    with tempfile.TemporaryDirectory(prefix="motive-pipeline-") as folder:
        bench = Bench(model, options.clip, setting, Path(folder))
        rows = list(attention_rows(model, bench.tokens, setting))
        sink.take(f"attention/{model.name}/{options.clip}", rows)
        with backends(fastest(rows)):
            bench.take(1)
            needs_fit = options.clip != "preview"
            free = fit(bench) if needs_fit else None
            sink.take(f"check/{model.name}/{options.clip}", list(check(bench)))
            counts = batches_of(options, setting)
            for clips in counts:
                name = f"gradients/{model.name}/{options.clip}/{clips}"
                if sink.done(name):
                    print(f"{name}: measured before")
                    continue
                bench.take(clips)
                kept = fit(bench) if needs_fit and clips > 1 else free
                repeats = 1 if setting.rehearsal else 3 if needs_fit else 5
                # Compiling takes half a minute a shape: for the target's batch alone.
                sink.take(name, case_rows(bench, clips, kept, repeats, clips == counts[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
