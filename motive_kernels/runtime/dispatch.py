"""Choice of an op's implementation: one visible table, no silent fallback.

``torch`` is the plain reference that defines the op; ``cpp``, ``cuda`` and ``triton`` are faster ways to the
same numbers. ``impl=None`` takes the first of PREFERENCE that can run the arguments; naming one forces it or
raises.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from motive_kernels.runtime import native

_log = logging.getLogger(__name__)

PREFERENCE = {"cpu": ("cpp", "torch"), "cuda": ("cuda", "triton", "torch")}
"""Order of choice per device; a device that is not listed runs the torch reference."""

ONE_GPU_FORM = "a projection for comparison has one form on a GPU, which is CUDA C++"
TWO_PRODUCTS = "it is two matrix products, which torch runs on a GPU"
ONE_PASS = "it is one pass over memory, which Triton makes"
"""Why an op lacks a form (docs/decisions/0005-which-language-holds-which-op.md), for Op.absent."""

NAMES = ("cpp", "cuda", "triton", "torch")
_DEVICE_OF = {"cpp": "cpu", "cuda": "cuda", "triton": "cuda"}
_FAST_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

OLDEST_TRITON = (3, 5)
"""Older ones return zeros from an atomic to most threads of a block, and have no tl.gather before 3.3."""
OLDEST_CUDA = 12010
"""Of the driver, as cudaDriverGetVersion says it: kernel parameters above 4 KB."""

OPS: dict[str, Op] = {}


def on_first_use(module: str, name: str) -> Callable:
    """A function of a module that is imported when it is first called: Triton takes a second to import."""

    def call(*arguments: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments)

    return call


@dataclass(frozen=True, eq=False)
class Op:
    """One op and the functions that compute it, all with the same signature.

    Attributes:
        name: as in the public API.
        functions: implementation name -> function; ``torch`` is always there.
        dtypes: what the non-reference implementations take; the reference takes every floating type.
        absent: implementation name -> why the op has none; every implementation has a function or a reason.
        refuses: implementation name -> a function of the op's arguments that gives the reason why it cannot take
            them, or None.
    """

    name: str
    functions: dict[str, Callable]
    dtypes: tuple[torch.dtype, ...] = field(default=_FAST_DTYPES)
    absent: Mapping[str, str] = field(default_factory=dict)
    refuses: Mapping[str, Callable[..., str | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unexplained = set(NAMES) ^ (set(self.functions) | set(self.absent))
        if unexplained or set(self.functions) & set(self.absent):
            raise ValueError(
                f"Op: {self.name} must have either a function or a reason for each of {', '.join(NAMES)}, "
                f"got {', '.join(self.functions)} and reasons for {', '.join(self.absent)}; say why one is absent"
            )
        OPS[self.name] = self

    def why_not(self, impl: str, device: str, dtype: torch.dtype, arguments: tuple[Any, ...] = ()) -> str | None:
        """None if impl can run on this device and dtype, and with these arguments if they are given; else the reason."""
        if impl not in self.functions:
            return f"{self.name} has no {impl} implementation: {self.absent[impl]}"
        if impl == "torch":
            return None
        if _DEVICE_OF[impl] != device:
            return f"{impl} runs on {_DEVICE_OF[impl]} tensors"
        if dtype not in self.dtypes:
            listed = ", ".join(str(d).removeprefix("torch.") for d in self.dtypes)
            return f"{impl} takes {listed}"
        reason = unavailable(impl)
        if reason is None and arguments and impl in self.refuses:
            reason = self.refuses[impl](*arguments)
        return reason

    def choose(self, impl: str | None, device: str, dtype: torch.dtype, arguments: tuple[Any, ...] = ()) -> Callable:
        """The function to call.

        Args:
            impl: name of an implementation; None takes the first of PREFERENCE that can run.
            device: type of the tensors' device.
            dtype: of the input.
            arguments: of the call, for an op that may refuse some.

        Raises:
            ValueError: impl is not a name of an implementation.
            RuntimeError: the named implementation cannot run these arguments here.
        """
        return self.functions[self.pick(impl, device, dtype, arguments)]

    def pick(self, impl: str | None, device: str, dtype: torch.dtype, arguments: tuple[Any, ...] = ()) -> str:
        """The name of the implementation that runs.

        Raises:
            As choose.
        """
        if impl is None:
            return self._preferred(device, dtype, arguments)
        if impl not in NAMES:
            raise ValueError(f"{self.name}: impl must be one of {', '.join(NAMES)} or None, got {impl!r}; choose one")
        reason = self.why_not(impl, device, dtype, arguments)
        if reason is not None:
            dtype_name = str(dtype).removeprefix("torch.")
            raise RuntimeError(
                f"{self.name}: impl must be able to run {dtype_name} tensors on {device}, got {impl!r} "
                f"({reason}); do leave impl=None or choose another"
            )
        return impl

    def _preferred(self, device: str, dtype: torch.dtype, arguments: tuple[Any, ...]) -> str:
        """The first implementation of PREFERENCE that can run."""
        passed: tuple[str, ...] = ()
        for impl in PREFERENCE.get(device, ("torch",)):
            reason = self.why_not(impl, device, dtype, arguments)
            if reason is None:
                break
            passed = (*passed, f"{impl}: {reason}")
        _log_choice(self.name, impl, device, dtype, passed)
        return impl


@functools.cache
def _log_choice(op: str, chosen: str, device: str, dtype: torch.dtype, passed: tuple[str, ...]) -> None:
    """Log a choice of back end the first time it is made, with the reason for each one that was passed over."""
    reasons = f" ({'; '.join(passed)})" if passed else ""
    _log.log(logging.INFO if passed else logging.DEBUG, "%s on %s, %s: %s%s", op, device, dtype, chosen, reasons)


@functools.cache
def unavailable(impl: str) -> str | None:
    """None if an implementation can run on this machine, else the reason."""
    if impl == "torch":
        return None
    if impl == "cpp":
        return native.load("cpu")[1]
    if impl == "triton" and (reason := _no_triton()) is not None:
        return reason
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return _no_cuda_extension() if impl == "cuda" else None


def _no_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    version = _triton_version()
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST_TRITON:
        oldest = ".".join(map(str, OLDEST_TRITON))
        return f"triton {oldest} or newer is needed, {version} is installed: its atomics return wrong values"
    return None


def _triton_version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # a nightly build has another distribution's name
        return importlib.import_module("triton").__version__


def _no_cuda_extension() -> str | None:
    module, reason = native.load("cuda")
    if module is None:
        return reason
    version = module.driver_version()
    if version < OLDEST_CUDA:
        return (
            f"the driver supports CUDA {version // 1000}.{version % 1000 // 10}, 12.1 (driver 530) or newer is needed"
        )
    return None


def traced(*tensors: torch.Tensor) -> bool:
    """Whether a call must go through torch.library: something records it, or the tensors hold no data.

    A registered op costs about 0.1 ms a call, more than many kernels; plain eager calls go to the function itself.
    """
    plain = (torch.Tensor, torch.nn.Parameter)
    return torch.compiler.is_compiling() or any(type(tensor) not in plain for tensor in tensors)
