"""Which implementation of an op runs: one visible table, no silent fallback.

``torch`` is the plain reference that defines the op; ``cpp``, ``cuda`` and ``triton`` are faster ways to the
same numbers. ``impl=None`` takes the first of PREFERENCE that can run the arguments; naming one forces it or
raises.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from motive_kernels.runtime import native

_log = logging.getLogger(__name__)

PREFERENCE = {"cpu": ("cpp", "torch"), "cuda": ("cuda", "triton", "torch")}
"""Order of choice per device; a device that is not listed runs the torch reference."""

_ONE_GPU_FORM = "a kind for comparison has one form on a GPU, which is CUDA C++"
_TWO_PRODUCTS = "it is two matrix products, which torch runs on a GPU"
_ONE_PASS = "it is one pass over memory, which Triton makes"
ABSENT = {
    ("dense_projection_into", "triton"): _ONE_GPU_FORM,
    ("sjlt_into", "triton"): _ONE_GPU_FORM,
    ("fastfood_into", "triton"): _ONE_GPU_FORM,
    ("kronecker_into", "cuda"): _TWO_PRODUCTS,
    ("kronecker_into", "triton"): _TWO_PRODUCTS,
    ("kronecker_outer_into", "cuda"): _TWO_PRODUCTS,
    ("kronecker_outer_into", "triton"): _TWO_PRODUCTS,
    ("quantize_rows", "cuda"): _ONE_PASS,
    ("dot_scores", "cuda"): _ONE_PASS,
    ("topk_dot", "cuda"): _ONE_PASS,
    ("vote", "cuda"): _ONE_PASS,
}
"""Why an op has no form in a language (docs/decisions/0005-which-language-holds-which-op.md)."""

NAMES = ("cpp", "cuda", "triton", "torch")
_DEVICE_OF = {"cpp": "cpu", "cuda": "cuda", "triton": "cuda"}
_FAST_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

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
    """

    name: str
    functions: dict[str, Callable]
    dtypes: tuple[torch.dtype, ...] = field(default=_FAST_DTYPES)

    def __post_init__(self) -> None:
        OPS[self.name] = self

    def why_not(self, impl: str, device: str, dtype: torch.dtype) -> str | None:
        """None if impl can run on this device and dtype, else the reason."""
        if impl not in self.functions:
            return absent(self.name, impl)
        if impl == "torch":
            return None
        if _DEVICE_OF[impl] != device:
            return f"{impl} runs on {_DEVICE_OF[impl]} tensors"
        if dtype not in self.dtypes:
            listed = ", ".join(str(d).removeprefix("torch.") for d in self.dtypes)
            return f"{impl} takes {listed}"
        return unavailable(impl)

    def choose(self, impl: str | None, device: str, dtype: torch.dtype) -> Callable:
        """The function to call.

        Raises:
            ValueError: impl is not a name of an implementation.
            RuntimeError: the named implementation cannot run these arguments here.
        """
        return self.functions[self.pick(impl, device, dtype)]

    def pick(self, impl: str | None, device: str, dtype: torch.dtype) -> str:
        """The name of the implementation that runs.

        Raises:
            As choose.
        """
        if impl is None:
            order = PREFERENCE.get(device, ("torch",))
            chosen = next(i for i in order if self.why_not(i, device, dtype) is None)
            _log_choice(self, chosen, device, dtype)
            return chosen
        if impl not in NAMES:
            raise ValueError(f"{self.name}: impl must be one of {', '.join(NAMES)} or None, got {impl!r}; choose one")
        reason = self.why_not(impl, device, dtype)
        if reason is not None:
            dtype_name = str(dtype).removeprefix("torch.")
            raise RuntimeError(
                f"{self.name}: impl must be able to run {dtype_name} tensors on {device}, got {impl!r} "
                f"({reason}); do leave impl=None or choose another"
            )
        return impl


@functools.cache
def _log_choice(op: Op, chosen: str, device: str, dtype: torch.dtype) -> None:
    """Log a choice of back end the first time it is made, with the reason for each one that was passed over."""
    order = PREFERENCE.get(device, ("torch",))
    passed = [f"{impl}: {op.why_not(impl, device, dtype)}" for impl in order[: order.index(chosen)]]
    reasons = f" ({'; '.join(passed)})" if passed else ""
    _log.log(logging.INFO if passed else logging.DEBUG, "%s on %s, %s: %s%s", op.name, device, dtype, chosen, reasons)


def absent(op: str, impl: str) -> str:
    """The reason why an op has no form in a language."""
    return f"{op} has no {impl} implementation: {ABSENT[op, impl]}"


@functools.cache
def unavailable(impl: str) -> str | None:
    """None if an implementation can run on this machine, else the reason."""
    if impl == "torch":
        return None
    if impl == "cpp":
        return native.load("cpu")[1]
    if impl == "triton" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return native.load("cuda")[1] if impl == "cuda" else None


def traced(*tensors: torch.Tensor) -> bool:
    """Whether a call must go through torch.library: something records it, or the tensors hold no data.

    A registered op costs about 0.1 ms a call, more than many kernels; plain eager calls go to the function itself.
    """
    plain = (torch.Tensor, torch.nn.Parameter)
    return torch.compiler.is_compiling() or any(type(tensor) not in plain for tensor in tensors)


def implementations() -> dict[str, dict[str, str | None]]:
    """For each op and implementation: None if it can run here, else the reason why not."""
    return {
        name: {impl: unavailable(impl) if impl in op.functions else absent(name, impl) for impl in NAMES}
        for name, op in sorted(OPS.items())
    }
