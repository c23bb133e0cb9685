"""Time, clocks, energy and memory of work on a GPU; and its ceilings, measured. On the CPU, for rehearsals, time alone.

A time is that of the device's own events around one call, after calls that are not counted, with the caches flushed in
between where asked; the median counts. Small kernels are captured in a graph over inputs that no cache holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.predictions import Card
from benchmarks.harness.rows import FILE, Record, Sink, common, read_rows
from motive.config import to_json

L2_BYTES = 256 * 2**20
"""More than any card's caches hold: what is flushed between calls, and what inputs rotate over."""

CASE = "ceilings"
Call = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes:
        device: cuda, or cpu to rehearse with lengths divided by 32 and one repetition.
        quick: a part of the work, fewer repetitions.
    """

    device: str
    quick: bool = False

    @property
    def rehearsal(self) -> bool:
        return self.device == "cpu"

    @property
    def repeats(self) -> int:
        return 1 if self.rehearsal else 5 if self.quick else 15

    @property
    def candidates(self) -> tuple[str, ...]:
        """Implementations to measure."""
        return ("cpp",) if self.rehearsal else ("cuda", "triton")

    @property
    def name(self) -> str:
        """What rows say of where they were measured."""
        return "cpu, a rehearsal" if self.rehearsal else torch.cuda.get_device_name()

    def common(self, suite: str) -> Record:
        """What every row of a suite has."""
        return common(suite, self.name, self.rehearsal)

    def length(self, full: int) -> int:
        """A length, as it is or for a rehearsal."""
        return -(-full // 32) if self.rehearsal else full

    def random(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, device=self.device, dtype=dtype)

    def copies(self, size: int) -> int:
        """The number of inputs of this many bytes that fill the caches."""
        return 2 if self.rehearsal else L2_BYTES // size + 1


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure(run: Call, setting: Setting, repeats: int | None = None, flush: bool = False) -> dict[str, float]:
    """Milliseconds of one call on the device, after two that are not counted.

    Args:
        flush: overwrite the caches before each call; the time of that is not counted.
    """
    run()
    run()
    count = repeats or setting.repeats
    times = _host_times(run, count) if setting.rehearsal else _event_times(run, count, flush)
    return {"ms_median": median(times), "ms_min": min(times), "ms_max": max(times)}


def _host_times(run: Call, count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _event_times(run: Call, count: int, flush: bool) -> list[float]:
    waste = torch.empty(L2_BYTES // 4, device="cuda") if flush else None
    pairs = [tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)) for _ in range(count)]
    for begin, end in pairs:
        if waste is not None:
            waste.fill_(1.0)
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in pairs]


def replayed(run: Call, setting: Setting) -> Call:
    """The call as a CUDA graph, so that launches cost little."""
    if setting.rehearsal:
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@dataclass(frozen=True)
class Ceilings:
    """What the card reaches, each in bytes or operations a millisecond; None where it was not measured.

    Attributes:
        read, copy: bytes of device memory; a copy counts what it reads and what it writes.
        product: operations of a bfloat16 matrix product, likewise int8 and fp8.
    """

    read: float
    copy: float
    product: float
    int8: float | None = None
    fp8: float | None = None

    @property
    def card(self) -> Card:
        """As predictions take it."""
        return Card("", self.read, self.product)


def ceilings(setting: Setting, out: Path | None = None) -> Ceilings:
    """The card's ceilings: those that this run has measured already, else measured now."""
    for row in read_rows(out / FILE) if out is not None else ():
        if row.get("case") == CASE and row.get("op") == "ceilings" and row.get("device") == setting.name:
            return Ceilings(**row["per_ms"])
    rows = list(ceiling_rows(setting))
    return Ceilings(**rows[-1]["per_ms"])


def ceiling_rows(setting: Setting) -> Iterator[Record]:
    """The machine's own limits on random data; the last row sums them up."""
    source = setting.random(setting.length(2**15), 2**15)
    target, side = torch.empty_like(source), setting.length(8192)
    work = 2.0 * side**3
    a, b = (setting.random(side, side, dtype=torch.bfloat16) for _ in range(2))
    calls: dict[str, tuple[str, float, Call | None]] = {
        "read": ("float32", source.nbytes, lambda: source.sum()),
        "copy": ("float32", 2 * source.nbytes, lambda: target.copy_(source)),
        "product": ("bfloat16", work, lambda: a @ b),
        "int8": ("int8", work, _int8_product(side, setting)),
        "fp8": ("float8_e4m3fn", work, _fp8_product(side, setting)),
    }
    best: dict[str, float] = {}
    for op, (dtype, amount, call) in calls.items():
        if call is None:
            continue
        times = measure(call, setting)
        best[op] = amount / times["ms_min"]
        is_bytes = op in ("read", "copy")
        yield {"op": op, "impl": "torch", "dtype": dtype, "shape": [], "bytes": amount if is_bytes else None,
               "flops": None if is_bytes else amount, **times, "fraction_of_ceiling": 1.0}  # fmt: skip
    yield {"op": "ceilings", "impl": "torch", "dtype": "", "shape": [], "per_ms": to_json(Ceilings(**best))}


def _tried(call: Call) -> Call | None:
    """The call if it runs here: not every card and torch has every product."""
    try:
        call()
    except (RuntimeError, AttributeError, NotImplementedError, ValueError) as error:
        print(f"not measured: {str(error).splitlines()[0][:120]}")
        return None
    return call


def _int8_product(side: int, setting: Setting) -> Call | None:
    a, b = (torch.randint(-128, 128, (side, side), device=setting.device, dtype=torch.int8) for _ in range(2))
    return _tried(lambda: torch._int_mm(a, b.t()))  # type: ignore[attr-defined]


def _fp8_product(side: int, setting: Setting) -> Call | None:
    if setting.rehearsal:
        return None
    a, b = (setting.random(side, side).to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device=setting.device)
    return _tried(lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16))  # type: ignore[attr-defined]


class Meter:
    """Clocks, power and energy of the card, read through NVML; all None where it cannot be read."""

    def __init__(self, device: str) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        if device == "cpu":
            return
        try:
            import pynvml  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            print(f"clocks and energy not read: {error}")
            return
        try:
            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(0).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self._nvml = pynvml
        except (pynvml.NVMLError, AttributeError) as error:
            print(f"clocks and energy not read: {error}")

    def _read(self, name: str, *arguments: Any) -> Any:
        if self._nvml is None:
            return None
        try:
            return getattr(self._nvml, name)(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None

    def clocks(self) -> Record:
        """What the card runs at now."""
        if self._nvml is None:
            return {}
        power = self._read("nvmlDeviceGetPowerUsage")
        return {
            "sm_mhz": self._read("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            "memory_mhz": self._read("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM),
            "celsius": self._read("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            "watts": None if power is None else power / 1e3,
        }

    def joules(self) -> float | None:
        """Energy since the driver was loaded; differences count."""
        found = self._read("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else found / 1e3


def clocked(rows: Iterable[Record], setting: Setting) -> Iterator[Record]:
    """The rows, each with what the card ran at when it was measured."""
    meter = Meter(setting.device)
    for row in rows:
        yield {**row, **meter.clocks()}


@contextmanager
def memory_of(device: str) -> Iterator[Record]:
    """Peak memory of what runs inside, in bytes: allocated, and reserved, which is what the card must have."""
    found: Record = {}
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if device != "cpu":
        torch.cuda.synchronize()
        found |= {
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "peak_bytes_reserved": torch.cuda.max_memory_reserved(),
        }


def main(arguments: list[str] | None = None) -> int:
    """python -m benchmarks.harness.device [--rehearse] [--out DIR] [--again]: the ceilings."""
    setting, options = parse(main.__doc__ or "", arguments)
    if setting is None:
        return 0
    sink = Sink(options.out, setting.common("ceilings"), show_ceiling, options.again)
    sink.take(CASE, clocked(ceiling_rows(setting), setting))
    return 0


def show_ceiling(row: Record) -> None:
    if "ms_median" in row:
        amount, unit = (row["bytes"], "GB/s") if row["bytes"] else (row["flops"], "GFLOP/s")
        print(
            f"{row['op']:10} {row['dtype']:14} {row['ms_median']:9.3f} ms {amount / row['ms_min'] / 1e6:12,.0f} {unit}"
        )


def parse(
    about: str, arguments: list[str] | None, extend: Callable[[Any], None] | None = None
) -> tuple[Setting | None, Any]:
    """The options that every benchmark on a GPU has, and its setting; None, with a line, where there is no GPU."""
    import argparse

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the work, fewer repetitions")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU with small shapes, in seconds")
    parser.add_argument("--out", type=Path, help="folder whose results.jsonl the rows are added to")
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    if extend is not None:
        extend(parser)
    options = parser.parse_args(arguments)
    setting = Setting("cpu" if options.rehearse else "cuda", options.quick)
    if not options.rehearse and not torch.cuda.is_available():
        print("not measured: torch sees no CUDA device")
        return None, options
    return setting, options


if __name__ == "__main__":
    raise SystemExit(main())
