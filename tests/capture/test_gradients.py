"""The diffusion side: the loss is the paper's, and vectors equal the loop oracle, whatever the batching."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import motive_kernels as mk
from motive.adapters.base import Adapter
from motive.adapters.toy import ToyAdapter, toy_transformer
from motive.capture.draws import DrawConfig, shared_noise
from motive.capture.gradients import Batch, ClipGradients, EncodedClip, motion_weighted_losses
from motive_kernels.capture.loop import per_sample_gradients

SHAPE = (28, 2, 4, 4)
DRAWS = DrawConfig("uniform", count=3)


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return ToyAdapter()


@pytest.fixture(scope="module")
def transformer() -> nn.Module:
    model = toy_transformer(0).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():  # A fresh model ends in zeros, which would hide most gradients.
        nn.init.normal_(parameter, std=0.1)
    return model


def clips(n: int) -> list[EncodedClip]:
    generator = torch.Generator().manual_seed(n)
    return [
        EncodedClip(
            torch.randn(SHAPE, generator=generator),
            torch.rand(SHAPE[1:], generator=generator),
            {"text": torch.randn(32, 64, generator=generator)},
        )
        for _ in range(n)
    ]


def gradients(
    adapter: Adapter, transformer: nn.Module, draws: DrawConfig = DRAWS, draws_per_pass: int = 1
) -> ClipGradients:
    shapes = {f"transformer.{name}": p.shape for name, p in transformer.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=64), shapes)
    return ClipGradients(adapter, transformer, projector, draws, SHAPE, draws_per_pass=draws_per_pass)


def test_loss_is_the_papers(adapter: Adapter, transformer: nn.Module) -> None:
    """L = (1 / F) mean over c, f, h, w of W (prediction - (eps - z))^2 at x = (1 - sigma) z + sigma eps."""
    (clip,) = clips(1)
    sigma, noise = torch.tensor([0.25, 0.751]), torch.stack([shared_noise(0, j, SHAPE) for j in range(2)])
    with torch.no_grad():
        losses = motion_weighted_losses(adapter, transformer, Batch.of([clip], torch.device("cpu")), sigma, noise)
        for j in range(2):
            noisy = (1 - sigma[j]) * clip.latents + sigma[j] * noise[j]
            predicted = transformer(noisy[None], 1000 * sigma[j : j + 1], clip.conditioning["text"][None]).sample[0]
            error = clip.weights * (predicted - (noise[j] - clip.latents)).square()
            torch.testing.assert_close(losses[0, j], error.mean() / SHAPE[1], rtol=1e-4, atol=1e-6)


def test_vectors_equal_the_oracle_and_do_not_depend_on_batching(adapter: Adapter, transformer: nn.Module) -> None:
    three = clips(3)
    whole = gradients(adapter, transformer, draws_per_pass=3)
    together = whole(three)
    one_by_one = [gradients(adapter, transformer)([clip])[0] for clip in three]
    chosen = {f"transformer.{name}": p for name, p in transformer.named_parameters()}
    sigma = torch.tensor(DRAWS.sigmas())
    noise = torch.stack([shared_noise(0, j, SHAPE) for j in range(3)])
    for clip, batched, single in zip(three, together, one_by_one, strict=True):
        batch = Batch.of([clip], torch.device("cpu"))
        exact = per_sample_gradients(
            transformer, lambda b=batch: motion_weighted_losses(adapter, transformer, b, sigma, noise).mean(1), chosen
        )
        expected = whole._projector.project(exact, impl="torch")[0]
        scale = expected.norm()
        assert (batched.vector - expected).norm() < 1e-4 * scale
        assert (single.vector - expected).norm() < 1e-4 * scale
        assert batched.loss == pytest.approx(single.loss, rel=1e-4)


def test_weights_scale_the_vector(adapter: Adapter, transformer: nn.Module) -> None:
    (clip,) = clips(1)
    half = EncodedClip(clip.latents, clip.weights / 2, clip.conditioning)
    full, halved = gradients(adapter, transformer)([clip]), gradients(adapter, transformer)([half])
    torch.testing.assert_close(2 * halved[0].vector, full[0].vector, rtol=1e-3, atol=1e-6)


def test_wan_layers_all_have_a_token_rule(adapter: Adapter, transformer: nn.Module) -> None:
    assert gradients(adapter, transformer).route == "token"


@pytest.mark.parametrize("draws_per_pass", [1, 2, 3])
def test_normalised_draws_count_by_direction_alone(
    adapter: Adapter, transformer: nn.Module, draws_per_pass: int
) -> None:
    two = clips(2)
    normalised = DrawConfig("uniform", count=3, per_draw="normalised")
    got = gradients(adapter, transformer, normalised, draws_per_pass)(two)
    for clip, vector in zip(two, got, strict=True):
        expected = torch.zeros(64)
        for j, sigma in enumerate(DRAWS.sigmas()):
            noise, batch = shared_noise(0, j, SHAPE)[None], Batch.of([clip], torch.device("cpu"))
            z = mk.projected_gradients(
                transformer,
                lambda b=batch, s=sigma, e=noise: motion_weighted_losses(
                    adapter, transformer, b, torch.tensor([s]), e
                ).sum(1),
                gradients(adapter, transformer)._projector,
                prefix="transformer.",
            )[0]
            expected += z / z.norm() / 3
        assert (vector.vector - expected).norm() < 1e-4 * expected.norm()


def test_a_clip_without_motion_stays_zero_when_draws_are_normalised(adapter: Adapter, transformer: nn.Module) -> None:
    moving, still = clips(2)
    still = EncodedClip(still.latents, torch.zeros_like(still.weights), still.conditioning)
    normalised = DrawConfig("uniform", count=3, per_draw="normalised")
    vectors = gradients(adapter, transformer, normalised, 3)([moving, still])
    assert vectors[0].vector.any()
    assert torch.equal(vectors[1].vector, torch.zeros(64))
