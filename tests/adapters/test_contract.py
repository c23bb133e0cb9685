"""The adapter contract, run over every adapter, and the numbers of each family."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch

from motive.adapters import load_adapter
from motive.data import ClipSpec
from motive.errors import ModelError, OptionError
from motive.testing import AdapterCase, AdapterContract
from tests.tiny_pipelines import FAMILIES, shorten_captions


@pytest.fixture(scope="module", params=["toy", "wan", *FAMILIES])
def case(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> AdapterCase:
    if request.param == "toy":
        return AdapterCase.of(load_adapter("toy"))
    adapter = load_adapter(tiny_folder(request.param))
    shorten_captions(adapter)
    height, width = (64, 96) if request.param == "wan22" else (32, 48)
    frames = 7 if request.param == "mochi" else 9  # 6 n + 1
    return AdapterCase.of(adapter, replace(adapter.clip_spec, frames=frames, height=height, width=width))


class TestAdapters(AdapterContract):
    def without_gradient(self, case: AdapterCase, name: str) -> bool:
        """Mochi's last block takes no queries from the text; no caption here has a quotation for HunyuanVideo 1.5."""
        unused = {"mochi": ("norm_added_q.weight", "add_q_proj.weight"), "hunyuan15": ("context_embedder_2.",)}
        here = any(part in name for part in unused.get(case.adapter.family, ()))
        return here or super().without_gradient(case, name)

    def test_what_is_said_to_have_no_gradient_has_none(self, case: AdapterCase) -> None:
        named = {n: p for n, p in case.transformer.named_parameters() if not case.adapter.has_gradient(n)}
        assert bool(named) == (case.adapter.family in ("hunyuan15", "ltx2"))
        loss = case.predict([0, 1], [0.3, 0.8]).square().mean()
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True) if named else ()
        assert not any(gradient is not None and gradient.any() for gradient in found)

    def test_latent_frames_hold_equally_many_frames(self, case: AdapterCase) -> None:
        _, depth, _, _ = case.adapter.latent_shape(case.adapter.clip_spec)
        assert (case.adapter.clip_spec.frames + 3) % (depth - 1) in (0, 4 % (depth - 1))

    def test_a_size_that_does_not_divide_is_refused_with_a_size_that_does(self, case: AdapterCase) -> None:
        with pytest.raises(OptionError, match=r"use \d+ x \d+") as refused:
            case.adapter.latent_shape(replace(case.clip_spec, height=83, width=49))
        height, width = re.findall(r"use (\d+) x (\d+)", str(refused.value))[0]
        _, _, h, w = case.adapter.latent_shape(replace(case.clip_spec, height=int(height), width=int(width)))
        assert 0 < h <= 83
        assert 0 < w <= 49

    def test_a_number_of_frames_that_does_not_divide_is_refused_with_one_that_does(self, case: AdapterCase) -> None:
        with pytest.raises(OptionError, match=r"frames must be \d+ n \+ 1, got 34; use \d+") as refused:
            case.adapter.latent_shape(replace(case.clip_spec, frames=34))
        frames = int(re.findall(r"use (\d+)", str(refused.value))[0])
        assert 25 <= frames <= 33
        case.adapter.latent_shape(replace(case.clip_spec, frames=frames))

    def test_noise_and_target_are_those_of_the_family(self, case: AdapterCase) -> None:
        """Rectified flow, with the velocity towards the data in Mochi; v of a variance-preserving process in CogVideoX."""
        sigma = torch.tensor([0.25, 0.5, 0.751])
        noise = torch.randn(case.latents.shape, generator=torch.Generator().manual_seed(3))
        noisy, target = case.adapter.add_noise(case.latents, noise, sigma)
        if case.adapter.family == "cogvideox":
            steps = (1000 * sigma).round().long()
            alphas = diffusers.CogVideoXDDIMScheduler(
                prediction_type="v_prediction", snr_shift_scale=3.0
            ).alphas_cumprod
            for row, a in enumerate(alphas[steps].tolist()):
                torch.testing.assert_close(noisy[row], a**0.5 * case.latents[row] + (1 - a) ** 0.5 * noise[row])
                torch.testing.assert_close(target[row], a**0.5 * noise[row] - (1 - a) ** 0.5 * case.latents[row])
            return
        for row, s in enumerate(sigma.tolist()):
            torch.testing.assert_close(noisy[row], (1 - s) * case.latents[row] + s * noise[row])
        towards_noise = -1 if case.adapter.family == "mochi" else 1
        torch.testing.assert_close(target, towards_noise * (noise - case.latents))

    def test_fingerprints_name_every_component(self, case: AdapterCase) -> None:
        assert set(case.adapter.fingerprints()) == {"transformer", "vae", "text_encoder"}

    def test_the_noise_levels_of_training_are_those_of_the_scheduler(self, case: AdapterCase) -> None:
        shift = {"wan": 3.0, "wan-vace": 3.0, "hunyuan": 7.0, "hunyuan15": 7.0}.get(case.adapter.family, 1.0)
        shift = 5.0 if case.adapter.clip_spec.fps == 24 and case.adapter.family == "wan" else shift
        noise = case.adapter.training_noise(case.adapter.latent_shape(case.clip_spec))
        assert noise.strategy == ("uniform" if case.adapter.family == "cogvideox" else "logit_normal")
        assert noise.shift == shift

    def test_a_video_encoder_works_again_after_a_failure_inside(self, case: AdapterCase) -> None:
        if case.adapter.family not in ("toy", "wan", "hunyuan"):  # the others share what Wan does
            return
        with pytest.raises(KeyError), case.adapter.video_encoder():
            raise KeyError


@pytest.mark.parametrize("path", ["missing", "folder"])
def test_another_family_cannot_be_read_from_a_folder_without_a_model(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="load_adapter: model must be"):
        load_adapter(tmp_path / path)


def test_a_stride_of_six_takes_lengths_that_a_stride_of_four_does_not(tiny_folder: Callable[[str], Path]) -> None:
    """31 frames are valid for Mochi and invalid for Wan."""
    assert load_adapter(tiny_folder("mochi")).latent_shape(ClipSpec(frames=31, height=32, width=48))[1] == 6
    with pytest.raises(OptionError, match="frames must be 4 n"):
        load_adapter(tiny_folder("wan")).latent_shape(ClipSpec(frames=31, height=32, width=48))
