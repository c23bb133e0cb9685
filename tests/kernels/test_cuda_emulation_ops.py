"""The CUDA kernels of the weighting ops and of the other projection kinds, run thread after thread on the CPU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motive_kernels.ops.dense_projection import reference as dense_reference
from motive_kernels.ops.fastfood import reference as fastfood_reference
from motive_kernels.ops.motion_weights import reference as motion_reference
from motive_kernels.ops.motion_weights.compiled import CODES
from motive_kernels.ops.noise_latents import reference as noise_reference
from motive_kernels.ops.sjlt import reference as sjlt_reference
from motive_kernels.ops.weighted_loss import reference as loss_reference
from motive_kernels.rng.philox import parameter_key, philox4x32
from motive_kernels.rng.tables import balanced_buckets
from motive_kernels.runtime.native import DTYPE_CODES
from tests.kernels.cuda_emulation import Job, storage_and_offset

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def test_philox_known_answers(tmp_path: Path) -> None:
    """The device's generator is Random123's: counters and keys of zeros, of ones, and digits of pi."""
    cases = [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for key, counter, answer in cases:
        words = torch.tensor(counter, dtype=torch.uint32)
        found = Job("philox", tmp_path).add(*key, 1, words).run(torch.uint32)
        assert found.tolist() == list(answer)
        assert philox4x32(words.numpy(), key).tolist() == list(answer)


def loss(folder: Path, prediction: Tensor, target: Tensor, weights: Tensor | None, scale: float) -> tuple:
    n, channels, frames = prediction.shape[:3]
    cells = prediction[0, 0].numel()
    mean = 1.0 / (frames * channels * cells)
    job = Job("weighted_loss", folder)
    job.add(False, DTYPE_CODES[prediction.dtype], n, channels, cells, mean, 2.0 * scale * mean)
    for tensor in (torch.zeros_like(prediction), prediction, target):
        job.add(*storage_and_offset(tensor))
    value = job.add(weights).run()
    return value, job.output("gradient.bin", prediction.dtype).reshape(prediction.shape)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 9), (1, 16, 3, 16, 24), (3, 1, 1, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weighted", [True, False])
def test_weighted_loss(shape: tuple[int, ...], dtype: torch.dtype, weighted: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    weights = torch.rand(shape[0], *shape[2:]) if weighted else None
    value, gradient = loss(tmp_path, prediction, target, weights, 64.0)
    exact = None if weights is None else weights.double()
    wanted, slope = loss_reference.weighted_loss(prediction.double(), target.double(), exact, 64.0)
    assert error(value, wanted) < 2e-6
    assert error(gradient, slope) < ROUNDING[dtype]


@pytest.mark.parametrize("shape", [(3, 8, 16), (2, 5, 7)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_noise_latents(shape: tuple[int, ...], dtype: torch.dtype, shared: bool, tmp_path: Path) -> None:
    """Bitwise the reference: the same float32 operations, rounded once."""
    latents, sigma = torch.randn(shape).to(dtype), torch.rand(shape[0])
    noise = torch.randn(1 if shared else shape[0], *shape[1:]).to(dtype)
    size = latents[0].numel()
    job = Job("noise_latents", tmp_path).add(DTYPE_CODES[dtype], shape[0], size, 0 if shared else size)
    for tensor in (torch.zeros_like(latents), torch.zeros_like(latents), latents, noise):
        job.add(*storage_and_offset(tensor))
    noisy = job.add(sigma).run(dtype).reshape(shape)
    wanted_noisy, wanted_target = noise_reference.noise_latents(latents, noise, sigma)
    assert torch.equal(noisy, wanted_noisy)
    assert torch.equal(job.output("target.bin", dtype).reshape(shape), wanted_target)


def test_rounding_to_half_precision(tmp_path: Path) -> None:
    """Every kind of float: subnormal, tie, overflow, signed zero, infinity, NaN."""
    bits = torch.randint(-(2**31), 2**31 - 1, (4096,), dtype=torch.int64).to(torch.int32)
    special = [0.0, -0.0, 65504.0, 65519.9, 65520.0, 5.96e-8, 2.98e-8, 2.9802322387695312e-08, 6.1e-5, math.inf, 1e-30]
    values = torch.cat([bits.view(torch.float32), torch.tensor(special), torch.randn(1000) * 1e-6])
    values = values[~values.isnan()]
    for dtype in (torch.bfloat16, torch.float16):
        found = Job("round", tmp_path).add(DTYPE_CODES[dtype], len(values), values).run(dtype)
        assert torch.equal(found, values.to(dtype))
    nan = Job("round", tmp_path).add(DTYPE_CODES[torch.float16], 1, torch.tensor([math.nan])).run(torch.float16)
    assert nan.isnan().all()


def motion(folder: Path, flow: Tensor, grid: tuple[int, int, int], choice: tuple[str, str, str], **options) -> Tensor:
    order, pooling, spatial = choice
    job = Job("motion_weights", folder).add(options.get("descending", False), DTYPE_CODES[flow.dtype])
    job.add(*flow.shape[:4], *grid, *flow.stride()[:3], flow.stride(4))
    job.add(CODES["order"][order], CODES["pooling"][pooling], CODES["spatial"][spatial])
    return job.add(*storage_and_offset(flow), options.get("confidence")).run().reshape(flow.shape[0], *grid)


CHOICES = [
    ("normalise_first", "causal_mean", "bilinear"),
    ("normalise_first", "causal_max", "area"),
    ("resize_first", "stride", "bilinear"),
    ("resize_first", "trilinear", "area"),
]


@pytest.mark.parametrize("choice", CHOICES, ids="-".join)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("confident", [True, False])
def test_motion_weights(choice: tuple[str, str, str], dtype: torch.dtype, confident: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    for t, height, width, grid in ((9, 24, 40, (3, 6, 10)), (5, 13, 7, (3, 5, 9)), (1, 150, 128, (1, 3, 4))):
        flow = (3 * torch.randn(2, t, height, width, 2)).to(dtype)
        confidence = torch.rand(2, t, height, width) if confident else None
        found = motion(tmp_path, flow, grid, choice, confidence=confidence)
        exact = None if confidence is None else confidence.double()
        wanted = motion_reference.motion_weights(flow.double(), exact, *grid, *choice)
        # Means of many pixels differ little, so normalising them afterwards magnifies their rounding.
        tolerance = 5e-4 if choice[0] == "resize_first" and choice[2] == "area" else 2e-5
        assert torch.allclose(found.double(), wanted, rtol=0, atol=tolerance), f"{t} x {height} x {width} to {grid}"


def test_motion_weights_of_planes_and_slices(tmp_path: Path) -> None:
    choice, grid = CHOICES[0], (3, 4, 5)
    planes = torch.randn(2, 2, 5, 12, 16).permute(0, 2, 3, 4, 1)
    sliced = torch.randn(2, 5, 20, 32, 2)[:, :, 3:15, 5:21]
    for flow in (planes, sliced):
        wanted = motion_reference.motion_weights(flow.double(), None, *grid, *choice)
        assert torch.allclose(motion(tmp_path, flow, grid, choice).double(), wanted, rtol=0, atol=2e-5)


def test_motion_weights_of_special_clips(tmp_path: Path) -> None:
    """Uniform motion gives exact zeros; a pixel that is not finite spoils its own clip alone, whatever its sign."""
    for choice in CHOICES:
        flow = torch.randn(5, 5, 40, 64, 2)
        flow[1] = torch.tensor([0.3, -1.7])
        flow[2, 3, 7, 9, 0], flow[3, 1, 1, 1, 1], flow[4, 0, 39, 63, 0] = math.nan, -math.inf, -math.nan
        found = motion(tmp_path, flow, (3, 5, 8), choice)
        assert (found[1] == 0).all(), choice
        assert found[:2].isfinite().all()
        assert found[2:].isnan().all()


def flat_job(op: str, folder: Path, z: Tensor, grad: Tensor, scale: float, *first: bool) -> Job:
    key = parameter_key(op, 5, "layer.weight")
    job = Job(op, folder).add(*first, DTYPE_CODES[grad.dtype], grad.shape[0], grad.shape[1], z.shape[1], grad.stride(0))
    return job.add(*storage_and_offset(grad), *key, scale, z)


@pytest.mark.parametrize(("n", "d", "k"), [(1, 5, 3), (5, 300, 70), (2, 2500, 300), (1, 4100, 16)])
@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
@pytest.mark.parametrize("descending", [False, True])
def test_dense(n: int, d: int, k: int, distribution: str, descending: bool, tmp_path: Path) -> None:
    for dtype in DTYPES if d == 300 else DTYPES[:1]:
        grad, z = torch.randn(n, d + 3)[:, 3:].to(dtype), torch.randn(n, k)
        job = flat_job("dense_projection", tmp_path, z, grad, 0.5, descending)
        found = job.add(distribution == "gaussian", 7).run().reshape(n, k)
        wanted, key = z.double(), parameter_key("dense_projection", 5, "layer.weight")
        dense_reference.dense_projection_into(wanted, grad.double(), distribution, *key, 7, 0.5)
        assert error(found, wanted) < 2e-6


@pytest.mark.parametrize(
    ("n", "d", "k", "nonzeros"), [(1, 5, 3, 1), (2, 9000, 70, 3), (1, 300, 512, 1), (1, 20, 13000, 7)]
)
def test_sjlt(n: int, d: int, k: int, nonzeros: int, tmp_path: Path) -> None:
    for dtype in DTYPES if d == 300 else DTYPES[:1]:
        grad, z = torch.randn(n, d).to(dtype), torch.randn(n, k)
        found = flat_job("sjlt", tmp_path, z, grad, 0.5).add(nonzeros).run().reshape(n, k)
        wanted, key = z.double(), parameter_key("sjlt", 5, "layer.weight")
        sjlt_reference.sjlt_into(wanted, grad.double(), nonzeros, *key, 0.5)
        assert error(found, wanted) < 2e-6


@pytest.mark.parametrize(
    ("n", "d", "k", "tile"), [(1, 5, 2, 2), (1, 3, 1, 1), (2, 700, 16, 64), (1, 1000, 128, 128), (1, 9000, 64, 4096)]
)
@pytest.mark.parametrize("descending", [False, True])
def test_fastfood(n: int, d: int, k: int, tile: int, descending: bool, tmp_path: Path) -> None:
    key = parameter_key("fastfood", 5, "layer.weight")
    labels = torch.from_numpy(balanced_buckets(key, 2, tile, tile)[0] % k).to(torch.int32)
    for dtype in DTYPES if d == 700 else DTYPES[:1]:
        grad, z = torch.randn(n, d).to(dtype), torch.randn(n, k)
        found = flat_job("fastfood", tmp_path, z, grad, 0.5, descending).add(tile, labels).run().reshape(n, k)
        wanted = z.double()
        fastfood_reference.fastfood_into(wanted, grad.double(), labels, *key, 0.5)
        assert error(found, wanted) < 2e-6
