"""Parameters that no layer rule covers: tables, gates, embeddings, anything that an operation takes directly.

Such a parameter is replaced, while gradients are captured, by a stand-in that knows where it is used. Operations on
the stand-in alone (views, casts, splits, any function of parameters) give another stand-in. The first operation that
joins it with data is done as always, and its output is hooked: the output gradient of one sample, taken back through
that one operation, is the sample's exact gradient by the parameter, for every operation whose output's leading axis
holds the samples. A late stand-in waits for data that requires gradients: what it meets before (positions, masks) is
the same for all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from motive_kernels.capture.hooks import CannotFollow, Channel
from motive_kernels.capture.sums import Sums

_BY_METADATA = (Tensor.type_as, Tensor.expand_as, Tensor.view_as, Tensor.reshape_as, Tensor.to)
"""Operations that take no more than shape, dtype or device from their second tensor."""

Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
"""A function and its arguments, data replaced by _DATA."""

_DATA = object()

_SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
_PRODUCTS = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)


class Operand(Tensor):
    """A stand-in for a function of parameters.

    Attributes:
        value: the tensor, with its graph back to ``leaves``.
        leaves: parameter name -> the leaf that stands for it.
        channel: of the pass.
        late: whether data that requires no gradient counts as a constant.
    """

    value: Tensor
    leaves: Mapping[str, Tensor]
    channel: Channel
    late: bool

    @staticmethod
    def of(channel: Channel, name: str, parameter: nn.Parameter, late: bool) -> Operand:
        """The stand-in of one parameter; it shares its memory."""
        leaf = parameter.detach().requires_grad_(True)
        return _wrap(channel, leaf, {name: leaf}, late)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        operands = [leaf for leaf in leaves if isinstance(leaf, Operand)]
        channel, late = operands[0].channel, all(operand.late for operand in operands)
        with torch._C.DisableTorchFunctionSubclass():
            if func in _BY_METADATA and not isinstance(args[0], Operand):
                return func(*_plain(args), **_plain(kwargs))
            if _joins_data(leaves, late) and func not in _BY_METADATA:
                return _joined(channel, func, args, kwargs, operands)
            result = func(*_plain(args), **_plain(kwargs))
        known = {name: leaf for operand in operands for name, leaf in operand.leaves.items()}
        return tree_map(lambda v: _wrap(channel, v, known, late) if _is_function(v) else v, result)


def _wrap(channel: Channel, value: Tensor, leaves: Mapping[str, Tensor], late: bool) -> Operand:
    operand = Tensor._make_subclass(Operand, value.detach())
    operand.value, operand.leaves, operand.channel, operand.late = value, leaves, channel, late
    return operand


def _is_function(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _joins_data(leaves: list[Any], late: bool) -> bool:
    data = (v for v in leaves if isinstance(v, Tensor) and not isinstance(v, Operand))
    return any(v.requires_grad or (v.ndim > 0 and not late) for v in data)


def _plain(tree: Any) -> Any:
    """Stand-ins replaced by their values."""
    return tree_map(lambda v: v.value if isinstance(v, Operand) else v, tree)


def _joined(
    channel: Channel,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    operands: list[Operand],
) -> Any:
    """An operation between stand-ins and data, with its outputs hooked."""
    names = tuple(dict.fromkeys(name for operand in operands for name in operand.leaves))
    label = getattr(func, "__name__", "")
    in_place = label == "__setitem__" or (label.endswith("_") and not label.startswith("__"))
    if in_place or (label.startswith("__i") and label not in ("__int__", "__index__", "__invert__")):
        raise CannotFollow(names, "it is used in an operation that changes data in place")
    fixed = tree_map(lambda v: v.value.detach() if isinstance(v, Operand) else v, (args, kwargs))
    data = [v.detach() for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor) and not isinstance(v, Operand)]
    with channel.operation(names, data):
        result = func(*fixed[0], **fixed[1])
    # What is kept of the call has no data in it: that is saved through autograd.
    call = (
        func,
        *tree_map(lambda v: v if isinstance(v, Operand) or not isinstance(v, Tensor) else _DATA, (args, kwargs)),
    )
    by_name = {name: name for name in names}

    def hooked(index: int, output: Tensor) -> Tensor:
        def take(sums: Sums, dy: Tensor, *data: Tensor) -> None:
            simple = _broadcast_gradient(sums, call, operands, dy, data)
            if simple is not None:
                _add_chain(sums, operands[0], simple)
            else:
                _take_back(sums, call, index, dy, data)

        return channel.hook(output, by_name, take, *data)

    if isinstance(result, Tensor):
        return hooked(0, result) if result.is_floating_point() else result
    flat, spec = tree_flatten(result)
    flat = [hooked(j, v) if isinstance(v, Tensor) and v.is_floating_point() else v for j, v in enumerate(flat)]
    return tree_unflatten(flat, spec)


def _broadcast_gradient(
    sums: Sums, call: Call, operands: list[Operand], dy: Tensor, data: tuple[Tensor, ...]
) -> Tensor | None:
    """Per-sample gradients [n, *shape] of the operand of a sum or product with data, or None if it is neither."""
    func, args, kwargs = call
    if len(operands) != 1 or len(data) != 1 or kwargs or len(args) != 2 or func not in (*_SUMS, *_PRODUCTS):
        return None
    shape = operands[0].value.shape
    if len(shape) > dy.ndim or (len(shape) == dy.ndim and shape[0] != 1):
        return None  # It has a row for each row of the data: not a table that all of them share.
    grad = dy.float() if func in _SUMS else dy.float() * data[0].float()
    grad = sums.samples(next(iter(operands[0].leaves)), grad).sum(1)
    inner = shape[1:] if len(shape) == dy.ndim else shape
    outer = tuple(range(1, grad.ndim - len(inner)))
    grad = grad.sum(outer) if outer else grad
    wide = [1 + axis for axis, length in enumerate(inner) if length == 1 and grad.shape[1 + axis] > 1]
    grad = grad.sum(wide, keepdim=True) if wide else grad
    return grad.reshape(sums.n, *shape)


def _take_back(sums: Sums, call: Call, index: int, dy: Tensor, data: tuple[Tensor, ...]) -> None:
    """Any operation: do it again with gradients, and take each sample's output gradient back through it."""
    func, args, kwargs = call
    leaves: list[tuple[Operand, Tensor]] = []
    fresh = iter(data)

    def prepare(value: Any) -> Any:
        if isinstance(value, Operand):
            leaves.append((value, value.value.detach().requires_grad_(True)))
            return leaves[-1][1]
        return next(fresh) if value is _DATA else value

    with torch.enable_grad(), torch._C.DisableTorchFunctionSubclass():
        again_args, again_kwargs = tree_map(prepare, (args, kwargs))
        output = tree_leaves(func(*again_args, **again_kwargs))[index]
        parts = sums.samples(next(iter(leaves[0][0].leaves)), dy)
        per_sample = []
        for s in range(sums.n):
            seed = torch.zeros_like(parts)
            seed[s] = parts[s]
            wanted = [leaf for _, leaf in leaves]
            seed = seed.reshape(dy.shape)
            per_sample.append(
                torch.autograd.grad(output, wanted, seed, retain_graph=s + 1 < sums.n, materialize_grads=True)
            )
    for j, (operand, _) in enumerate(leaves):
        _add_chain(sums, operand, torch.stack([row[j].to_dense() for row in per_sample]))


def _add_chain(sums: Sums, operand: Operand, grads: Tensor) -> None:
    """Take per-sample gradients of a stand-in's value back to the parameters it is made of, and add them."""
    names, leaves = list(operand.leaves), list(operand.leaves.values())
    if len(leaves) == 1 and operand.value is leaves[0]:
        sums.add(names[0], grads)
        return
    with torch.enable_grad():
        rows = [
            torch.autograd.grad(
                operand.value, leaves, g.to(operand.value.dtype), retain_graph=True, materialize_grads=True
            )
            for g in grads
        ]
    for j, name in enumerate(names):
        sums.add(name, torch.stack([row[j].to_dense() for row in rows]))
