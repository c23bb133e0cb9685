"""Speed of the projection routes on a GPU, at the shapes of Wan2.1-T2V-1.3B, compared with measured ceilings.

    python -m benchmarks.kernels.gpu [--quick] [--only materialized,factorized,types] [--rehearse] [--out DIR] [--again]

The materialized route is compared with reading the gradients once, the factorized route with the weight-gradient
products that it replaces and with reading its inputs once. Targets: materialized 0.85 of the read ceiling; factorized
at most 2 memory floors at 32,760 tokens and at most half the weight-gradient products at 1,950.

--rehearse runs all of it on the CPU with small shapes, to find what is broken before a GPU is at hand; its times mean
nothing, and its rows say so.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import motive_kernels as mk
from benchmarks.harness.device import Call, Ceilings, Setting, ceilings, clocked, dtype_name, measure, parse, replayed
from benchmarks.harness.rows import Record, Sink
from benchmarks.kernels import wan
from motive_kernels.ops.outer_sketch.api import outer_sketch_into
from motive_kernels.ops.tensor_sketch.api import tensor_sketch_into
from motive_kernels.ops.tensor_sketch.cuda import tensor_sketch_many_into
from motive_kernels.rng.philox import parameter_key
from motive_kernels.rng.tables import ROLE_COLUMNS, ROLE_ROWS, balanced_buckets, gather_table

DIM = 512


def tables(name: str, o: int, i: int, setting: Setting) -> tuple[Tensor, Tensor]:
    """Gather tables of one parameter on the device."""
    key = parameter_key("tensor_sketch", 0, name)
    rows, columns = (
        torch.from_numpy(gather_table(*balanced_buckets(key, role, length, DIM), DIM)).to(setting.device)
        for role, length in ((ROLE_ROWS, o), (ROLE_COLUMNS, i))
    )
    return rows, columns


def check(setting: Setting) -> None:
    """Both routes against float64 before anything is timed."""
    rows, columns = tables("check", 700, 1100, setting)
    x, dy = setting.random(2, 77, 1100), setting.random(2, 77, 700)
    grad = torch.einsum("nto,nti->noi", dy.double(), x.double())
    want = torch.zeros(2, DIM, dtype=torch.float64, device=setting.device)
    tensor_sketch_into(want, grad, rows, columns, impl="torch")
    for impl in available(setting):
        sums = {route: torch.zeros_like(want, dtype=torch.float32) for route in ("materialized", "factorized")}
        tensor_sketch_into(sums["materialized"], grad.float(), rows, columns, impl=impl)
        outer_sketch_into(sums["factorized"], x, dy, rows, columns, impl=impl)
        for route, got in sums.items():
            error = float((got - want).norm() / want.norm())
            if not error < 1e-5:
                raise RuntimeError(
                    f"benchmarks: the {route} route by {impl} must be within 1e-5 of its reference, got {error:.1e}; "
                    "run tests/gpu"
                )


def available(setting: Setting) -> list[str]:
    """The implementations that run here; the reason is printed for each that does not."""
    usable = []
    for impl in setting.candidates:
        reason = mk.implementations()["tensor_sketch_into"][impl]
        if reason is None:
            usable.append(impl)
        else:
            print(f"{impl} not measured ({reason})")
    return usable


def materialized_rows(limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """The materialized route over the whole model, bf16 and one sample, and over single layers."""
    shapes = wan.parameters()
    if setting.quick:
        shapes = dict(list(shapes.items())[:80])
    parts: list[tuple[Tensor, Tensor, Tensor, float]] = []
    for name, shape in shapes.items():
        o, i = setting.length(shape[0]) if len(shape) > 1 else 1, setting.length(math.prod(shape[1:] or shape))
        grad = setting.random(1, o, i, dtype=torch.bfloat16)
        parts.append((grad, *tables(name, o, i, setting), 1.0))
    moved = sum(grad.nbytes for grad, *_ in parts)
    z = torch.zeros(1, DIM, device=setting.device)
    about = {"dtype": "bfloat16", "shape": [1, moved // 2], "bytes": moved, "flops": moved // 2}

    def separately(impl: str) -> None:
        for grad, rows, columns, scale in parts:
            tensor_sketch_into(z, grad, rows, columns, scale=scale, impl=impl)

    base = measure(replayed(lambda: [grad.sum() for grad, *_ in parts], setting), setting)["ms_median"]
    usable = available(setting)
    runs: dict[str, Call] = {}
    if "cuda" in usable:
        runs["cuda, one list"] = lambda: tensor_sketch_many_into(z, parts)
        runs["cuda, one list, graph"] = replayed(runs["cuda, one list"], setting)
        runs["cuda, layer by layer, graph"] = replayed(lambda: separately("cuda"), setting)
    for impl in usable:
        if impl != "triton" or not setting.quick:
            runs[f"{impl}, layer by layer"] = partial(separately, impl)
    for impl, run in runs.items():
        times = measure(run, setting, max(1, setting.repeats // 3) if impl.startswith("triton") else None)
        yield {"op": "tensor_sketch_into, whole model", "impl": impl, "route": "materialized", **about, **times,
               "fraction_of_ceiling": moved / limit.read / times["ms_median"], "baseline": "torch.sum, graph",
               "ratio": times["ms_median"] / base}  # fmt: skip


def layer_rows(limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """The materialized route on single layers, several types and batch sizes, inputs rotating."""
    for o, i in (tuple(map(setting.length, shape)) for shape in ((1536, 1536), (8960, 1536), (1536, 8960))):
        rows, columns = tables("layer", o, i, setting)
        for n, dtype in ((1, torch.bfloat16), (8, torch.bfloat16), (8, torch.float32)):
            size = n * o * i * dtype.itemsize
            sets = [setting.random(n, o, i, dtype=dtype) for _ in range(setting.copies(size))]
            z = torch.zeros(n, DIM, device=setting.device)
            base = measure(replayed(lambda sets=sets: [grad.sum() for grad in sets], setting), setting)["ms_median"]
            for impl in available(setting):

                def run(
                    impl: str = impl, sets: list[Tensor] = sets, z: Tensor = z, tabled: tuple = (rows, columns)
                ) -> None:
                    for grad in sets:
                        tensor_sketch_into(z, grad, *tabled, impl=impl)

                times = {key: t / len(sets) for key, t in measure(replayed(run, setting), setting).items()}
                yield {"op": "tensor_sketch_into", "impl": impl, "route": "materialized", "dtype": dtype_name(dtype),
                       "shape": [n, o, i], "bytes": size, "flops": n * o * i, **times,
                       "fraction_of_ceiling": size / limit.read / times["ms_median"], "baseline": "torch.sum",
                       "ratio": times["ms_median"] * len(sets) / base}  # fmt: skip


def factorized_rows(n: int, full: int, limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """The factorized route over the layers of the blocks: each distinct shape once, times how often it occurs."""
    t = setting.length(full)
    totals: dict[str, dict[str, float]] = {}
    moved = flops = 0
    for (full_o, full_i), count in wan.factorized_layers().items():
        o, i = setting.length(full_o), setting.length(full_i)
        moved += count * 2 * n * t * (o + i)
        flops += count * 2 * n * t * o * i
        for impl, times in one_factorized_layer((n, t, o, i), setting).items():
            sums = totals.setdefault(impl, dict.fromkeys(times, 0.0))
            for key, value in times.items():
                sums[key] += count * value
    gradient = totals["weight_gradient"]["ms_median"]
    for impl, times in totals.items():
        yield {"op": "weight_gradient" if impl == "weight_gradient" else "outer_sketch_into, whole model",
               "impl": "torch.bmm" if impl == "weight_gradient" else impl, "route": "factorized",
               "dtype": "bfloat16", "shape": [n, t], "bytes": moved, "flops": flops, **times,
               "fraction_of_ceiling": moved / limit.read / times["ms_median"], "baseline": "weight_gradient",
               "ratio": times["ms_median"] / gradient}  # fmt: skip


def one_factorized_layer(shape: tuple[int, int, int, int], setting: Setting) -> dict[str, dict[str, float]]:
    """Times of one layer [n, t, o, i] by each implementation and of its weight gradient, over rotating inputs."""
    n, t, o, i = shape
    rows, columns = tables("layer", o, i, setting)
    sets = [
        tuple(setting.random(n, t, width, dtype=torch.bfloat16) for width in (i, o))
        for _ in range(setting.copies(2 * n * t * (o + i)))
    ]
    z = torch.zeros(n, DIM, device=setting.device)

    def sketch(impl: str) -> None:
        for x, dy in sets:
            outer_sketch_into(z, x, dy, rows, columns, impl=impl)

    def gradient() -> None:
        for x, dy in sets:
            torch.bmm(dy.transpose(1, 2), x)

    runs = {impl: partial(sketch, impl) for impl in available(setting)} | {"weight_gradient": gradient}
    found = {impl: measure(replayed(run, setting), setting) for impl, run in runs.items()}
    return {impl: {key: value / len(sets) for key, value in times.items()} for impl, times in found.items()}


def type_rows(limit: Ceilings, setting: Setting) -> Iterator[Record]:
    """Every other type on one large layer."""
    shape, n = (setting.length(1536), setting.length(8960)), 4
    grad = setting.random(n, *shape, dtype=torch.bfloat16)
    base = measure(lambda: grad.sum(), setting)["ms_median"]
    for type_name in ("fastfood", "sjlt", "rademacher", "gaussian", "kronecker"):
        projector = mk.Projector(mk.ProjectionSpec(type_name, DIM), {"w": shape})
        z = projector.zeros(n, setting.device)
        times = measure(partial(projector.project_into, z, "w", grad), setting, max(1, setting.repeats // 3))
        used = setting.candidates[0] if setting.device == "cpu" or type_name != "kronecker" else "torch"
        yield {"op": type_name, "impl": used, "route": "materialized", "dtype": "bfloat16",
               "shape": [n, *shape], "bytes": grad.nbytes, "flops": None, **times,
               "fraction_of_ceiling": grad.nbytes / limit.read / times["ms_median"], "baseline": "torch.sum",
               "ratio": times["ms_median"] / base}  # fmt: skip


def cases(only: set[str], limit: Ceilings, setting: Setting) -> Iterator[tuple[str, Callable[[], Iterator[Record]]]]:
    """(name, what yields its rows), the most valuable first."""
    if "materialized" in only:
        yield "materialized/model", partial(materialized_rows, limit, setting)
        yield "materialized/layers", partial(layer_rows, limit, setting)
    if "factorized" in only:
        sizes = ((1, 1950), (8, 1950)) if setting.quick else ((1, 1950), (8, 1950), (1, 32760), (1, 256))
        for n, t in sizes:
            yield f"factorized/{n}x{t}", partial(factorized_rows, n, t, limit, setting)
    if "types" in only:
        yield "types", partial(type_rows, limit, setting)


def show(record: Record) -> None:
    """Print one line of the table."""
    moved, ratio = record["bytes"], record["ratio"]
    speed = "" if moved is None else f"{moved / record['ms_median'] / 1e6:8.0f}"
    print(
        f"{record['op']:33} {record['impl']:28} {record['dtype']:9} {record['shape']!s:20} {record['ms_median']:9.3f} "
        f"{record['ms_min']:9.3f} {speed:>8} {record['fraction_of_ceiling']:8.2f} "
        f"{'' if ratio is None else f'{ratio:7.3f} x ' + record['baseline']}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--only", default="materialized,factorized,types", help="which parts, with commas between them"
        )

    setting, options = parse(__doc__ or "", arguments, extend)
    if setting is None:
        return 0
    check(setting)
    limit = ceilings(setting, options.out)
    print(f"{'op':33} {'by':28} {'type':9} {'shape':20} {'ms':>9} {'least':>9} {'GB/s':>8} {'of read':>8}")
    sink = Sink(options.out, setting.common("kernels"), show, options.again)
    for name, rows in cases(set(options.only.split(",")), limit, setting):
        sink.take(name, clocked(rows(), setting))
        if not setting.rehearsal:
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
