"""Every op launches on the device of its tensors, whatever the thread's current device is; without a GPU.

Tensors on the CPU claim to be on cuda:1, the driver is one that only remembers the current device, and launches are
recorded instead of made. What Triton would have compiled for each launch is compiled for sm_90.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from motive.adapters.loading import current_device
from motive_kernels.ops import registry
from motive_kernels.ops.cases import Case, Draw
from motive_kernels.runtime import dispatch, native, triton_call
from motive_kernels.search import stream
from motive_kernels.search.base import Found, Queries, Rows, Wanted
from tests.kernels.every_op import folders, small
from tests.kernels.triton_aot import compile_sm90
from tests.kernels.triton_interpreter import interpreted

if interpreted():
    pytest.skip("this process interprets Triton", allow_module_level=True)

DEVICE = torch.device("cuda:1")
TYPES = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64", torch.int8: "i8",
    torch.uint8: "u8", torch.int32: "i32", torch.int64: "i64", torch.bool: "i1",
}  # fmt: skip


ON_HOST = (
    Queries(torch.ones(1, 2), torch.ones(1)), Rows(torch.ones(5, 2)), Wanted(torch.zeros(1), torch.zeros(1), 1)
)  # fmt: skip


class Claimed(torch.Tensor):
    """A tensor in host memory that says it is on cuda:1."""

    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 1


class OnHost(TorchFunctionMode):
    """Makes in host memory what is asked for on a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(torch.device("cpu") if arg == DEVICE else arg for arg in args)
        kwargs = {name: torch.device("cpu") if value == DEVICE else value for name, value in (kwargs or {}).items()}
        value = func(*args, **kwargs)
        return claim(value) if type(value) is Tensor else value


def claim(value: Any) -> Any:
    return Tensor._make_subclass(Claimed, value) if isinstance(value, Tensor) else value


class Enough(Exception):
    """What a search does after its first pass depends on a result that there is not."""


@dataclass
class Driver:
    """The current device, and (name of a kernel or function, device at its launch, kernel, arguments, options)."""

    current: int = 0
    launches: list[tuple[str, int, Any, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def exchange(self, device: int) -> int:
        before = self.current
        self.current = device if device >= 0 else before
        return before

    def triton(self, kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        self.launches.append((kernel.__name__, self.current, kernel, args, options))
        if kernel.__name__ == "scan_kernel":
            raise Enough

    def module(self) -> Any:
        """A compiled CUDA module whose functions record the device that they are given."""
        driver = self

        class Module:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(*args: Any, **fields: Any) -> Any:
                    if "stream" in fields:
                        driver.launches.append((name, fields["device"], None, (), {}))
                    return 16 if name.endswith("_workspace") else SimpleNamespace(**fields)

                return call

        return Module()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    jit = pytest.importorskip("triton.runtime.jit", reason="the package triton is not installed")
    found = Driver()
    monkeypatch.setattr(torch.cuda, "_exchange_device", found.exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", found.exchange)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(jit.JITFunction, "run", lambda kernel, *a, **k: found.triton(kernel, *a, **k))
    monkeypatch.setattr(native, "extension", lambda device: found.module())
    with OnHost():
        yield found


def call(case: Case, impl: str) -> None:
    arguments = tuple(claim(value) for value in case.to("cpu").arguments)
    with contextlib.suppress(Enough):
        dispatch.OPS[case.op].functions[impl](*arguments)


@pytest.mark.parametrize(("name", "impl"), [(name, impl) for impl in ("cuda", "triton") for name in folders(impl)])
def test_launches_are_on_the_tensors_device(name: str, impl: str, driver: Driver) -> None:
    for case in small(name, torch.float32, impl):
        before = len(driver.launches)
        call(case, impl)
        launched = driver.launches[before:]
        assert launched, f"{case.op} by {impl} launched nothing"
        assert {device for _, device, *_ in launched} == {1}, f"{case.op}: {[entry[:2] for entry in launched]}"
        assert driver.current == 0, "the thread's device was changed"


def test_a_launch_without_the_guard_is_seen(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    from motive_kernels.ops.noise_latents import triton

    monkeypatch.setattr(triton, "launch", lambda kernel, grid, like, *a, **options: kernel[grid](*a, **options))
    call(next(small("noise_latents", torch.float32, "triton")), "triton")
    assert [entry[:2] for entry in driver.launches] == [("noise_kernel", 0)]


def test_the_guard_is_undone_by_an_exception(driver: Driver) -> None:
    class Broken:
        def __getitem__(self, grid: Any) -> Any:
            raise RuntimeError(f"device {driver.current}")

    with pytest.raises(RuntimeError, match="device 1"):
        triton_call.launch(Broken(), (1,), claim(torch.zeros(1)))
    assert driver.current == 0


def test_a_streaming_thread_has_its_device_current(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what it allocates and launches outside a guard makes a context on the first GPU."""
    seen: list[int] = []

    def scan(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
        seen.append(driver.current)
        raise Enough

    monkeypatch.setattr(stream, "_moved", lambda parts, device: iter(parts))
    with pytest.raises(Enough):
        stream.streamed(scan, [DEVICE])(*ON_HOST)
    assert seen == [1]
    assert driver.current == 0


def test_a_worker_has_its_device_current(driver: Driver) -> None:
    with current_device(DEVICE):
        assert driver.current == 1
    assert driver.current == 0
    with current_device(torch.device("cpu")):
        assert driver.current == 0


@pytest.mark.parametrize("name", folders("triton"))
def test_launched_kernels_compile_for_sm_90(name: str, driver: Driver) -> None:
    """The very specialisations that a launch of the first case asks for, without spills."""
    for case in list(small(name, torch.bfloat16, "triton"))[:1]:
        call(case, "triton")
    assert driver.launches
    for kernel_name, _, kernel, args, options in driver.launches:
        signature, constants = {}, {}
        for parameter, value in zip(kernel.params, args, strict=True):
            if parameter.is_constexpr or (isinstance(value, int) and value == 1):
                constants[parameter.name] = value
            else:
                signature[parameter.name] = type_of(parameter, value)
        compiled = compile_sm90(kernel, signature, constants, **options)
        assert compiled.stack_bytes == 0, f"{kernel_name}: {compiled.stack_bytes} bytes of stack a thread"


def type_of(parameter: Any, value: Any) -> str:
    """As a launch would find it."""
    if isinstance(value, Tensor):
        return f"*{TYPES[value.dtype]}"
    if isinstance(value, float):
        return "fp32"
    wide = "int64" in str(parameter.annotation) or not -(2**31) <= value < 2**31
    return ("i64" if wide else "i32") + (":16" if value % 16 == 0 else "")


def test_registry_and_draw_do_not_touch_a_gpu() -> None:
    """The lists above are made at import, on any machine."""
    assert registry.names()
    assert Draw(torch.float32).normal(1).device.type == "cpu"
