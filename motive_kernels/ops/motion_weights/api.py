"""Motion weights of clips on the latent grid of a video model."""

from __future__ import annotations

from typing import Literal, Optional

import torch
from torch import Tensor

from motive_kernels.ops.motion_weights import compiled, reference
from motive_kernels.runtime.checks import check_choice, check_tensor, describe, fail
from motive_kernels.runtime.dispatch import Op, on_first_use

MotionOrder = Literal["normalise_first", "resize_first"]
MotionPooling = Literal["causal_mean", "causal_max", "stride", "trilinear"]
MotionSpatial = Literal["bilinear", "area"]

OP = Op(
    "motion_weights",
    {
        "cpp": compiled.motion_weights,
        "cuda": compiled.motion_weights,
        "triton": on_first_use("motive_kernels.ops.motion_weights.triton", "motion_weights"),
        "torch": reference.motion_weights,
    },
)


def motion_weights(
    flow: Tensor,
    grid: tuple[int, int, int],
    *,
    order: MotionOrder = "normalise_first",
    pooling: MotionPooling = "causal_mean",
    spatial: MotionSpatial = "bilinear",
    confidence: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """How much each latent cell of a clip moves, from 0 to 1 (Wu et al. 2026, Eq. 12-14).

    The magnitude |flow| of each pixel is normalised as (M - min) / (max - min + 1e-6), with min and max over all
    frames and pixels of the clip, resized to (h, w) and pooled from T frames to F.

    A clip whose magnitude is the same everywhere (above all: a static one) gives exact zeros. A clip with a flow or
    confidence that is not finite, or so large that its square overflows float32, gives NaN everywhere; the other clips
    do not notice.

    Args:
        flow: [n, T, H, W, 2] float32, bfloat16 or float16 (float64: torch only), (dx, dy) in pixels; any strides.
        grid: (F, h, w), the latent frames, rows and columns.
        order: normalise_first is the paper's equations; resize_first, its Algorithm 1, takes min and max after the
            resize (over all T frames), so that some cell reaches 1.
        pooling: T -> F for a causal video autoencoder, whose latent frame 0 holds frame 0 and latent frame j >= 1
            frames g (j - 1) + 1 .. g j with g = (T - 1) / (F - 1). causal_mean: mean of the group; causal_max: its
            largest; stride: its last frame, g j; trilinear: plain linear interpolation over time, which ignores the
            groups and takes any T and F.
        spatial: bilinear as torch's interpolate, half-pixel centres and no antialiasing (only four pixels count for
            each cell); area: the mean of all pixels of the cell.
        confidence: [n, T, H, W] floating, a factor on the magnitude (0 .. 1), or None.
        impl: cpp, cuda, triton, torch or None.

    Returns:
        float32 [n, F, h, w] in 0 .. 1 (float64 for float64 flow).

    Raises:
        ValueError, RuntimeError: an argument does not fit; the message names it.
    """
    where = "motion_weights"
    _, t, height, width, two = check_tensor(where, "flow", flow, 5, "[n, T, H, W, 2]").shape
    if two != 2 or min(t, height, width) < 1:
        raise fail(where, "flow", "[n, T, H, W, 2] with T, H, W >= 1", describe(flow), "put (dx, dy) last")
    check_choice(where, "order", order, MotionOrder)
    check_choice(where, "pooling", pooling, MotionPooling)
    check_choice(where, "spatial", spatial, MotionSpatial)
    _check_grid(where, grid, t, pooling)
    if confidence is not None:
        check_tensor(where, "confidence", confidence, 4, "[n, T, H, W]")
        if confidence.shape != flow.shape[:4] or confidence.device != flow.device:
            wanted = f"{list(flow.shape[:4])} on {flow.device}"
            raise fail(where, "confidence", wanted, describe(confidence), "give one factor a pixel of the flow")
    frames, rows, columns = grid
    return _motion_weights(flow, confidence, frames, rows, columns, order, pooling, spatial, impl)


def _check_grid(where: str, grid: tuple[int, int, int], t: int, pooling: str) -> None:
    """grid (F, h, w), with F latent frames that T frames can be pooled to."""
    if len(grid) != 3 or min(grid) < 1:
        raise fail(where, "grid", "three positive integers (F, h, w)", grid, "take them from the latents' shape")
    frames = grid[0]
    fits = t == 1 if frames == 1 else t > 1 and (t - 1) % (frames - 1) == 0
    if pooling != "trilinear" and not fits:
        remedy = f"trim the clip to g ({frames} - 1) + 1 frames for some g, or pool by trilinear"
        raise fail(where, "T", f"1 more than a multiple of F - 1 = {frames - 1} for {pooling} pooling", t, remedy)


@torch.library.custom_op("motive::motion_weights", mutates_args=())
def _motion_weights(
    flow: Tensor,
    confidence: Optional[Tensor],  # noqa: UP045
    frames: int,
    height: int,
    width: int,
    order: str,
    pooling: str,
    spatial: str,
    impl: Optional[str],  # noqa: UP045
) -> Tensor:
    run = OP.choose(impl, flow.device.type, flow.dtype)
    if not flow.numel():
        return _result(flow, frames, height, width)
    return run(flow, confidence, frames, height, width, order, pooling, spatial)


@_motion_weights.register_fake
def _(
    flow: Tensor,
    confidence: Optional[Tensor],  # noqa: UP045
    frames: int,
    height: int,
    width: int,
    order: str,
    pooling: str,
    spatial: str,
    impl: Optional[str],  # noqa: UP045
) -> Tensor:
    return _result(flow, frames, height, width)


def _result(flow: Tensor, frames: int, height: int, width: int) -> Tensor:
    """An output to fill."""
    dtype = torch.float64 if flow.dtype == torch.float64 else torch.float32
    return flow.new_empty((flow.shape[0], frames, height, width), dtype=dtype)
