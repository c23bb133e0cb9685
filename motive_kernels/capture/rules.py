"""Exact per-sample parameter gradients of one layer from its input and output gradient.

A rule serves one type of layer. Layers with a matrix product hand over their tokens; small
affine layers (norms) have closed forms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from motive_kernels.capture.sums import Sums
from motive_kernels.runtime.precision import full_float32

# Suffixes name axes: n sample, t token, o layer output, i layer input, g group of channels, d normalized numbers.


class Rule(ABC):
    """How one type of layer turns (input, output gradient) into parameter gradients.

    Attributes:
        attributes: names of the parameters that the rule covers.
    """

    attributes: tuple[str, ...] = ("weight", "bias")

    @abstractmethod
    def take(self, sums: Sums, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        """Add the gradients of the module's parameters.

        Args:
            sums: where to add.
            module: the layer.
            own: attribute -> the projector's name, for the parameters that are wanted.
            x: the layer's input.
            dy: gradient of the layer's output.
        """

    @abstractmethod
    def output(self, module: Any, x: Tensor) -> Tensor:
        """What the layer should give for x if it is what the rule takes it for."""


class LinearRule(Rule):
    """y = x W^T + b over the last axis."""

    def take(self, sums: Sums, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        name = next(iter(own.values()))
        x_nti = sums.samples(name, x).flatten(1, -2)
        dy_nto = sums.samples(name, dy).flatten(1, -2)
        _take_tokens(sums, own, x_nti, dy_nto)

    def take_sketched(self, sums: Sums, own: Mapping[str, str], sketched: Tensor, dy: Tensor) -> None:
        """As take, with what Sums.sketched gave of x."""
        name = own["weight"]
        dy_nto = sums.samples(name, dy).flatten(1, -2)
        sums.add_sketched(name, sums.samples(name, sketched).flatten(1, -2), dy_nto)
        if "bias" in own:
            sums.add(own["bias"], dy_nto.sum(1, dtype=torch.float32))

    def output(self, module: Any, x: Tensor) -> Tensor:
        return functional.linear(x, module.weight, module.bias)


class ConvRule(Rule):
    """A convolution: a Linear over patches, which may overlap, in groups of channels."""

    def take(self, sums: Sums, module: Any, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        name = next(iter(own.values()))
        dy_nto = sums.samples(name, dy.flatten(2).transpose(1, 2)).flatten(1, 2)
        # Rows of the batch, places, channels, then the kernel's axes: a place is a token.
        cut = patches(padded(module, x), module.kernel_size, module.stride, module.dilation)
        if "weight" in own and module.groups > 1:
            self._grouped(sums, module.groups, own["weight"], sums.samples(name, cut).flatten(1, 2), dy_nto)
            own = {attribute: n for attribute, n in own.items() if attribute != "weight"}
        x_nti = sums.samples(name, cut.flatten(2)).flatten(1, 2)
        _take_tokens(sums, own, x_nti, dy_nto)

    @staticmethod
    def _grouped(sums: Sums, groups: int, name: str, x: Tensor, dy: Tensor) -> None:
        """Weight [o, i / groups, *kernel] of x [n, t, i, *kernel], dy [n, t, o]."""
        n, t = dy.shape[:2]
        dy_ntgo = dy.reshape(n, t, groups, -1).float()
        x_ntgi = x.reshape(n, t, groups, -1).float()
        with full_float32():
            grad = torch.einsum("ntgo,ntgi->ngoi", dy_ntgo, x_ntgi)
        sums.add(name, grad.reshape(n, *sums.scope.projector.shapes[name]))

    def output(self, module: Any, x: Tensor) -> Tensor:
        kind = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(module.kernel_size)]
        x = padded(module, x)
        return kind(x, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)


class NormRule(Rule):
    """y = w * normalised(x) + b over the last axes: dw = sum dy * normalised(x), db = sum dy."""

    def take(self, sums: Sums, module: nn.Module, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        name = next(iter(own.values()))
        shape = x.shape[-getattr(module, next(iter(own))).ndim :]
        x_ntd = sums.samples(name, x).reshape(sums.n, -1, shape.numel())
        dy_ntd = sums.samples(name, dy).reshape(sums.n, -1, shape.numel())
        if "weight" in own:
            sums.add(own["weight"], self._weight(module, x_ntd.float(), dy_ntd).reshape(sums.n, *shape))
        if "bias" in own:
            sums.add(own["bias"], dy_ntd.sum(1, dtype=torch.float32).reshape(sums.n, *shape))

    @staticmethod
    def _weight(module: nn.Module, x: Tensor, dy: Tensor) -> Tensor:
        """sum_t dy_t * x_t / scale_t of x, dy [n, t, d] with the mean taken off where the layer does."""
        if isinstance(module, nn.LayerNorm):
            variance, mean = torch.var_mean(x, 2, correction=0)
            weighted = (x - mean[..., None]).mul_(dy)
        else:
            variance = torch.linalg.vector_norm(x, dim=2).square() / x.shape[2]
            weighted = x * dy
        with full_float32():
            return torch.bmm(torch.rsqrt(variance + epsilon(module))[:, None], weighted)[:, 0]

    def output(self, module: Any, x: Tensor) -> Tensor:
        shape = module.weight.shape if module.weight is not None else module.bias.shape
        x = x.float()
        if isinstance(module, nn.LayerNorm):
            y = functional.layer_norm(x, shape, eps=module.eps)
        else:
            y = x * torch.rsqrt(x.square().mean(tuple(range(-len(shape), 0)), keepdim=True) + epsilon(module))
        return _affine(module, y, (1,) * (x.ndim - len(shape)) + tuple(shape))


class GroupNormRule(Rule):
    """y = w_c * normalised(x) + b_c for channel c, axis 1."""

    def take(self, sums: Sums, module: Any, own: Mapping[str, str], x: Tensor, dy: Tensor) -> None:
        dy = dy.float()
        terms = {"bias": dy}
        if "weight" in own:
            terms["weight"] = dy * functional.group_norm(x.float(), module.num_groups, eps=module.eps)
        for attribute, name in own.items():
            per_channel = terms[attribute].flatten(2).sum(2) if dy.ndim > 2 else terms[attribute]
            sums.add(name, sums.samples(name, per_channel).sum(1))

    def output(self, module: Any, x: Tensor) -> Tensor:
        y = functional.group_norm(x.float(), module.num_groups, eps=module.eps)
        return _affine(module, y, (1, -1, *(1,) * (x.ndim - 2)))


def _affine(module: Any, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """y times the weight plus the bias, where there are any."""
    y = y if module.weight is None else y * module.weight.float().reshape(shape)
    bias = getattr(module, "bias", None)
    return y if bias is None else y + bias.float().reshape(shape)


def _take_tokens(sums: Sums, own: Mapping[str, str], x_nti: Tensor, dy_nto: Tensor) -> None:
    """Weight and bias of a matrix product over tokens."""
    if "weight" in own:
        same = torch.promote_types(x_nti.dtype, dy_nto.dtype)
        sums.add_outer(own["weight"], x_nti.to(same), dy_nto.to(same))
    if "bias" in own:
        sums.add(own["bias"], dy_nto.sum(1, dtype=torch.float32))


def padded(module: Any, x: Tensor) -> Tensor:
    """A convolution's input with its padding around it."""
    if module.padding == "valid" or (not isinstance(module.padding, str) and not any(module.padding)):
        return x
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        widths = [width for t in reversed(total) for width in (t // 2, t - t // 2)]
    else:
        widths = [int(p) for p in reversed(module.padding) for _ in range(2)]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(x, widths, mode=mode)


def patches(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """The patches that a convolution multiplies: x [b, c, *space] as [b, places, c, *kernel]."""
    axes = len(kernel)
    for axis in range(axes):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        x = x.unfold(axis + 2, reach, stride[axis])[..., :: dilation[axis]]
    order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
    return x.permute(order).flatten(1, axes)


def epsilon(module: Any) -> float:
    """What a norm adds to its variance; none given means that of float32."""
    found = getattr(module, "eps", None)
    found = getattr(module, "variance_epsilon", None) if found is None else found
    return torch.finfo(torch.float32).eps if found is None else found


_LINEAR, _CONV, _NORM, _GROUP = LinearRule(), ConvRule(), NormRule(), GroupNormRule()

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
"""Classes whose forward is known. What is derived from them or named like them is compared with its rule first."""


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a module, or None. A subclass counts as its parent; ``is_plain`` says whether that needs a check."""
    if isinstance(module, nn.Linear):
        return _LINEAR
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        transposed = module.transposed
        return None if transposed else _CONV
    if isinstance(module, nn.GroupNorm):
        return _GROUP
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or "RMSNorm" in type(module).__name__:
        return _NORM
    return None


def is_plain(module: nn.Module) -> bool:
    """Whether the module's forward is that of torch's own class."""
    return type(module) in _PLAIN and "forward" not in module.__dict__


def agrees(rule: Rule, module: nn.Module, x: Tensor, y: Tensor) -> bool:
    """Whether the module gave for x what its rule takes it to give, to the accuracy of bfloat16.

    Weights that an offloading hook has taken away again (to meta) leave only the class to go by.
    """
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return type(module) in _PLAIN
    try:
        with torch.no_grad():
            expected = rule.output(module, x).float()
    except (RuntimeError, AttributeError, TypeError):
        return False
    if expected.shape != y.shape:
        return False
    rows = expected.flatten(1).isfinite().all(1) if expected.ndim > 1 else expected.isfinite()
    expected, y = expected[rows], y.detach()[rows].float()
    return bool((y - expected).norm() <= 0.02 * expected.norm() + 1e-6)
