"""CogVideoX 1.5, HunyuanVideo 1.5, LTX-2 and Wan VACE predict what the transformer gives in diffusers' own pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from motive.adapters import Adapter, load_adapter
from motive.adapters.base import batch_conditioning
from motive.errors import ModelError
from tests.tiny_pipelines import build_tiny

CAPTION = 'a red disc and the "blue wall"'
SIZE = {"height": 32, "width": 48}


class Stop(Exception):
    """Ends a pipeline's call once its transformer has been seen."""


def seen_in(pipeline: Any, wanted: Callable[[dict], bool] = lambda _: True, **options: Any) -> tuple[dict, Tensor]:
    """(arguments, first result) of the first call of the transformer that is wanted."""
    found: list[tuple[dict, Tensor]] = []

    def keep(_module: object, _args: tuple, kwargs: dict, output: tuple) -> None:
        if wanted(kwargs):
            found.append((kwargs, output[0]))
            raise Stop

    handle = pipeline.transformer.register_forward_hook(keep, with_kwargs=True)
    pipeline.set_progress_bar_config(disable=True)
    with pytest.raises(Stop):
        pipeline(prompt=CAPTION, num_inference_steps=1, output_type="latent", **options)
    handle.remove()
    return found[0]


def predicted(adapter: Adapter, noisy: Tensor, time: Tensor) -> Tensor:
    """The adapter's prediction for one clip with CAPTION, at the pipeline's time step."""
    frames = torch.randint(0, 256, (9, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with adapter.clip_encoder() as encode:
        clip = encode(frames)
    del clip["latents"]
    with adapter.text_encoder() as encode_text:
        conditioning = {**encode_text([CAPTION])[0], **clip}
    model = adapter.load_transformer(adapter.experts[0])
    with torch.no_grad():
        return adapter.predict(model, noisy, time.flatten()[:1].float() / 1000, batch_conditioning([conditioning]))


def noise(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def test_vace_without_control(tiny_folder: Callable[[str], Path]) -> None:
    folder = tiny_folder("vace")
    noisy = noise(16, 3, 4, 6)
    pipeline = diffusers.WanVACEPipeline.from_pretrained(folder)
    given, output = seen_in(pipeline, num_frames=9, guidance_scale=1.0, latents=noisy, **SIZE)
    torch.testing.assert_close(predicted(load_adapter(folder), noisy, given["timestep"]), output, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [3, 4])
def test_cogvideox15_with_an_even_and_an_odd_number_of_latent_frames(
    tiny_folder: Callable[[str], Path], frames: int
) -> None:
    folder = tiny_folder("cogvideox15")
    noisy = noise(4, frames, 4, 6)
    filled = torch.cat([noisy[:, :, :1], noisy], 2) if frames % 2 else noisy
    pipeline = diffusers.CogVideoXPipeline.from_pretrained(folder)
    options = {"num_frames": 4 * frames - 3, "guidance_scale": 1.0, "max_sequence_length": 16, **SIZE}
    given, output = seen_in(pipeline, latents=filled.transpose(1, 2), **options)
    found = predicted(load_adapter(folder), noisy, given["timestep"])
    assert found.shape == noisy.shape
    torch.testing.assert_close(found, output.transpose(1, 2)[:, :, frames % 2 :], rtol=1e-4, atol=1e-4)


def test_hunyuan15_with_quoted_text(tiny_folder: Callable[[str], Path]) -> None:
    """The pipeline gives 729 masked tokens for an absent image, the adapter one."""
    folder = tiny_folder("hunyuan15")
    noisy = noise(4, 3, 4, 6)
    pipeline = diffusers.HunyuanVideo15Pipeline.from_pretrained(folder)
    given, output = seen_in(pipeline, num_frames=9, latents=noisy, **SIZE)
    assert given["encoder_attention_mask_2"].any()
    torch.testing.assert_close(predicted(load_adapter(folder), noisy, given["timestep"]), output, rtol=1e-4, atol=1e-4)


def test_ltx2_is_the_pipelines_pass_for_the_video_alone(tiny_folder: Callable[[str], Path]) -> None:
    folder = tiny_folder("ltx2")
    noisy = noise(8, 3, 4, 8)
    absent = ("audio_vae", "vocoder", "duration_head", "processor", "prompt_enhancer")
    pipeline = diffusers.LTX2Pipeline.from_pretrained(folder, **dict.fromkeys(absent))
    given, output = seen_in(
        pipeline,
        lambda kwargs: kwargs["isolate_modalities"],
        num_frames=9,
        guidance_scale=1.0,
        stg_scale=0.0,
        audio_stg_scale=0.0,
        latents=noisy.flatten(2).transpose(1, 2),
        height=32,
        width=64,
    )
    want = output.transpose(1, 2).unflatten(2, (3, 4, 8))
    torch.testing.assert_close(predicted(load_adapter(folder), noisy, given["timestep"]), want, rtol=1e-4, atol=1e-4)


def test_quoted_text_has_a_gradient_in_hunyuan15_and_time_is_not_rounded(tiny_folder: Callable[[str], Path]) -> None:
    adapter = load_adapter(tiny_folder("hunyuan15"), dtype="bfloat16", text_dtype="float32")
    with adapter.text_encoder() as encode:
        conditioning = batch_conditioning(encode([CAPTION]))
    model = adapter.load_transformer(adapter.experts[0])
    seen: list[Tensor] = []
    model.get_submodule("time_embed").register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    adapter.predict(model, noise(4, 3, 4, 6), torch.tensor([0.7505]), conditioning).square().mean().backward()
    torch.testing.assert_close(seen[0], torch.tensor([750.5]))
    assert model.get_parameter("context_embedder_2.linear_1.weight").grad.any()


@pytest.mark.parametrize(
    ("name", "place", "change", "says"),
    [
        ("vace", "transformer/config.json", {"vace_in_channels": 32}, "vace_in_channels must be 96"),
        ("vace", "transformer/config.json", {"in_channels": 36}, "in_channels must be 16"),
        ("cogvideox15", "transformer/config.json", {"ofs_embed_dim": 512}, "ofs_embed_dim null"),
        ("hunyuan15", "model_index.json", {"_class_name": "HunyuanVideo15ImageToVideoPipeline"}, "use a text-to-video"),
        ("hunyuan15", "transformer/config.json", {"use_meanflow": True}, "use_meanflow are not read"),
        ("ltx2", "model_index.json", {"connectors": ["my_code", "X"]}, "connectors must be LTX2TextConnectors"),
    ],
)
def test_other_variants_are_refused(tmp_path: Path, name: str, place: str, change: dict[str, Any], says: str) -> None:
    folder = build_tiny(name, tmp_path / "model")
    path = folder / place
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=says):
        load_adapter(folder)
