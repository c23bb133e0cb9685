"""Motion weights on the GPU: one pass over the flow, then one over the small grid.

Min-max normalisation is affine with a positive slope and resizing is linear, so magnitudes are resized as they are and
normalised afterwards, when the clip's extremes are known: the flow is read once. Both kernels are launched without
contraction to fused multiply-add, so that equal motion gives equal magnitudes wherever it is computed: a uniform clip
has weights of exactly zero.
"""
# ruff: noqa: N803 - Triton writes compile-time constants in upper case.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from motive_kernels.ops.motion_weights.reference import EPSILON
from motive_kernels.runtime.triton_call import launch

BLOCK, CELLS = 1024, 256
BAND_PIXELS = 16384
"""Pixels of a frame that one program reads; cells of the same part of the frame are its as well."""

LARGEST_FRAME, LARGEST_SIDE = 2**30, 2**15
"""Pixels of a frame and cells along a side; indices inside a frame are 32-bit."""


@triton.jit
def magnitude_at(flow, confidence, pixel, inside, CONFIDENT: tl.constexpr):
    """|flow| times confidence of some pixels of a frame; 0 outside."""
    dx = tl.load(flow + 2 * pixel, mask=inside, other=0.0).to(tl.float32)
    dy = tl.load(flow + 2 * pixel + 1, mask=inside, other=0.0).to(tl.float32)
    magnitude = tl.sqrt(dx * dx + dy * dy)
    if CONFIDENT:
        magnitude = magnitude * tl.load(confidence + pixel, mask=inside, other=0.0).to(tl.float32)
    return magnitude


@triton.jit
def bilinear(flow, confidence, cell, inside, height, width, columns, y_scale, x_scale, CONFIDENT: tl.constexpr):
    """Magnitude of the four pixels around each cell's centre, interpolated so that equal ones stay as they are."""
    y = tl.maximum((cell // columns + 0.5) * y_scale - 0.5, 0.0)
    x = tl.maximum((cell % columns + 0.5) * x_scale - 0.5, 0.0)
    top = tl.minimum(y.to(tl.int32), height - 1)
    left = tl.minimum(x.to(tl.int32), width - 1)
    below, right = tl.minimum(top + 1, height - 1), tl.minimum(left + 1, width - 1)
    dx, dy = x - left, y - top
    m00 = magnitude_at(flow, confidence, top * width + left, inside, CONFIDENT)
    m01 = magnitude_at(flow, confidence, top * width + right, inside, CONFIDENT)
    m10 = magnitude_at(flow, confidence, below * width + left, inside, CONFIDENT)
    m11 = magnitude_at(flow, confidence, below * width + right, inside, CONFIDENT)
    upper, lower = m00 + dx * (m01 - m00), m10 + dx * (m11 - m10)
    return upper + dy * (lower - upper)


@triton.jit
def area(flow, confidence, cell, inside, height, width, rows, columns, CONFIDENT: tl.constexpr):
    """Mean magnitude of each cell's pixels, summed relative to its first so that equal ones stay as they are."""
    i, j = cell // columns, cell % columns
    # floor(i height / rows) and ceil((i + 1) height / rows), without a product that needs 64 bits.
    top = i * (height // rows) + i * (height % rows) // rows
    left = j * (width // columns) + j * (width % columns) // columns
    bottom = (i + 1) * (height // rows) + ((i + 1) * (height % rows) + rows - 1) // rows
    right = (j + 1) * (width // columns) + ((j + 1) * (width % columns) + columns - 1) // columns
    first = magnitude_at(flow, confidence, top * width + left, inside, CONFIDENT)
    total = tl.zeros_like(first)
    for y in range((height + rows - 1) // rows + 1):
        for x in range((width + columns - 1) // columns + 1):
            within = inside & (top + y < bottom) & (left + x < right)
            pixel = (top + y) * width + left + x
            total += tl.where(within, magnitude_at(flow, confidence, pixel, within, CONFIDENT) - first, 0.0)
    return first + total / ((bottom - top) * (right - left))


@triton.jit
def resize_kernel(
    flow,
    confidence,
    resized,
    lowest,
    highest,
    height,
    width,
    rows,
    columns,
    bands,
    y_scale,
    x_scale,
    CONFIDENT: tl.constexpr,
    AREA: tl.constexpr,
    RESIZE_FIRST: tl.constexpr,
    BLOCK: tl.constexpr,
    CELLS: tl.constexpr,
):
    """One band of a frame: its cells' magnitudes, and the extremes of its pixels (or cells); NaN if any is bad."""
    frame = (tl.program_id(0) // bands).to(tl.int64)
    band = (tl.program_id(0) % bands).to(tl.int64)
    flow += frame * height * width * 2
    confidence += frame * height * width
    compared: tl.constexpr = CELLS if RESIZE_FIRST else BLOCK
    low, high = tl.full((compared,), float("inf"), tl.float32), tl.full((compared,), float("-inf"), tl.float32)
    bad = tl.zeros((BLOCK,), tl.int32)
    start, end = (band * height // bands * width).to(tl.int32), ((band + 1) * height // bands * width).to(tl.int32)
    for first in range(start, end, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        inside = pixel < end
        pair = 2 * first + tl.arange(0, 2 * BLOCK)
        both = tl.load(flow + pair, mask=pair < 2 * end, other=0.0).to(tl.float32)
        dx, dy = tl.split(tl.reshape(both, (BLOCK, 2)))
        m = tl.sqrt(dx * dx + dy * dy)
        if CONFIDENT:
            m = m * tl.load(confidence + pixel, mask=inside, other=0.0).to(tl.float32)
        bad |= (inside & ((m - m) != 0)).to(tl.int32)
        if not RESIZE_FIRST:
            low, high = tl.where(inside & (m < low), m, low), tl.where(inside & (m > high), m, high)
    start, end = (band * rows // bands * columns).to(tl.int32), ((band + 1) * rows // bands * columns).to(tl.int32)
    for first in range(start, end, CELLS):
        cell = first + tl.arange(0, CELLS)
        inside = cell < end
        if AREA:
            m = area(flow, confidence, cell, inside, height, width, rows, columns, CONFIDENT)
        else:
            m = bilinear(flow, confidence, cell, inside, height, width, columns, y_scale, x_scale, CONFIDENT)
        tl.store(resized + frame * rows * columns + cell, m, mask=inside)
        if RESIZE_FIRST:
            low, high = tl.where(inside & (m < low), m, low), tl.where(inside & (m > high), m, high)
    any_bad = tl.max(bad, 0) > 0
    tl.store(lowest + tl.program_id(0), tl.where(any_bad, float("nan"), tl.min(low, 0)))
    tl.store(highest + tl.program_id(0), tl.max(high, 0))


@triton.jit
def pool_kernel(
    resized,
    lowest,
    highest,
    weights,
    clip_frames,
    parts,
    frames,
    cells,
    blocks,
    group,
    t_scale,
    epsilon,
    POOLING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of cells of a latent frame: the clip's extremes from its parts, then normalise and pool."""
    latent = (tl.program_id(0) // blocks).to(tl.int64)
    clip, f = latent // frames, (latent % frames).to(tl.int32)
    low, high = tl.full((BLOCK,), float("inf"), tl.float32), tl.full((BLOCK,), float("-inf"), tl.float32)
    bad = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, parts, BLOCK):
        part = first + tl.arange(0, BLOCK)
        least = tl.load(lowest + clip * parts + part, mask=part < parts, other=float("inf"))
        most = tl.load(highest + clip * parts + part, mask=part < parts, other=float("-inf"))
        bad |= (least != least).to(tl.int32)
        low, high = tl.where(least < low, least, low), tl.where(most > high, most, high)
    offset = tl.min(low, 0)
    span = tl.max(high, 0) - offset + epsilon
    cell = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = cell < cells
    at = resized + clip * clip_frames * cells + cell
    if POOLING == "trilinear":
        t = tl.maximum((f + 0.5) * t_scale - 0.5, 0.0)
        before = tl.minimum(t.to(tl.int32), clip_frames - 1)
        after = tl.minimum(before + 1, clip_frames - 1)
        a = (tl.load(at + before.to(tl.int64) * cells, mask=inside, other=0.0) - offset) / span
        b = (tl.load(at + after.to(tl.int64) * cells, mask=inside, other=0.0) - offset) / span
        result = a + (t - before) * (b - a)
    else:
        last = group * f
        begin = last if POOLING == "stride" else tl.where(f > 0, last - group + 1, 0)
        result = tl.zeros((BLOCK,), tl.float32)
        for t in range(begin, last + 1):
            w = (tl.load(at + tl.cast(t, tl.int64) * cells, mask=inside, other=0.0) - offset) / span
            result = tl.where(w > result, w, result) if POOLING == "causal_max" else result + w
        if POOLING == "causal_mean":
            result = result / (last + 1 - begin)
    result = tl.minimum(tl.maximum(result, 0.0), 1.0)
    result = tl.where(tl.max(bad, 0) > 0, float("nan"), result)
    tl.store(weights + latent * cells + cell, result, mask=inside)


def motion_weights(
    flow: Tensor,
    confidence: Tensor | None,
    frames: int,
    height: int,
    width: int,
    order: str,
    pooling: str,
    spatial: str,
) -> Tensor:
    """As reference.motion_weights, for float32, bfloat16 and float16."""
    n, t, rows, columns = flow.shape[:4]
    if rows * columns >= LARGEST_FRAME or max(height, width) > LARGEST_SIDE:
        raise ValueError(
            f"motion_weights: H W must be less than 2^30 and h, w at most 2^15 for triton, "
            f"got {rows} x {columns} and {height} x {width}; choose another impl"
        )
    flow, cells = flow.contiguous(), height * width
    bands = min(triton.cdiv(rows * columns, BAND_PIXELS), rows)
    resized = flow.new_empty((n, t, cells), dtype=torch.float32)
    lowest, highest = flow.new_empty((2, n * t * bands), dtype=torch.float32)
    weights = flow.new_empty((n, frames, height, width), dtype=torch.float32)
    inputs = (flow, flow if confidence is None else confidence.contiguous())
    sizes = (rows, columns, height, width, bands, rows / height, columns / width)
    flags = (confidence is not None, spatial == "area", order == "resize_first", BLOCK, CELLS)
    grid = (n * t * bands,)
    launch(resize_kernel, grid, flow, *inputs, resized, lowest, highest, *sizes, *flags, enable_fp_fusion=False)
    blocks = triton.cdiv(cells, BLOCK)
    launch(
        pool_kernel,
        (n * frames * blocks,),
        flow,
        resized,
        lowest,
        highest,
        weights,
        t,
        t * bands,
        frames,
        cells,
        blocks,
        (t - 1) // max(frames - 1, 1),
        t / frames,
        EPSILON,
        pooling,
        BLOCK,
        enable_fp_fusion=False,
    )
    return weights
