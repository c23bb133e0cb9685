"""The Triton kernels of motion weights, noise and loss against float64, in Triton's interpreter on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

from motive_kernels.ops.motion_weights import reference as motion_reference
from motive_kernels.ops.noise_latents import reference as noise_reference
from motive_kernels.ops.weighted_loss import reference as loss_reference
from tests.kernels import triton_interpreter

pytest.importorskip("triton", reason="the package triton is not installed")
if not triton_interpreter.interpreted():

    def test_in_the_interpreter() -> None:
        """Everything else in this file, in a separate process."""
        triton_interpreter.run_interpreted(__file__)

else:
    triton_interpreter.repair()
    from motive_kernels.ops.motion_weights import triton as motion
    from motive_kernels.ops.noise_latents import triton as noise
    from motive_kernels.ops.weighted_loss import triton as loss

    @pytest.fixture(autouse=True)
    def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
        """Small enough that small tensors, which are quick to interpret, take several blocks and bands."""
        monkeypatch.setattr(motion, "BLOCK", 32)
        monkeypatch.setattr(motion, "CELLS", 16)
        monkeypatch.setattr(motion, "BAND_PIXELS", 64)
        monkeypatch.setattr(noise, "BLOCK", 64)
        monkeypatch.setattr(loss, "BLOCK", 64)

    @pytest.mark.parametrize(
        ("order", "pooling", "spatial", "confident"),
        [
            ("normalise_first", "causal_mean", "bilinear", False),
            ("normalise_first", "causal_max", "area", True),
            ("normalise_first", "trilinear", "bilinear", True),
            ("resize_first", "stride", "bilinear", True),
            ("resize_first", "trilinear", "area", False),
        ],
    )
    def test_motion_weights(order: str, pooling: str, spatial: str, confident: bool) -> None:
        """The second clip moves uniformly and, without confidence, weighs exactly nothing."""
        for shape, grid, dtype in (
            ((2, 3, 9, 13), (2, 4, 5), torch.float32),
            ((1, 1, 1, 2), (1, 2, 3), torch.float16),
        ):
            generator = torch.Generator().manual_seed(0)
            flow = (5 * torch.randn(*shape, 2, generator=generator)).to(dtype)
            flow[1:] = torch.tensor([101.7, -33.3])
            confidence = torch.rand(*shape, generator=generator) if confident else None
            got = motion.motion_weights(flow, confidence, *grid, order, pooling, spatial)
            wide = None if confidence is None else confidence.double()
            want = motion_reference.motion_weights(flow.double(), wide, *grid, order, pooling, spatial)
            # Coordinates are float32: a weight is off by up to their rounding times the step between pixels.
            torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5)
            if confidence is None:
                assert not got[1:].any(), f"uniform motion weighs {float(got[1:].max())}"

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    def test_a_bad_pixel_is_seen_and_stays_in_its_clip() -> None:
        flow = torch.randn(2, 3, 9, 16, 2, generator=torch.Generator().manual_seed(0))
        want = motion.motion_weights(flow, None, 2, 2, 2, "resize_first", "stride", "bilinear")
        flow[1, 1, 0, 0, 1] = math.inf
        got = motion.motion_weights(flow, None, 2, 2, 2, "resize_first", "stride", "bilinear")
        assert got[1].isnan().all()
        assert torch.equal(got[0], want[0])

    def test_frames_beyond_32_bit_indices_are_refused() -> None:
        flow = torch.zeros(1, 1, 1, 1, 2).expand(1, 1, 2**15, 2**15, 2)
        with pytest.raises(ValueError, match=r"^motion_weights: H W must be less than 2\^30"):
            motion.motion_weights(flow, None, 1, 1, 1, "normalise_first", "stride", "area")

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_noise_latents(dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        for shape in ((3, 4, 33), (1, 1), (2, 5)):
            latents = torch.randn(*shape, generator=generator).to(dtype)
            sigma = torch.rand(shape[0], generator=generator)
            for samples in {1, shape[0]}:
                eps = torch.randn(samples, *shape[1:], generator=generator).to(dtype)
                got = noise.noise_latents(latents, eps, sigma)
                want = noise_reference.noise_latents(latents.double(), eps.double(), sigma.double())
                for value, exact in zip(got, want, strict=True):
                    tolerance = 2 * torch.finfo(dtype).eps
                    torch.testing.assert_close(value.double(), exact, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    @pytest.mark.parametrize("weighted", [True, False])
    def test_weighted_loss(dtype: torch.dtype, weighted: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        for shape in ((2, 3, 5, 7, 9), (1, 1, 1, 1, 1), (2, 2, 3, 4, 5)):
            prediction, target = (torch.randn(*shape, generator=generator).to(dtype) for _ in range(2))
            weights = torch.rand(shape[0], *shape[2:], generator=generator) if weighted else None
            got = loss.weighted_loss(prediction, target, weights, 256.0)
            wide = None if weights is None else weights.double()
            want = loss_reference.weighted_loss(prediction.double(), target.double(), wide, 256.0)
            torch.testing.assert_close(got[0].double(), want[0], rtol=1e-5, atol=0)
            tolerance = 2 * torch.finfo(dtype).eps
            torch.testing.assert_close(
                got[1].double(), want[1], rtol=tolerance, atol=tolerance * float(want[1].abs().max())
            )
