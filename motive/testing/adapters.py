"""Contract suite of model adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from motive.adapters import Adapter, Conditioning, batch_conditioning
from motive.data.video.clip_spec import ClipSpec
from motive.errors import OptionError

CAPTIONS = ("a red disc before a grey wall", "", "the blue square &amp; a floor in soft   light")


@dataclass
class AdapterCase:
    """An adapter with three encoded clips and its transformer.

    Attributes:
        adapter: the adapter under test, with weights small enough for a CPU.
        clip_spec: of the clips; ``AdapterCase.of`` fills in the rest.
        latents: [3, c, F, h, w].
        conditioning: of CAPTIONS, and of the frames where the model sees more than text.
        transformer: of the first expert.
        text: the conditioning of CAPTIONS alone.
    """

    adapter: Adapter
    clip_spec: ClipSpec
    latents: Tensor
    conditioning: list[Conditioning]
    transformer: nn.Module
    text: list[Conditioning]

    @classmethod
    def of(cls, adapter: Adapter, clip_spec: ClipSpec | None = None) -> AdapterCase:
        """Encode three clips and captions, and load the transformer."""
        clip_spec = clip_spec or adapter.clip_spec
        with adapter.clip_encoder() as encode:
            clips = [encode(moving_square(clip_spec, seed)) for seed in range(3)]
        with adapter.text_encoder() as encode_text:
            text = encode_text(CAPTIONS)
        latents = torch.stack([clip.pop("latents") for clip in clips])
        conditioning: list[Conditioning] = [{**words, **clip} for words, clip in zip(text, clips, strict=True)]
        return cls(adapter, clip_spec, latents, conditioning, adapter.load_transformer(adapter.experts[0]), text)

    def predict(self, rows: Sequence[int], sigmas: Sequence[float], transformer: nn.Module | None = None) -> Tensor:
        """The model's prediction for some of the clips, with one noise for all."""
        sigma, clean = torch.tensor(sigmas), self.latents[list(rows)]
        noise = torch.randn(self.latents.shape[1:], generator=torch.Generator().manual_seed(0)).expand_as(clean)
        batch = batch_conditioning([self.conditioning[row] for row in rows])
        noisy = self.adapter.add_noise(clean, noise, sigma)[0]
        return self.adapter.predict(transformer or self.transformer, noisy, sigma, batch)


def moving_square(clip_spec: ClipSpec, seed: int) -> Tensor:
    """A square that moves over noise, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    video = np.tile(
        rng.integers(0, 80, (1, clip_spec.height, clip_spec.width, 3), np.uint8), (clip_spec.frames, 1, 1, 1)
    )
    for t in range(clip_spec.frames):
        x = (3 * seed + 2 * t) % (clip_spec.width - 8)
        video[t, 8:16, x : x + 8] = 250
    return torch.from_numpy(video)


class AdapterContract:
    """Tests of an adapter. Subclass with the name ``Test...`` and define, in the test file, a fixture ``case`` that gives
    an AdapterCase; with scope="module" the model is loaded once."""

    def without_gradient(self, case: AdapterCase, name: str) -> bool:
        """Whether a parameter is known to have no gradient in this family, or for these clips and captions."""
        return not case.adapter.has_gradient(name)

    def test_latents_have_the_promised_shape_and_dtype(self, case: AdapterCase) -> None:
        assert tuple(case.latents.shape[1:]) == case.adapter.latent_shape(case.clip_spec)
        assert case.latents.dtype == torch.float32
        assert torch.isfinite(case.latents).all()
        assert not torch.equal(case.latents[0], case.latents[1]), "two clips gave the same latents"

    def test_latent_shape_fits_the_adapters_own_clip_spec(self, case: AdapterCase) -> None:
        channels, depth, height, width = case.adapter.latent_shape(case.adapter.clip_spec)
        space = case.clip_spec.height // case.latents.shape[3]
        assert channels == case.latents.shape[1]
        assert case.latents.shape[2] > 1, "the case must have several latent frames, or their spacing is not tested"
        spacing = (case.clip_spec.frames - 1) // (case.latents.shape[2] - 1)
        assert depth == 1 + (case.adapter.clip_spec.frames - 1) // spacing, "latent frames hold equally many frames"
        assert (height * space, width * space) == (case.adapter.clip_spec.height, case.adapter.clip_spec.width)

    def test_one_transformer_serves_several_latent_shapes(self, case: AdapterCase) -> None:
        """Clips of several buckets go through one loaded model."""
        high = replace(case.clip_spec, height=2 * case.clip_spec.height)
        for clip_spec in (high, case.clip_spec):
            with case.adapter.clip_encoder() as encode:
                encoded = dict(encode(moving_square(clip_spec, 1)))
            clean = encoded.pop("latents")[None]
            assert tuple(clean.shape[1:]) == case.adapter.latent_shape(clip_spec)
            sigma = torch.tensor([0.5])
            seen = batch_conditioning([{**case.conditioning[0], **encoded}])
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            noisy = case.adapter.add_noise(clean, noise, sigma)[0]
            with torch.no_grad():
                prediction = case.adapter.predict(case.transformer, noisy, sigma, seen)
            assert prediction.shape == clean.shape
            assert torch.isfinite(prediction).all()

    def test_a_size_that_does_not_divide_is_refused(self, case: AdapterCase) -> None:
        with pytest.raises(OptionError):
            case.adapter.latent_shape(replace(case.clip_spec, height=83, width=49))

    def test_video_encoding_repeats_and_keeps_its_input(self, case: AdapterCase) -> None:
        clip = moving_square(case.clip_spec, 1)
        before = clip.clone()
        with case.adapter.video_encoder() as encode:
            again = encode(clip)
        assert torch.equal(again, case.latents[1])
        assert torch.equal(clip, before)

    def test_video_encoding_does_not_depend_on_the_clip_before(self, case: AdapterCase) -> None:
        with case.adapter.video_encoder() as encode:
            alone = encode(moving_square(case.clip_spec, 2))
        assert torch.equal(alone, case.latents[2])

    def test_text_encoding_does_not_depend_on_batch_mates(self, case: AdapterCase) -> None:
        with case.adapter.text_encoder() as encode:
            alone = [encode([caption])[0] for caption in CAPTIONS]
            none = encode([])
        assert none == []
        for caption, single, batched in zip(CAPTIONS, alone, case.text, strict=True):
            assert single.keys() == batched.keys()
            for name in single:
                torch.testing.assert_close(single[name], batched[name], rtol=1e-4, atol=1e-5, msg=f"{caption!r} {name}")

    def test_captions_that_differ_have_different_conditioning(self, case: AdapterCase) -> None:
        first, other = case.text[0], case.text[2]
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_noise_is_added_row_by_row(self, case: AdapterCase) -> None:
        sigma = torch.tensor([0.25, 0.5, 0.751])
        noise = torch.randn(case.latents.shape, generator=torch.Generator().manual_seed(3))
        noisy, target = case.adapter.add_noise(case.latents, noise, sigma)
        assert noisy.shape == target.shape == case.latents.shape
        for row in range(3):
            one = slice(row, row + 1)
            alone, alone_target = case.adapter.add_noise(case.latents[one], noise[one], sigma[one])
            torch.testing.assert_close(noisy[one], alone)
            torch.testing.assert_close(target[one], alone_target)

    def test_prediction_has_the_latents_shape_and_repeats(self, case: AdapterCase) -> None:
        with torch.no_grad():
            first, second = (case.predict([0, 1, 2], [0.1, 0.5, 0.9]) for _ in range(2))
        assert first.shape == case.latents.shape
        assert first.dtype == torch.float32
        assert torch.equal(first, second)

    def test_each_row_of_a_batch_has_its_own_sigma_and_conditioning(self, case: AdapterCase) -> None:
        rows, sigmas = [2, 0, 2], [0.9, 0.3, 0.1]
        with torch.no_grad():
            batch = case.predict(rows, sigmas)
            for i in range(3):
                alone = case.predict(rows[i : i + 1], sigmas[i : i + 1])[0]
                torch.testing.assert_close(batch[i], alone, rtol=1e-4, atol=1e-4, msg=f"row {i} depends on its batch")
        assert not torch.allclose(batch[0], batch[2]), "sigma changes nothing"

    def test_the_conditioning_reaches_the_prediction(self, case: AdapterCase) -> None:
        adapter, sigma = case.adapter, torch.tensor([0.5])
        with torch.no_grad():
            a, b = (
                adapter.predict(case.transformer, case.latents[:1], sigma, batch_conditioning([case.conditioning[i]]))
                for i in (0, 2)
            )
        assert not torch.equal(a, b)

    def test_every_parameter_requires_and_gets_a_gradient(self, case: AdapterCase) -> None:
        parameters = dict(case.transformer.named_parameters())
        assert all(p.requires_grad for p in parameters.values())
        assert not case.transformer.training
        loss = case.predict([0, 1], [0.3, 0.8]).square().mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        without = [name for name, g in zip(parameters, gradients, strict=True) if g is None or not g.any()]
        without = [name for name in without if not self.without_gradient(case, name)]
        assert not without, f"parameters without a gradient: {without}"

    def test_checkpointing_keeps_gradients_and_is_not_reentrant(
        self, case: AdapterCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reentrant checkpoint runs its layers where no hook sees them."""
        model = case.adapter.load_transformer(case.adapter.experts[0])
        parameters = list(model.parameters())
        plain = torch.autograd.grad(
            case.predict([0, 1], [0.3, 0.8], model).square().mean(), parameters, allow_unused=True
        )
        try:
            case.adapter.enable_checkpointing(model)
        except OptionError:
            return  # a model may have none
        monkeypatch.setattr(CheckpointFunction, "apply", _reentrant)
        kept = torch.autograd.grad(
            case.predict([0, 1], [0.3, 0.8], model).square().mean(), parameters, allow_unused=True
        )
        for one, other in zip(plain, kept, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other)

    def test_parameter_shapes_need_no_weights_and_are_those_of_the_model(self, case: AdapterCase) -> None:
        shapes = case.adapter.parameter_shapes(case.adapter.experts[0])
        assert dict(shapes) == {name: tuple(p.shape) for name, p in case.transformer.named_parameters()}

    def test_predicting_leaves_the_model_unchanged(self, case: AdapterCase) -> None:
        before = _digest(case.transformer)
        case.predict([1], [0.5]).sum().backward()
        case.transformer.zero_grad(set_to_none=True)
        assert _digest(case.transformer) == before

    def test_loading_twice_gives_the_same_weights(self, case: AdapterCase) -> None:
        again = case.adapter.load_transformer(case.adapter.experts[0])
        assert _digest(again) == _digest(case.transformer)

    def test_fingerprints_repeat_and_settings_are_plain(self, case: AdapterCase) -> None:
        prints = case.adapter.fingerprints()
        assert "transformer" in prints
        assert all(len(value) >= 32 and int(value, 16) >= 0 for value in prints.values())
        assert prints == case.adapter.fingerprints()
        assert all(isinstance(value, (str, int, float, bool)) for value in case.adapter.settings().values())

    def test_noise_levels_are_covered_by_the_experts(self, case: AdapterCase) -> None:
        experts = sorted(case.adapter.experts, key=lambda e: e.sigma_min)
        assert experts[0].sigma_min == 0
        assert experts[-1].sigma_max == 1
        assert all(a.sigma_max == b.sigma_min for a, b in pairwise(experts))

    def test_encoders_work_again_after_a_failure_inside(self, case: AdapterCase) -> None:
        with pytest.raises(KeyError), case.adapter.text_encoder():
            raise KeyError
        with case.adapter.text_encoder() as encode:
            assert len(encode(["a"])) == 1


def _reentrant(*args: Any) -> Any:
    pytest.fail("the adapter enabled reentrant checkpoints")


def _digest(module: nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode() + value.float().numpy().tobytes())
    return state.hexdigest()
