"""What every adapter promises, run over every adapter."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from motive.adapters import Adapter, Conditioning, batch_conditioning, load_adapter
from motive.data.video.standardise import Standard
from motive.errors import ModelError, OptionError
from tests.tiny_pipelines import FAMILIES


@dataclass
class Case:
    """An adapter with three encoded clips and its transformer."""

    adapter: Adapter
    standard: Standard
    latents: torch.Tensor
    conditioning: list[Conditioning]
    transformer: torch.nn.Module


CAPTIONS = ["a red disc before a grey wall", "", "the blue square &amp; a floor in soft   light"]


def frames(standard: Standard, seed: int) -> torch.Tensor:
    """A square that moves over noise."""
    rng = np.random.default_rng(seed)
    video = np.tile(rng.integers(0, 80, (1, standard.height, standard.width, 3), np.uint8), (standard.frames, 1, 1, 1))
    for t in range(standard.frames):
        x = (3 * seed + 2 * t) % (standard.width - 8)
        video[t, 8:16, x : x + 8] = 250
    return torch.from_numpy(video)


def build(adapter: Adapter, standard: Standard) -> Case:
    with adapter.video_encoder() as encode:
        latents = torch.stack([encode(frames(standard, seed)) for seed in range(3)])
    with adapter.text_encoder() as encode_text:
        conditioning = encode_text(CAPTIONS)
    return Case(adapter, standard, latents, conditioning, adapter.load_transformer(adapter.experts[0]))


@pytest.fixture(scope="module", params=["toy", "wan", *FAMILIES])
def case(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Case:
    if request.param == "toy":
        adapter = load_adapter("toy")
        return build(adapter, adapter.standard)
    adapter = load_adapter(tiny_folder(request.param))
    height, width = (64, 96) if request.param == "wan22" else (32, 48)
    frames = 13 if request.param == "mochi" else 9
    return build(adapter, replace(adapter.standard, frames=frames, height=height, width=width))


def predict(case: Case, rows: list[int], sigmas: list[float]) -> torch.Tensor:
    adapter, sigma = case.adapter, torch.tensor(sigmas)
    clean = case.latents[rows]
    noise = torch.randn(case.latents.shape[1:], generator=torch.Generator().manual_seed(0)).expand_as(clean)
    batch = batch_conditioning([case.conditioning[row] for row in rows])
    return adapter.predict(case.transformer, adapter.add_noise(clean, noise, sigma)[0], sigma, batch)


def digest(module: torch.nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode() + value.float().numpy().tobytes())
    return state.hexdigest()


def test_latents_have_the_promised_shape_and_dtype(case: Case) -> None:
    assert tuple(case.latents.shape[1:]) == case.adapter.latent_shape(case.standard)
    assert case.latents.dtype == torch.float32
    assert torch.isfinite(case.latents).all()
    assert not torch.equal(case.latents[0], case.latents[1]), "two clips gave the same latents"


def test_latent_shape_fits_the_adapters_own_standard(case: Case) -> None:
    channels, depth, height, width = case.adapter.latent_shape(case.adapter.standard)
    own = case.adapter.standard
    space = case.standard.height // case.latents.shape[3]
    assert channels == case.latents.shape[1]
    assert (own.frames + 3) % (depth - 1) in (0, 4 % (depth - 1)), "latent frames hold equally many frames"
    assert height * space == own.height
    assert width * space == own.width


def test_a_size_that_does_not_divide_is_refused_with_a_size_that_does(case: Case) -> None:
    with pytest.raises(OptionError, match=r"use \d+ x \d+") as refused:
        case.adapter.latent_shape(replace(case.standard, height=83, width=49))
    height, width = re.findall(r"use (\d+) x (\d+)", str(refused.value))[0]
    _, _, h, w = case.adapter.latent_shape(replace(case.standard, height=int(height), width=int(width)))
    assert 0 < h <= 83
    assert 0 < w <= 49


def test_video_encoding_repeats_and_keeps_its_input(case: Case) -> None:
    clip = frames(case.standard, 1)
    before = clip.clone()
    with case.adapter.video_encoder() as encode:
        again = encode(clip)
    assert torch.equal(again, case.latents[1])
    assert torch.equal(clip, before)


def test_video_encoding_does_not_depend_on_the_clip_before(case: Case) -> None:
    with case.adapter.video_encoder() as encode:
        alone = encode(frames(case.standard, 2))
    assert torch.equal(alone, case.latents[2])


def test_text_encoding_does_not_depend_on_batch_mates(case: Case) -> None:
    with case.adapter.text_encoder() as encode:
        alone = [encode([caption])[0] for caption in CAPTIONS]
        none = encode([])
    assert none == []
    for caption, single, batched in zip(CAPTIONS, alone, case.conditioning, strict=True):
        assert single.keys() == batched.keys()
        for name in single:
            torch.testing.assert_close(single[name], batched[name], rtol=1e-4, atol=1e-5, msg=f"{caption!r} {name}")


def test_captions_that_differ_have_different_conditioning(case: Case) -> None:
    assert not torch.equal(case.conditioning[0]["text"], case.conditioning[2]["text"])


def test_noise_and_target_are_those_of_the_family(case: Case) -> None:
    """Rectified flow, with the velocity towards the data in Mochi; v of a variance-preserving process in CogVideoX."""
    sigma = torch.tensor([0.25, 0.5, 0.751])
    noise = torch.randn(case.latents.shape, generator=torch.Generator().manual_seed(3))
    noisy, target = case.adapter.add_noise(case.latents, noise, sigma)
    if case.adapter.family == "cogvideox":
        steps = (1000 * sigma).round().long()
        alphas = diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", snr_shift_scale=3.0).alphas_cumprod
        for row, a in enumerate(alphas[steps].tolist()):
            torch.testing.assert_close(noisy[row], a**0.5 * case.latents[row] + (1 - a) ** 0.5 * noise[row])
            torch.testing.assert_close(target[row], a**0.5 * noise[row] - (1 - a) ** 0.5 * case.latents[row])
        return
    for row, s in enumerate(sigma.tolist()):
        torch.testing.assert_close(noisy[row], (1 - s) * case.latents[row] + s * noise[row])
    towards_noise = -1 if case.adapter.family == "mochi" else 1
    torch.testing.assert_close(target, towards_noise * (noise - case.latents))


def test_prediction_has_the_latents_shape_and_repeats(case: Case) -> None:
    with torch.no_grad():
        first, second = (predict(case, [0, 1, 2], [0.1, 0.5, 0.9]) for _ in range(2))
    assert first.shape == case.latents.shape
    assert first.dtype == torch.float32
    assert torch.equal(first, second)


def test_each_row_of_a_batch_has_its_own_sigma_and_conditioning(case: Case) -> None:
    rows, sigmas = [2, 0, 2], [0.9, 0.3, 0.1]
    with torch.no_grad():
        batch = predict(case, rows, sigmas)
        for i in range(3):
            alone = predict(case, rows[i : i + 1], sigmas[i : i + 1])[0]
            torch.testing.assert_close(batch[i], alone, rtol=1e-4, atol=1e-4, msg=f"row {i} depends on its batch")
    assert not torch.allclose(batch[0], batch[2]), "sigma changes nothing"


def test_the_conditioning_reaches_the_prediction(case: Case) -> None:
    adapter, sigma = case.adapter, torch.tensor([0.5])
    with torch.no_grad():
        a, b = (
            adapter.predict(case.transformer, case.latents[:1], sigma, batch_conditioning([case.conditioning[i]]))
            for i in (0, 2)
        )
    assert not torch.equal(a, b)


def test_every_parameter_requires_and_gets_a_gradient(case: Case) -> None:
    parameters = dict(case.transformer.named_parameters())
    assert all(p.requires_grad for p in parameters.values())
    assert not case.transformer.training
    loss = predict(case, [0, 1], [0.3, 0.8]).square().mean()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    without = [name for name, g in zip(parameters, gradients, strict=True) if g is None or not g.any()]
    if case.adapter.family == "mochi":  # its last block takes no queries from the text
        without = [name for name in without if not name.endswith(("norm_added_q.weight", "add_q_proj.weight"))]
    assert not without, f"parameters without a gradient: {without}"


def test_parameter_shapes_need_no_weights_and_are_those_of_the_model(case: Case) -> None:
    shapes = case.adapter.parameter_shapes(case.adapter.experts[0])
    assert dict(shapes) == {name: tuple(p.shape) for name, p in case.transformer.named_parameters()}


def test_predicting_leaves_the_model_unchanged(case: Case) -> None:
    before = digest(case.transformer)
    predict(case, [1], [0.5]).sum().backward()
    case.transformer.zero_grad(set_to_none=True)
    assert digest(case.transformer) == before


def test_loading_twice_gives_the_same_weights(case: Case) -> None:
    again = case.adapter.load_transformer(case.adapter.experts[0])
    assert digest(again) == digest(case.transformer)


def test_fingerprints_name_every_component_and_settings_are_plain(case: Case) -> None:
    prints = case.adapter.fingerprints()
    assert set(prints) == {"transformer", "vae", "text_encoder"}
    assert all(len(value) >= 32 and int(value, 16) >= 0 for value in prints.values())
    assert prints == case.adapter.fingerprints()
    assert all(isinstance(value, (str, int, float, bool)) for value in case.adapter.settings().values())


def test_the_noise_levels_of_training_are_those_of_the_scheduler(case: Case) -> None:
    shift = {"wan": 3.0, "hunyuan": 7.0}.get(case.adapter.family, 1.0)
    shift = 5.0 if case.adapter.standard.fps == 24 and case.adapter.family == "wan" else shift
    noise = case.adapter.training_noise(case.adapter.latent_shape(case.standard))
    assert noise.strategy == ("uniform" if case.adapter.family == "cogvideox" else "logit_normal")
    assert noise.shift == shift


def test_encoders_work_again_after_a_failure_inside(case: Case) -> None:
    if case.adapter.family not in ("toy", "wan", "hunyuan"):  # the others share what Wan does
        return
    with pytest.raises(KeyError), case.adapter.video_encoder():
        raise KeyError
    with pytest.raises(KeyError), case.adapter.text_encoder():
        raise KeyError
    with case.adapter.text_encoder() as encode:
        assert len(encode(["a"])) == 1


def test_noise_levels_are_covered_by_the_experts(case: Case) -> None:
    experts = sorted(case.adapter.experts, key=lambda e: e.sigma_min)
    assert experts[0].sigma_min == 0
    assert experts[-1].sigma_max == 1
    assert all(a.sigma_max == b.sigma_min for a, b in pairwise(experts))


@pytest.mark.parametrize("path", ["missing", "folder"])
def test_another_family_cannot_be_read_from_a_folder_without_a_model(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="load_adapter: model must be"):
        load_adapter(tmp_path / path)
