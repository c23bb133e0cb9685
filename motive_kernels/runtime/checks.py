"""Argument checks shared by the ops: each failure names the op, the argument, what it must be and what it is."""

from __future__ import annotations

import typing
from typing import Any

import torch
from torch import Tensor


def fail(where: str, name: str, must: str, got: object, remedy: str) -> ValueError:
    """The one message form."""
    return ValueError(f"{where}: {name} must be {must}, got {got}; {remedy}")


def describe(tensor: Tensor) -> str:
    """Dtype, shape and device in one phrase."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} on {tensor.device}"


def check_choice(where: str, name: str, value: object, choices: Any) -> None:
    """One of the texts of a ``Literal``, so that the annotation is the only list of them."""
    known = typing.get_args(choices)
    if not isinstance(value, str) or value not in known:
        raise fail(where, name, f"one of {', '.join(known)}", repr(value), "choose one")


def check_tensor(where: str, name: str, value: object, ndim: int, form: str) -> Tensor:
    """A floating-point tensor with ndim axes."""
    if not isinstance(value, Tensor):
        raise fail(where, name, f"a torch tensor {form}", type(value).__name__, "convert with torch.from_dlpack")
    if value.ndim != ndim or not value.is_floating_point():
        raise fail(where, name, f"a floating-point tensor {form}", describe(value), "reshape or convert it")
    return value


def check_gradient(where: str, grad: Tensor) -> tuple[int, int, int]:
    """grad [n, o, i]."""
    n, o, i = check_tensor(where, "grad", grad, 3, "[n, o, i]").shape
    return n, o, i


def check_tokens(where: str, x: Tensor, dy: Tensor) -> tuple[int, int, int, int]:
    """x [n, t, i] and dy [n, t, o] of one dtype and device: (n, t, i, o)."""
    check_tensor(where, "x", x, 3, "[n, t, i]")
    check_tensor(where, "dy", dy, 3, "[n, t, o]")
    if x.shape[:2] != dy.shape[:2] or x.dtype != dy.dtype or x.device != dy.device:
        raise fail(where, "dy", f"like x ({describe(x)}) but for its last axis", describe(dy), "give matching tokens")
    return x.shape[0], x.shape[1], x.shape[2], dy.shape[2]


def check_vectors(where: str, z: Tensor, n: int, like: Tensor) -> int:
    """z [n, k] contiguous on like's device: k."""
    check_tensor(where, "z", z, 2, "[n, k]")
    wanted = torch.float64 if z.dtype == torch.float64 and like.dtype == torch.float64 else torch.float32
    if z.shape[0] != n or z.shape[1] < 1 or z.device != like.device or z.dtype != wanted or not z.is_contiguous():
        raise fail(
            where, "z", f"contiguous float32 [{n}, k] on {like.device}", describe(z), "allocate it with torch.zeros"
        )
    return z.shape[1]


def check_table(where: str, name: str, table: Tensor, length: int, k: int, like: Tensor) -> None:
    """A gather table of an axis of this length: int32 [ceil(length / k), k] on like's device."""
    shape = [-(-length // k), k]
    if table.dtype != torch.int32 or list(table.shape) != shape or table.device != like.device:
        raise fail(where, name, f"int32 {shape} on {like.device}", describe(table), "build it with tables.gather_table")


def check_lengths(where: str, lengths: Tensor, n: int, t: int, like: Tensor) -> Tensor:
    """lengths int64 [n]; its values are clamped to 0 .. t, since reading them here would synchronise the device."""
    if not isinstance(lengths, Tensor) or lengths.shape != (n,) or lengths.dtype not in (torch.int32, torch.int64):
        got = describe(lengths) if isinstance(lengths, Tensor) else type(lengths).__name__
        raise fail(where, "lengths", f"int64 [{n}], a torch tensor", got, "give one length a sample")
    if lengths.device.type == "cpu" and n and not (int(lengths.min()) >= 0 and int(lengths.max()) <= t):
        raise fail(where, "lengths", f"in 0 .. {t}", lengths.tolist(), "give the number of tokens of each sample")
    return lengths.to(device=like.device, dtype=torch.int64).clamp(0, t)
