"""Motion weights: the reference against the formulas, every implementation against the float64 reference."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import motive_kernels as mk
from motive_kernels.ops.motion_weights.api import _motion_weights

AVAILABLE = [i for i in ("torch", "cpp") if mk.implementations()["motion_weights"][i] is None]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ORDERS, POOLINGS, SPATIALS = (get_args(choices) for choices in (mk.MotionOrder, mk.MotionPooling, mk.MotionSpatial))

every_implementation = pytest.mark.parametrize("impl", AVAILABLE)
every_option = pytest.mark.parametrize(
    "options",
    [{"order": o, "pooling": p, "spatial": s} for o in ORDERS for p in POOLINGS for s in SPATIALS],
    ids=lambda options: "-".join(options.values()),
)


def some_flow(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Flow of several pixels with a different strength in each clip and frame: [n, T, H, W, 2]."""
    generator = torch.Generator().manual_seed(seed)
    strength = 8 * torch.rand(*shape[:2], 1, 1, 1, generator=generator)
    return (strength * torch.randn(*shape, 2, generator=generator)).to(dtype)


def rms(error: Tensor) -> float:
    return math.sqrt(float(error.double().square().mean()))


def numbers_close(actual: Tensor, flow: Tensor, grid: tuple[int, int, int], **options: Any) -> None:
    """Within twice the error that plain float32 PyTorch makes, measured against float64, and one rounding of 1."""
    confidence = options.pop("confidence", None)
    wide = None if confidence is None else confidence.double()
    exact = mk.motion_weights(flow.double(), grid, confidence=wide, **options)
    plain = mk.motion_weights(flow, grid, confidence=confidence, impl="torch", **options)
    error, budget = rms(actual - exact), 2 * rms(plain - exact) + 1e-7
    assert actual.dtype == torch.float32
    assert error <= budget, f"RMS error {error:.2e} exceeds {budget:.2e}: {list(flow.shape)} to {grid}, {options}"


def test_reference_is_the_papers_formula() -> None:
    """Eq. 12-14 by hand: no resize where the grid is the frame, pooling by groups of frames."""
    flow = some_flow(2, 7, 3, 4, dtype=torch.float64)
    magnitude = (flow[..., 0] ** 2 + flow[..., 1] ** 2).sqrt()
    for s in range(2):
        m = magnitude[s]
        w = (m - m.min()) / (m.max() - m.min() + 1e-6)
        by_pooling = {
            "causal_mean": [w[0], w[1:4].mean(0), w[4:7].mean(0)],
            "causal_max": [w[0], w[1:4].amax(0), w[4:7].amax(0)],
            "stride": [w[0], w[3], w[6]],
        }
        for pooling, frames in by_pooling.items():
            got = mk.motion_weights(flow, (3, 3, 4), pooling=pooling)[s]
            torch.testing.assert_close(got, torch.stack(frames), rtol=1e-12, atol=1e-12, msg=pooling)


@pytest.mark.parametrize("order", ORDERS)
def test_reference_resizes_as_torch_does(order: str) -> None:
    """bilinear and area are torch's interpolate, and trilinear pooling is its three-dimensional one."""
    flow = some_flow(2, 6, 11, 7, dtype=torch.float64)
    m = flow.norm(dim=-1)

    def normalise(v: Tensor) -> Tensor:
        low, high = v.amin((1, 2, 3), keepdim=True), v.amax((1, 2, 3), keepdim=True)
        return (v - low) / (high - low + 1e-6)

    for spatial in SPATIALS:
        corners = {"align_corners": False} if spatial == "bilinear" else {}
        if order == "normalise_first":
            frames = torch.nn.functional.interpolate(normalise(m), (4, 5), mode=spatial, **corners)
        else:
            frames = normalise(torch.nn.functional.interpolate(m, (4, 5), mode=spatial, **corners))
        want = torch.nn.functional.interpolate(frames[:, None], (4, 4, 5), mode="trilinear", align_corners=False)[:, 0]
        got = mk.motion_weights(flow, (4, 4, 5), order=order, spatial=spatial, pooling="trilinear")
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


SHAPES = [
    ((3, 9, 37, 53), (3, 5, 7)),
    ((1, 5, 8, 8), (5, 8, 8)),
    ((2, 1, 6, 31), (1, 1, 1)),
    ((2, 4, 3, 2), (2, 7, 9)),
    ((1, 3, 1, 1), (2, 2, 1)),
]
"""[n, T, H, W] and (F, h, w): grids that are coarser than the frame, as fine, a single cell, and finer."""


@every_implementation
@every_option
def test_matches_float64(impl: str, options: dict[str, str]) -> None:
    for seed, (shape, grid) in enumerate(SHAPES):
        flow = some_flow(*shape, seed=seed)
        confidence = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
        numbers_close(mk.motion_weights(flow, grid, impl=impl, **options), flow, grid, **options)
        with_confidence = mk.motion_weights(flow, grid, confidence=confidence, impl=impl, **options)
        numbers_close(with_confidence, flow, grid, confidence=confidence, **options)
        assert with_confidence.is_contiguous()


@every_implementation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("spatial", SPATIALS)
def test_narrow_types(impl: str, dtype: torch.dtype, spatial: str) -> None:
    """Flow and confidence of 16 bits, alike or mixed with float32, are read exactly."""
    for seed, (shape, grid) in enumerate(SHAPES):
        flow = some_flow(*shape, dtype=dtype, seed=seed)
        confidence = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
        for c in (None, confidence, confidence.to(dtype)):
            got = mk.motion_weights(flow, grid, confidence=c, spatial=spatial, impl=impl)
            numbers_close(got, flow, grid, confidence=c, spatial=spatial)


def test_every_simd_level(level: str) -> None:
    """Also frames that are narrower than a vector, and planes instead of pairs."""
    for spatial in SPATIALS:
        for shape, grid in [*SHAPES, ((1, 3, 5, 33), (2, 2, 8))]:
            for dtype in DTYPES:
                flow = some_flow(*shape, dtype=dtype)
                got = mk.motion_weights(flow, grid, spatial=spatial, impl="cpp")
                numbers_close(got, flow, grid, spatial=spatial)
                planes = flow.movedim(-1, 2).contiguous().movedim(2, -1)
                assert torch.equal(mk.motion_weights(planes, grid, spatial=spatial, impl="cpp"), got), level
                uniform = torch.full_like(flow, 33.3)
                assert not mk.motion_weights(uniform, grid, spatial=spatial, impl="cpp").any(), level


@every_implementation
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape(impl: str, data: st.DataObject) -> None:
    n, groups, latent_frames, height, width, h, w = (
        data.draw(st.integers(low, high), label=name)
        for name, low, high in (
            ("n", 0, 3), ("g", 1, 4), ("F", 1, 4), ("H", 1, 40), ("W", 1, 40), ("h", 1, 9), ("w", 1, 9),
        )
    )  # fmt: skip
    options = data.draw(st.sampled_from([{"order": o, "spatial": s} for o in ORDERS for s in SPATIALS]))
    options["pooling"] = data.draw(st.sampled_from(POOLINGS))
    frames = groups * (latent_frames - 1) + 1
    flow, grid = some_flow(n, frames, height, width), (latent_frames, h, w)
    weights = mk.motion_weights(flow, grid, impl=impl, **options)
    assert weights.shape == (n, *grid)
    if n:
        assert bool(((weights >= 0) & (weights <= 1)).all()), "weights leave 0 .. 1"
        numbers_close(weights, flow, grid, **options)


@every_implementation
@every_option
def test_uniform_motion_weighs_exactly_nothing(impl: str, options: dict[str, str]) -> None:
    """A static clip, and one that moves alike everywhere at a speed that float32 cannot divide evenly."""
    flow = torch.zeros(3, 9, 37, 53, 2)
    flow[1, ..., 0], flow[1, ..., 1] = 101.7, -33.3
    flow[2] = some_flow(9, 37, 53, 1)[..., 0, :]
    weights = mk.motion_weights(flow, (3, 5, 7), impl=impl, **options)
    assert not weights[:2].any(), f"largest weight {float(weights[:2].max())}; uniform motion has to give exact zeros"
    assert weights[2].any()


@every_implementation
@every_option
def test_a_bad_pixel_is_seen_and_stays_in_its_clip(impl: str, options: dict[str, str]) -> None:
    flow = some_flow(3, 9, 40, 48)
    want = mk.motion_weights(flow, (3, 5, 6), impl=impl, **options)
    for at, bad in (((0, 0, 0, 0), math.nan), ((4, 7, 0, 1), math.inf), ((8, 39, 47, 1), -math.inf)):
        spoilt = flow.clone()
        spoilt[(1, *at)] = bad
        got = mk.motion_weights(spoilt, (3, 5, 6), impl=impl, **options)
        assert got[1].isnan().all(), f"{bad} at {at} is not reported in every weight"
        assert torch.equal(got[0::2], want[0::2]), "another clip changed"
    confidence = torch.ones(3, 9, 40, 48)
    confidence[1, 4, 7, 1] = math.nan
    got = mk.motion_weights(flow, (3, 5, 6), confidence=confidence, impl=impl, **options)
    assert got[1].isnan().all()
    assert torch.equal(got[0::2], want[0::2])


@every_implementation
def test_does_not_depend_on_strides(impl: str) -> None:
    flow = some_flow(2, 5, 12, 20)
    want = mk.motion_weights(flow, (3, 3, 5), impl=impl)
    planes_first = flow.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1)
    sliced = torch.full((4, 5, 12, 40, 2), math.nan)
    sliced[::2, :, :, ::2] = flow
    expanded = flow[:1].expand(2, -1, -1, -1, -1)
    assert torch.equal(mk.motion_weights(planes_first, (3, 3, 5), impl=impl), want)
    assert torch.equal(mk.motion_weights(sliced[::2, :, :, ::2], (3, 3, 5), impl=impl), want)
    assert torch.equal(mk.motion_weights(expanded, (3, 3, 5), impl=impl), want[:1].expand(2, -1, -1, -1))


@every_implementation
@every_option
def test_does_not_depend_on_batch_or_threads(impl: str, options: dict[str, str], threads: Any) -> None:
    flow = some_flow(5, 9, 41, 67)
    with threads(1):
        want = mk.motion_weights(flow, (3, 5, 7), impl=impl, **options)
    for count in (2, 3, 8):
        with threads(count):
            got = mk.motion_weights(flow, (3, 5, 7), impl=impl, **options)
        assert torch.equal(got, want), f"{count} threads change the result"
    if impl != "torch":
        alone = torch.cat([mk.motion_weights(flow[s : s + 1], (3, 5, 7), impl=impl, **options) for s in range(5)])
        assert torch.equal(alone, want), "a clip's weights depend on its batch"


@every_implementation
def test_opcheck_and_compile(impl: str) -> None:
    flow, confidence = some_flow(2, 5, 9, 11), torch.rand(2, 5, 9, 11)
    for c in (None, confidence):
        torch.library.opcheck(_motion_weights, (flow, c, 3, 4, 5, "resize_first", "trilinear", "area", impl))

    def weighted(flow: Tensor, confidence: Tensor) -> Tensor:
        return 2 * mk.motion_weights(flow, (3, 4, 5), confidence=confidence, impl=impl)

    compiled = torch.compile(weighted, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(flow, confidence), weighted(flow, confidence))


def test_float64_stays_float64_and_has_no_fast_form() -> None:
    flow = some_flow(1, 3, 4, 5, dtype=torch.float64)
    assert mk.motion_weights(flow, (3, 2, 2)).dtype == torch.float64
    if "cpp" in AVAILABLE:
        with pytest.raises(RuntimeError, match=r"motion_weights: impl must be .*cpp takes float32"):
            mk.motion_weights(flow, (3, 2, 2), impl="cpp")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": torch.zeros(2, 5, 4, 4)}, r"flow must be a floating-point tensor \[n, T, H, W, 2\], got float32"),
        ({"flow": torch.zeros(2, 5, 4, 4, 3)}, r"flow must be \[n, T, H, W, 2\]"),
        ({"flow": torch.zeros(2, 5, 0, 4, 2)}, r"flow must be \[n, T, H, W, 2\] with T, H, W >= 1"),
        ({"flow": torch.zeros(2, 5, 4, 4, 2, dtype=torch.int32)}, "flow must be a floating-point"),
        ({"flow": [1.0]}, "flow must be a torch tensor"),
        ({"grid": (4, 2, 2)}, "T must be 1 more than a multiple of F - 1 = 3 for causal_mean pooling, got 5"),
        ({"grid": (1, 2, 2)}, "T must be 1 more than a multiple"),
        ({"grid": (3, 0, 2)}, "grid must be three positive integers"),
        ({"grid": (3, 2)}, "grid must be three positive integers"),
        ({"order": "both"}, "order must be one of normalise_first, resize_first, got 'both'; choose one"),
        ({"pooling": "mean"}, "pooling must be one of causal_mean"),
        ({"spatial": "nearest"}, "spatial must be one of bilinear, area"),
        ({"confidence": torch.ones(2, 5, 4, 5)}, r"confidence must be \[2, 5, 4, 4\] on cpu, got float32"),
        ({"impl": "fortran"}, "impl must be one of cpp"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"flow": torch.zeros(2, 5, 4, 4, 2), "grid": (3, 2, 2), **change}
    with pytest.raises(ValueError, match="^motion_weights: " + message):
        mk.motion_weights(**arguments)
