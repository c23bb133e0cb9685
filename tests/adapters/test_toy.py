"""The fixed transform and the word vectors behind the built-in model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from motive.adapters import load_adapter
from motive.adapters.base import Expert
from motive.adapters.toy import CHECKPOINT, KEPT, STD, TEXT_DIM, TEXT_LENGTH, PatchTransform, embed_words
from motive.errors import ClipError, ModelError, OptionError


@pytest.fixture(scope="module")
def transform() -> PatchTransform:
    return PatchTransform()


def clip(frames: int = 9, height: int = 24, width: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8))


def test_the_basis_is_orthonormal(transform: PatchTransform) -> None:
    gram = transform.basis.double() @ transform.basis.double().T
    torch.testing.assert_close(gram, torch.eye(len(KEPT), dtype=torch.float64), rtol=0, atol=1e-6)
    assert len(STD) == len(KEPT) == len(set(KEPT))


def test_encoding_a_decoded_latent_gives_it_back(transform: PatchTransform) -> None:
    latents = torch.randn(len(KEPT), 3, 2, 4, generator=torch.Generator().manual_seed(0))
    still = torch.tensor([t == 0 for t, *_ in KEPT])
    latents[~still, 0] = 0  # the first latent frame stands for one frame, so it is constant in time
    video = transform.decode(latents)
    assert video.shape == (9, 16, 32, 3)
    again = transform.encode(((video + 1) * 127.5).clone())
    torch.testing.assert_close(again, latents, rtol=1e-4, atol=1e-4)


def test_a_plain_colour_has_only_the_lowest_coefficients(transform: PatchTransform) -> None:
    video = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(5, 16, 16, 3)
    values = transform.coefficients(video)
    lowest = torch.tensor([kept[:3] == (0, 0, 0) for kept in KEPT])
    assert values[~lowest].abs().max() < 1e-4
    norm = torch.tensor(4.0 * 8 * 8).sqrt()  # of a patch; red is (1, -1, -1)
    torch.testing.assert_close(values[0, 0, 0, 0], -norm / 3**0.5, rtol=1e-5, atol=1e-5)


def test_the_transform_keeps_the_energy_of_what_it_keeps(transform: PatchTransform) -> None:
    values = transform.coefficients(clip())
    again = transform.coefficients((transform.decode(values / transform.std.view(-1, 1, 1, 1)) + 1) * 127.5)
    torch.testing.assert_close(again[:, 1:], values[:, 1:], rtol=1e-4, atol=1e-3)


def test_the_first_latent_frame_sees_only_the_first_frame_and_the_rest_only_their_group(
    transform: PatchTransform,
) -> None:
    video = clip()
    base = transform.encode(video)
    for frame, group in ((0, 0), (1, 1), (4, 1), (5, 2), (8, 2)):
        changed = video.clone()
        changed[frame] = 255 - changed[frame]
        moved = (transform.encode(changed) != base).flatten(2).any(2).any(0)
        assert moved.nonzero().flatten().tolist() == [group], f"frame {frame} must reach latent frame {group} alone"


def test_a_still_clip_has_no_temporal_coefficients(transform: PatchTransform) -> None:
    still = clip(1).expand(9, -1, -1, -1)
    values = transform.coefficients(still)
    moving = torch.tensor([t > 0 for t, *_ in KEPT])
    assert values[moving].abs().max() < 1e-3
    assert values[~moving].abs().max() > 1


def test_procedural_latents_have_about_unit_variance() -> None:
    from motive.toy.pool import training_clips
    from motive.toy.render import MOTIONS

    clips = training_clips(60, 9, MOTIONS, size=80, frames=17, fps=12)
    spread = torch.stack([PatchTransform().encode(torch.from_numpy(c.frames)) for c in clips]).std((0, 2, 3, 4))
    assert ((spread > 0.6) & (spread < 1.5)).all(), f"standard deviations {spread.tolist()}"


@pytest.mark.parametrize("shape", [(8, 16, 16), (9, 12, 16), (9, 16, 20)])
def test_frames_that_do_not_divide_are_a_clip_error(shape: tuple[int, int, int]) -> None:
    with load_adapter("toy").video_encoder() as encode, pytest.raises(ClipError, match="shape: "):
        encode(clip(*shape))


def test_words_are_hashed_the_same_everywhere() -> None:
    one = embed_words("Red, disc")
    assert one.shape == (TEXT_LENGTH, TEXT_DIM)
    assert torch.equal(one, embed_words("red disc"))
    assert not one[2:].any()
    digest = hashlib.sha256(one.numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == WORDS_DIGEST, "the word vectors changed: the checkpoint must be trained again"
    assert 0.8 < embed_words(" ".join(f"word{i}" for i in range(TEXT_LENGTH))).std() < 1.2


WORDS_DIGEST = "f6f6310b3576d53715ba2309d42588dff8a6ad3c5aa8fdf3ea83c85d81e6289e"


def test_long_and_odd_captions_fit() -> None:
    assert embed_words("word " * 100)[-1].any()
    assert not embed_words(" ,.\x00 \n").any()
    assert embed_words("Ärger 跳").shape == (TEXT_LENGTH, TEXT_DIM)


def test_the_packaged_checkpoint_is_small_and_filled() -> None:
    files = sorted(CHECKPOINT.iterdir())
    assert {"config.json", "diffusion_pytorch_model.safetensors", "training.json"} <= {f.name for f in files}
    assert sum(f.stat().st_size for f in files) < 5_000_000
    model = load_adapter("toy").load_transformer(Expert())
    assert 800_000 < sum(p.numel() for p in model.parameters()) <= 1_300_000
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_packaged_checkpoint_predicts_better_than_nothing() -> None:
    """Predicting zero has a loss of about 2 (unit noise and unit latents); an untrained model is no better."""
    from motive.toy.train import encode_training_clips

    adapter = load_adapter("toy")
    latents, conditioning = encode_training_clips(adapter, 22, seed=77)
    sigma = torch.linspace(0.1, 0.9, 22)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    model = adapter.load_transformer(Expert())
    with torch.no_grad():
        noisy, target = adapter.add_noise(latents, noise, sigma)
        prediction = adapter.predict(model, noisy, sigma, conditioning)
    loss = (prediction - target).square().mean().item()
    assert loss < 1.0, f"loss {loss:.3f}"


def test_a_missing_checkpoint_names_the_folder(tmp_path: Path) -> None:
    adapter = load_adapter("toy", checkpoint=tmp_path)
    with pytest.raises(ModelError, match=r"config\.json and safetensors"):
        adapter.load_transformer(Expert())
    with pytest.raises(ModelError, match=r"has no config\.json"):
        adapter.fingerprints()


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="among checkpoint, device, dtype, got colour"):
        load_adapter("toy", colour="red")
    with pytest.raises(OptionError, match="dtype must be one of"):
        load_adapter("toy", dtype="int8")
    with pytest.raises(OptionError, match="device must be a torch device"):
        load_adapter("toy", device="abacus")
    with pytest.raises(OptionError, match="revision must be left out"):
        load_adapter("toy", revision="main")
