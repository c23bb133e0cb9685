"""Exact per-sample parameter gradients of one layer from its input and output gradient.

A rule serves one type of layer. Layers with a matrix product hand their tokens to the token route; small
affine layers (norms) have closed forms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from motive_kernels.capture.token import Capture


class Rule(ABC):
    """Attributes:
    attributes: names of the parameters that the rule covers.
    """

    attributes: tuple[str, ...] = ("weight", "bias")

    @abstractmethod
    def take(self, capture: Capture, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        """Add the gradients of the module's parameters.

        Args:
            capture: where to add.
            module: the layer.
            own: attribute -> the projector's name, for the parameters that are wanted.
            x: the layer's input.
            dy: gradient of the layer's output.
        """


class LinearRule(Rule):
    """y = x W^T + b over the last axis."""

    def take(self, capture: Capture, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        name = next(iter(own.values()))
        x = capture.samples(name, x).flatten(1, -2)
        dy = capture.samples(name, dy).flatten(1, -2).to(x.dtype)
        take_tokens(capture, own, x, dy)


class PatchConvRule(Rule):
    """A convolution whose patches do not overlap (stride = kernel size, no padding): a Linear over patches."""

    def take(self, capture: Capture, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        name = next(iter(own.values()))
        x = capture.samples(name, patches(x, module.kernel_size)).flatten(1, 2)  # type: ignore[arg-type]
        dy = capture.samples(name, dy.flatten(2).transpose(1, 2)).flatten(1, 2).to(x.dtype)
        take_tokens(capture, own, x, dy)


class NormRule(Rule):
    """y = w * normalised(x) + b over the last axes: dw = sum dy * normalised(x), db = sum dy."""

    def take(self, capture: Capture, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        axes = getattr(module, own_attribute(own)).ndim
        dy = dy.float()
        terms = {"bias": dy}
        if "weight" in own:
            terms["weight"] = dy * normalised(module, x.float(), axes)
        for attribute, name in own.items():
            per_sample = capture.samples(name, terms[attribute])
            shape = per_sample.shape[-axes:]
            capture.add(name, per_sample.reshape(len(per_sample), -1, *shape).sum(1))


class GroupNormRule(Rule):
    """y = w_c * normalised(x) + b_c for channel c, axis 1."""

    def take(self, capture: Capture, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        dy = dy.float()
        terms = {"bias": dy}
        if "weight" in own:
            terms["weight"] = dy * functional.group_norm(x.float(), module.num_groups, eps=module.eps)  # type: ignore[arg-type]
        for attribute, name in own.items():
            per_channel = terms[attribute].flatten(2).sum(2) if dy.ndim > 2 else terms[attribute]
            capture.add(name, capture.samples(name, per_channel).sum(1))


def own_attribute(own: Mapping[str, str]) -> str:
    """Any one of the wanted attributes."""
    return next(iter(own))


def take_tokens(capture: Capture, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
    """Weight and bias of a matrix product over tokens x [n, t, i], dy [n, t, o]."""
    if "weight" in own:
        capture.add_outer(own["weight"], x, dy)
    if "bias" in own:
        capture.add(own["bias"], dy.sum(1, dtype=torch.float32))


def patches(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """x [b, c, *space] cut into non-overlapping patches: [b, patches, c * prod(kernel)], remainders dropped."""
    for axis, size in enumerate(kernel, start=2):
        x = x.narrow(axis, 0, x.shape[axis] // size * size).unfold(axis, size, size)
    axes = len(kernel)
    order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
    return x.permute(order).flatten(1, axes).flatten(2)


def normalised(module: nn.Module, x: Tensor, axes: int) -> Tensor:
    """What the norm multiplies its weight with."""
    dims = tuple(range(-axes, 0))
    eps = getattr(module, "eps", None)
    if isinstance(module, nn.LayerNorm):
        return functional.layer_norm(x, x.shape[-axes:], eps=module.eps)
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return x * torch.rsqrt(x.pow(2).mean(dims, keepdim=True) + eps)


_LINEAR, _PATCH, _NORM, _GROUP = LinearRule(), PatchConvRule(), NormRule(), GroupNormRule()


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a module, or None. Subclasses count where they keep their parent's forward or only its dtype."""
    if isinstance(module, nn.Linear):
        return _LINEAR
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        plain = module.stride == module.kernel_size and module.groups == 1 and not isinstance(module.padding, str)
        unpadded = plain and set(module.padding) == {0} and set(module.dilation) == {1}
        return _PATCH if unpadded else None
    if isinstance(module, nn.GroupNorm):
        return _GROUP
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or type(module).__name__ == "RMSNorm":
        return _NORM
    return None
