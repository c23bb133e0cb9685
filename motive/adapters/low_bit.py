"""Base weights in 8 or 4 bits under a LoRA: less memory, and gradients with respect to the factors alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motive.adapters.stored import FLOAT8, dequantize
from motive.errors import ConfigError
from motive.extras import require

Quantize = Literal["none", "fp8", "nf4"]

_IN_BLOCKS = re.compile(r"(\w*_)?blocks\.\d+\.")
_FLOAT8 = "float8_e4m3fn"


class Float8Linear(nn.Linear):
    """A Linear layer whose weight is float8 with scales, multiplied out in each pass and never kept.

    Its weight has no gradient; its input has, so that factors below it have theirs.

    Args:
        bits: uint8 [outputs, inputs].
        scale: [outputs, 1], or [outputs, blocks, 1]; None for 1.
        float8: what the bits are.
        bias: [outputs] or None.
        dtype: that the layer computes in.
    """

    def __init__(
        self, bits: Tensor, scale: Tensor | None, float8: torch.dtype, bias: Tensor | None, dtype: torch.dtype
    ) -> None:
        super().__init__(bits.shape[1], bits.shape[0], bias=False, device="meta")
        del self.weight
        self.register_buffer("weight", bits)
        self.register_buffer("weight_scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.float8, self.compute_dtype = float8, dtype

    def forward(self, input: Tensor) -> Tensor:
        return _Multiply.apply(input, self.weight, self.weight_scale, self.bias, self.float8)


class _Multiply(torch.autograd.Function):
    """x W' + b for a float8 W, whose values are made again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor, scale: Tensor | None, bias: Tensor | None, float8: torch.dtype):  # type: ignore[no-untyped-def] # fmt: skip
        ctx.save_for_backward(bits, scale)
        ctx.float8 = float8
        return F.linear(x, dequantize(bits, float8, scale, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[no-untyped-def]
        bits, scale = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ dequantize(bits, ctx.float8, scale, gradient.dtype), None, None, None, None


def to_float8(weight: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """(uint8 bits, scale [rows, 1], float8 type) of a matrix: e4m3, each row's largest weight at the type's largest."""
    float8 = FLOAT8[_FLOAT8]
    most = torch.finfo(float8).max
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / most
    return (weight.float() / scale).clamp(-most, most).to(float8).view(torch.uint8), scale, float8


def hold_in_float8(
    model: nn.Module,
    dtype: torch.dtype,
    stored: Mapping[str, tuple[Tensor, Tensor | None, torch.dtype]] = {},
) -> None:
    """Put Float8Linear in the place of the Linear layers inside the blocks of a transformer, and freeze the rest.

    Args:
        model: in dtype; changed in place. Layers that are kept in float32 stay as they are.
        dtype: that the layers compute in.
        stored: weight's name -> bits, scale and type of those that a file holds as float8; they are taken as they are.
    """
    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, layer in list(model.named_modules()):
        if type(layer) is not nn.Linear or not _IN_BLOCKS.match(name) or kept & set(name.split(".")):
            continue
        bits, scale, float8 = stored.get(f"{name}.weight") or to_float8(layer.weight.detach())
        bias = None if layer.bias is None else layer.bias.detach()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, Float8Linear(bits, scale, float8, bias, dtype))
    model.requires_grad_(False)


def may_stay_float8(model: nn.Module, name: str) -> bool:
    """Whether hold_in_float8 replaces the layer of a weight."""
    layer, _, last = name.rpartition(".")
    return last == "weight" and bool(_IN_BLOCKS.match(name)) and type(model.get_submodule(layer)) is nn.Linear


def nf4(dtype: torch.dtype, device: torch.device) -> Any:
    """Diffusers' settings for weights in 4 bits.

    Raises:
        ConfigError: the device is no CUDA device.
        MissingExtra: bitsandbytes is absent.
    """
    if device.type != "cuda":
        raise ConfigError(
            "load_adapter", f"{{quantize}} must be none or fp8 on {device}, got nf4: bitsandbytes needs a CUDA device"
        )
    require("bitsandbytes", "load_adapter", extra="nf4")
    diffusers = require("diffusers", "load_adapter", extra="models")
    return diffusers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=False
    )
