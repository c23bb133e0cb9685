"""The diffusion side: the loss is the paper's, and vectors equal the loop oracle, whatever the batching."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

import motive_kernels as mk
from motive.adapters.base import Adapter
from motive.adapters.toy import ToyAdapter, toy_transformer
from motive.gradients.clips import Batch, ClipGradients, EncodedClip, motion_weighted_losses
from motive.gradients.draws import DrawConfig, shared_noise
from motive_kernels.capture.loop import per_sample_gradients

SHAPE = (28, 2, 4, 4)
DRAWS = DrawConfig("uniform", count=3, combine="mean")


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
    adapter: Adapter, transformer: nn.Module, draws: DrawConfig = DRAWS, micro_batch_draws: int = 1
) -> ClipGradients:
    shapes = {f"transformer.{name}": p.shape for name, p in transformer.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=64), shapes)
    return ClipGradients(adapter, transformer, projector, draws, micro_batch_draws=micro_batch_draws)


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
            torch.testing.assert_close(losses[0, j, 0], error.mean() / SHAPE[1], rtol=1e-4, atol=1e-6)


def test_vectors_equal_the_oracle_and_do_not_depend_on_batching(adapter: Adapter, transformer: nn.Module) -> None:
    three = clips(3)
    whole = gradients(adapter, transformer, micro_batch_draws=3)
    together = whole(three)
    one_by_one = [gradients(adapter, transformer)([clip])[0] for clip in three]
    chosen = {f"transformer.{name}": p for name, p in transformer.named_parameters()}
    sigma = torch.tensor(DRAWS.sigmas())
    noise = torch.stack([shared_noise(0, j, SHAPE) for j in range(3)])
    for clip, batched, single in zip(three, together, one_by_one, strict=True):
        batch = Batch.of([clip], torch.device("cpu"))
        exact = per_sample_gradients(
            transformer,
            lambda b=batch: motion_weighted_losses(adapter, transformer, b, sigma, noise).mean((1, 2)),
            chosen,
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


def test_a_pass_that_saw_other_latent_shapes_gives_the_same_bits(adapter: Adapter, transformer: nn.Module) -> None:
    """The plan is proved on the first shape; vectors of a bucket must not depend on which one that was."""
    shapes = [(28, 2, 4, 4), (28, 3, 4, 6), (28, 1, 6, 2)]
    generator = torch.Generator().manual_seed(3)
    (first,) = clips(1)
    each = [
        EncodedClip(
            torch.randn(shape, generator=generator), torch.rand(shape[1:], generator=generator), first.conditioning
        )
        for shape in shapes
    ]
    draws = DrawConfig("uniform", count=2)
    together = gradients(adapter, transformer, draws)
    seen = [together([clip])[0].vector for clip in (*each, *reversed(each))]
    for clip, *found in zip(each, seen[:3], reversed(seen[3:]), strict=True):
        alone = gradients(adapter, transformer, draws)([clip])[0].vector
        assert all(torch.equal(alone, vector) for vector in found)


def test_wan_layers_all_have_a_token_rule(adapter: Adapter, transformer: nn.Module) -> None:
    assert "stream" not in gradients(adapter, transformer).routes.values()


@pytest.fixture(scope="module")
def single_draws(adapter: Adapter, transformer: nn.Module) -> list[list[torch.Tensor]]:
    """[clip][draw] the vector of each of clips(2) by each of DRAWS alone."""
    draws = [
        gradients(adapter, transformer, DrawConfig("single", sigma=sigma, combine="mean"), 1)
        for sigma in DRAWS.sigmas()
    ]
    for j, draw in enumerate(draws):
        draw._noise_of = lambda seed, _, shape, j=j: shared_noise(seed, j, shape)
    return [[draw([clip])[0].vector for draw in draws] for clip in clips(2)]


@pytest.mark.parametrize("micro_batch_draws", [1, 2, 3])
@pytest.mark.parametrize("combine", ["normalized-mean", "concat"])
def test_unit_draws_count_by_direction_alone(
    adapter: Adapter,
    transformer: nn.Module,
    single_draws: list[list[torch.Tensor]],
    combine: Literal["normalized-mean", "concat"],
    micro_batch_draws: int,
) -> None:
    got = gradients(adapter, transformer, DrawConfig("uniform", count=3, combine=combine), micro_batch_draws)(clips(2))
    for single, vector in zip(single_draws, got, strict=True):
        units = torch.stack([z / z.norm() for z in single])
        expected = units.mean(0) if combine == "normalized-mean" else units.flatten() / 3**0.5
        assert (vector.vector - expected).norm() < 1e-4 * expected.norm()
        assert vector.norm == pytest.approx(float((sum(single) / 3).norm()), rel=1e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize("combine", ["mean", "concat"])
def test_parts_of_the_model_lie_side_by_side(
    adapter: Adapter, transformer: nn.Module, combine: Literal["mean", "concat"]
) -> None:
    """Each at the share that it has in the whole gradient; also for segments."""
    from motive.gradients.segments import time_windows

    names = [f"transformer.{name}" for name, _ in transformer.named_parameters()]
    parts = {"blocks": [n for n in names if ".blocks." in n], "rest": [n for n in names if ".blocks." not in n]}
    shapes = {f"transformer.{name}": p.shape for name, p in transformer.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=64), shapes)
    draws = DrawConfig("uniform", count=3, combine=combine)
    take = ClipGradients(adapter, transformer, projector, draws, parts=parts, micro_batch_draws=3)
    (clip,) = clips(1)
    whole = take([clip])[0]
    exact = {}
    for part, own in parts.items():
        alone = mk.Projector(mk.ProjectionSpec(dim=64), {name: shapes[name] for name in own})
        exact[part] = ClipGradients(adapter, transformer, alone, draws, micro_batch_draws=3).each_draw([clip])[0]
    raw = torch.stack(list(exact.values()), 1)  # [draws, parts, k]
    units = raw / raw.flatten(1).norm(dim=1)[:, None, None]
    expected = raw.sum(0).flatten() if combine == "mean" else units.transpose(0, 1).flatten() / 3**0.5
    assert (whole.vector - expected).norm() < 1e-4 * expected.norm()
    cut = take([EncodedClip(clip.latents, clip.weights, clip.conditioning, time_windows(2, SHAPE[1:]))])[0]
    together = torch.stack([part.vector for part in cut.segments.values()]).sum(0)
    assert (together - expected).norm() < 1e-4 * expected.norm()


def test_cosine_of_separate_draws_is_the_mean_of_their_cosines(adapter: Adapter, transformer: nn.Module) -> None:
    first, second = gradients(adapter, transformer, DrawConfig("uniform", count=3, combine="concat"), 3)(clips(2))
    assert first.vector.shape == (3 * 64,)
    a, b = first.vector.reshape(3, 64), second.vector.reshape(3, 64)
    cosines = torch.nn.functional.cosine_similarity(a, b, dim=1)
    torch.testing.assert_close(first.vector @ second.vector, cosines.mean(), rtol=1e-4, atol=1e-6)


def test_a_clip_without_motion_stays_zero_when_draws_are_normalised(adapter: Adapter, transformer: nn.Module) -> None:
    moving, still = clips(2)
    still = EncodedClip(still.latents, torch.zeros_like(still.weights), still.conditioning)
    normalised = DrawConfig("uniform", count=3, combine="normalized-mean")
    vectors = gradients(adapter, transformer, normalised, 3)([moving, still])
    assert vectors[0].vector.any()
    assert torch.equal(vectors[1].vector, torch.zeros(64))
