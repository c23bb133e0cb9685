"""Wan image-to-video: the transformer is given exactly what diffusers' pipeline gives it, and gradients are exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import motive_kernels as mk
from motive.adapters import Adapter, load_adapter
from motive.adapters.base import batch_conditioning
from motive.errors import ModelError
from motive.gradients.clips import Batch as ClipBatch
from motive.gradients.clips import ClipGradients, EncodedClip, motion_weighted_losses
from motive.gradients.draws import DrawConfig
from motive_kernels.capture.loop import per_sample_gradients
from tests.tiny_pipelines import FIRST_FRAME, build_tiny

SIZE = {"height": 32, "width": 48}
SHAPE = (16, 3, 4, 6)
CAPTIONS = ["a red disc", "the blue square and a wall"]


@pytest.fixture(scope="module", params=FIRST_FRAME)
def folder(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder(request.param)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Adapter:
    return load_adapter(folder)


def frames(seed: int) -> torch.Tensor:
    shape = (9, SIZE["height"], SIZE["width"], 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def clips(adapter: Adapter) -> list[EncodedClip]:
    with adapter.text_encoder() as encode_text:
        texts = encode_text(CAPTIONS)
    found = []
    with adapter.clip_encoder() as encode:
        for seed, text in enumerate(texts):
            encoded = encode(frames(seed))
            weights = torch.rand(SHAPE[1:], generator=torch.Generator().manual_seed(seed))
            found.append(EncodedClip(encoded.pop("latents"), weights, {**text, **encoded}))
    return found


def test_the_transformer_sees_what_the_pipeline_gives_it(
    adapter: Adapter, folder: Path, clips: list[EncodedClip]
) -> None:
    """One step of the pipeline from given latents, against a prediction at the same noise level."""
    pipeline = diffusers.WanImageToVideoPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[tuple, dict]] = []

    def keep(_module: object, args: tuple, kwargs: dict) -> None:
        seen.append((args, kwargs))

    pipeline.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    image = Image.fromarray(frames(0)[0].numpy())
    options = {"num_frames": 9, "num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "latent", **SIZE}
    pipeline(image=image, prompt=CAPTIONS[0], latents=noise, **options)
    model = adapter.load_transformer(adapter.experts[0])
    model.register_forward_pre_hook(keep, with_kwargs=True)
    theirs = seen[0][1]
    sigma = theirs["timestep"].flatten()[-1:].float() / 1000
    with torch.no_grad():
        adapter.predict(model, noise, sigma, batch_conditioning([clips[0].conditioning]))
    (hidden, time, text), ours = seen[1]
    torch.testing.assert_close(hidden, theirs["hidden_states"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(time, theirs["timestep"].float(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(text[:, : theirs["encoder_hidden_states"].shape[1]], theirs["encoder_hidden_states"])
    image_states = theirs["encoder_hidden_states_image"]
    if image_states is None:
        assert "encoder_hidden_states_image" not in ours
    else:
        torch.testing.assert_close(ours["encoder_hidden_states_image"], image_states, rtol=1e-4, atol=1e-5)


def test_the_first_frame_reaches_the_prediction_and_the_fingerprint(
    adapter: Adapter, folder: Path, clips: list[EncodedClip]
) -> None:
    model = adapter.load_transformer(adapter.experts[0])
    sigma, noisy = torch.tensor([0.5]), torch.zeros(1, *SHAPE)
    with torch.no_grad():
        one, other = (
            adapter.predict(model, noisy, sigma, batch_conditioning([{**clips[0].conditioning, **seen}]))
            for seen in ({}, {"first": clips[1].conditioning["first"]})
        )
    assert not torch.equal(one, other)
    assert ("image_encoder" in adapter.fingerprints()) == (folder / "image_encoder").is_dir()
    assert adapter.settings()["first_frame"] in ("beside", "inside")
    assert np.isin(list(clips[0].conditioning), ["text", "first", "image"]).all()


def test_gradients_are_those_of_the_loop_and_a_given_frame_has_no_loss(
    adapter: Adapter, clips: list[EncodedClip]
) -> None:
    model = adapter.load_transformer(adapter.experts[0])
    chosen = {f"transformer.{name}": p for name, p in model.named_parameters()}
    projector = mk.Projector(mk.ProjectionSpec(dim=32), {name: p.shape for name, p in chosen.items()})
    take = ClipGradients(adapter, model, projector, DrawConfig("single", sigma=0.6, combine="mean"))
    found = take(clips)
    assert "stream" not in take.routes.values()
    sigma, noise = next(take._passes(clips[0].latents.shape))
    batch = ClipBatch.of(clips, torch.device("cpu"))
    exact = per_sample_gradients(
        model, lambda: motion_weighted_losses(adapter, model, batch, sigma, noise).sum((1, 2)), chosen
    )
    want = projector.project(exact)
    got = torch.stack([one.vector for one in found])
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))
    at_first = torch.zeros(SHAPE[1:])
    at_first[0] = 1
    clip = EncodedClip(clips[0].latents, at_first, clips[0].conditioning)
    assert (take([clip])[0].loss == 0) == (adapter.settings()["first_frame"] == "inside")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"in_channels": 33}, "in_channels must be 16 for text-to-video or 36"),
        ({"in_channels": 36, "image_dim": 8, "pos_embed_seq_len": 514}, "one first frame"),
        ({"in_channels": 16, "image_dim": 8}, "in_channels must be 36 with an image embedding"),
    ],
)
def test_other_conditioning_is_refused(tmp_path: Path, change: dict[str, int], says: str) -> None:
    folder = build_tiny("beside, embedded", tmp_path / "wan")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=says):
        load_adapter(folder)


def test_an_embedding_without_its_encoder_is_refused(tmp_path: Path) -> None:
    folder = build_tiny("beside, embedded", tmp_path / "wan")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "image_encoder": [None, None]}))
    with pytest.raises(ModelError, match="image_encoder must be CLIPVisionModel"):
        load_adapter(folder)
