"""The Wan adapter against diffusers' own pipeline, and against broken folders."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch

from motive.adapters import load_adapter
from motive.adapters import pipeline as pipeline_module
from motive.adapters.base import Expert
from motive.adapters.wan import WanAdapter, clean_caption
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ModelError, OptionError

CAPTIONS = ["a red disc &amp;amp; the  blue\tsquare", "", "a wall " * 400, "Ã©clair in soft light"]


@pytest.fixture(scope="module")
def pipeline(tiny_wan: Path) -> diffusers.WanPipeline:
    return diffusers.WanPipeline.from_pretrained(tiny_wan)


@pytest.fixture
def copy(tiny_wan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_wan, tmp_path / "wan"))


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_the_1_3b_config_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        model = diffusers.WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
    assert sum(p.numel() for p in model.parameters()) == 1_418_996_800


def test_text_encoding_is_that_of_the_pipeline(tiny_wan: Path, pipeline: diffusers.WanPipeline) -> None:
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(CAPTIONS, do_classifier_free_guidance=False, max_sequence_length=512)
    with load_adapter(tiny_wan).text_encoder() as encode:
        got = torch.stack([c["text"] for c in encode(CAPTIONS)])
    assert torch.equal(got, expected)
    lengths = got.ne(0).any(2).sum(1).tolist()
    assert lengths[1:3] == [1, 512], f"real lengths {lengths}"


def test_captions_are_cleaned_as_by_the_pipeline() -> None:
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    for caption in [*CAPTIONS, "  &lt;b&gt; x\u3000y \n z ", "’quoted’ “text”"]:
        assert clean_caption(caption) == prompt_clean(caption)


def test_latents_are_the_normalised_posterior_mode(tiny_wan: Path, pipeline: diffusers.WanPipeline) -> None:
    frames = torch.randint(0, 256, (9, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with load_adapter(tiny_wan).video_encoder() as encode:
        got = encode(frames)
    video = pipeline.video_processor.preprocess_video([f.numpy() for f in frames.float() / 255], height=32, width=48)
    config = pipeline.vae.config
    with torch.no_grad():
        posterior = pipeline.vae.encode(video).latent_dist
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))
    torch.testing.assert_close(got, (posterior.mean[0] - mean) / std, rtol=1e-5, atol=1e-5)


def test_latents_decode_as_the_pipeline_decodes_them(tiny_wan: Path, pipeline: diffusers.WanPipeline) -> None:
    """Undoing the normalisation as the pipeline does before decoding gives the posterior's mode back."""
    frames = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with load_adapter(tiny_wan).video_encoder() as encode:
        latents = encode(frames)
    config = pipeline.vae.config
    inverse = 1.0 / torch.tensor(config.latents_std).view(-1, 1, 1, 1)
    restored = latents / inverse + torch.tensor(config.latents_mean).view(-1, 1, 1, 1)
    with torch.no_grad():
        video = frames.float().permute(3, 0, 1, 2)[None] / 127.5 - 1
        mode = pipeline.vae.encode(video).latent_dist.mode()[0]
    torch.testing.assert_close(restored, mode, rtol=1e-5, atol=1e-5)


def test_leaving_an_encoder_frees_its_model(tiny_wan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the caller keeps the encode function: transformer and encoders are never in memory together."""
    adapter = load_adapter(tiny_wan)
    loaded: list[weakref.ref] = []
    original = pipeline_module.load_model

    def load(*arguments: object) -> object:
        value = original(*arguments)  # type: ignore[arg-type]
        loaded.append(weakref.ref(value))
        return value

    monkeypatch.setattr(pipeline_module, "load_model", load)
    with adapter.video_encoder() as kept_video:
        assert loaded[0]() is not None
    with adapter.text_encoder() as kept_text:
        assert loaded[0]() is None, "the VAE is still in memory"
    assert loaded[1]() is None, "the text encoder is still in memory"
    assert kept_video is not kept_text


def test_the_time_step_is_1000_sigma_and_not_rounded(tiny_wan: Path) -> None:
    adapter = load_adapter(tiny_wan)
    model = adapter.load_transformer(Expert())
    seen: list[torch.Tensor] = []
    handle = model.register_forward_pre_hook(lambda _m, args: seen.append(args[1]))
    noisy, text = torch.zeros(2, 16, 3, 4, 4), torch.zeros(2, 8, 32)
    adapter.predict(model, noisy, torch.tensor([0.7505, 0.25]), {"text": text})
    handle.remove()
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0], torch.tensor([750.5, 250.0]))


def test_bfloat16_keeps_what_diffusers_keeps_in_float32(tiny_wan: Path) -> None:
    adapter = load_adapter(tiny_wan, dtype="bfloat16", text_dtype="bfloat16")
    model = adapter.load_transformer(Expert())
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert dtypes["blocks.0.scale_shift_table"] == torch.float32
    with adapter.text_encoder() as encode:
        text = encode(["a red disc"])[0]["text"]
    assert text.dtype == torch.bfloat16
    out = adapter.predict(model, torch.zeros(1, 16, 3, 4, 4), torch.tensor([0.5]), {"text": text[None]})
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert adapter.settings()["dtype"] == "bfloat16" != load_adapter(tiny_wan).settings()["dtype"]


def test_the_standard_is_the_papers_and_its_latents_are_known(tiny_wan: Path) -> None:
    adapter = load_adapter(tiny_wan)
    assert adapter.clip_spec == ClipSpec(fps=16, frames=81, height=480, width=832)
    assert adapter.latent_shape(adapter.clip_spec) == (16, 21, 60, 104)


def test_a_changed_weight_or_tokenizer_changes_its_fingerprint_alone(tiny_wan: Path, copy: Path) -> None:
    before = load_adapter(tiny_wan).fingerprints()
    assert load_adapter(copy).fingerprints() == before, "a copy elsewhere must have the same fingerprints"
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (copy / "tokenizer" / "tokenizer_config.json").write_text("{}")
    after = load_adapter(copy).fingerprints()
    assert {name for name in before if before[name] != after[name]} == {"vae", "text_encoder"}


def test_two_experts_share_the_noise_levels_at_the_boundary(copy: Path) -> None:
    shutil.copytree(copy / "transformer", copy / "transformer_2")
    edit(
        copy / "model_index.json",
        lambda v: v.update(transformer_2=["diffusers", "WanTransformer3DModel"], boundary_ratio=0.875),
    )
    adapter = load_adapter(copy)
    assert adapter.experts == (Expert("transformer", 0.875, 1.0), Expert("transformer_2", 0.0, 0.875))
    assert set(adapter.fingerprints()) == {"transformer", "transformer_2", "vae", "text_encoder"}
    assert adapter.load_transformer(adapter.experts[1]).training is False


def test_a_shift_that_grows_with_the_tokens_is_that_of_the_scheduler(copy: Path) -> None:
    """Against the first of the levels that diffusers gives for a run of two steps."""
    config = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**config, max_image_seq_len=4096)
    scheduler.save_pretrained(copy / "scheduler")
    shape = (16, 3, 40, 60)
    mu = 0.95 + (2.05 - 0.95) * (3 * 20 * 30 - 1024) / (4096 - 1024)
    scheduler.set_timesteps(sigmas=[0.6, 0.3], mu=mu)
    shift = load_adapter(copy).training_noise(shape).shift
    for sigma, shifted in zip((0.6, 0.3), scheduler.sigmas.tolist(), strict=False):
        assert shifted == pytest.approx(shift * sigma / (1 + (shift - 1) * sigma), rel=1e-5)


def test_fused_projections_are_refused(copy: Path) -> None:
    model = diffusers.WanTransformer3DModel.from_pretrained(copy / "transformer")
    model.fuse_qkv_projections()
    model.save_pretrained(copy / "transformer")
    with pytest.raises(ModelError, match="projections must be separate"):
        load_adapter(copy).load_transformer(Expert())


def test_weights_that_leave_a_parameter_unfilled_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    for component, name in (("transformer", "proj_out.bias"), ("vae", "quant_conv.bias")):
        path = copy / component / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        del weights[name]
        save_file(weights, path, metadata={"format": "pt"})
    adapter = load_adapter(copy)
    with pytest.raises(ModelError, match=r"proj_out\.bias"):
        adapter.load_transformer(Expert())
    with pytest.raises(ModelError, match=r"quant_conv\.bias"), adapter.video_encoder():
        pass


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
def test_truncated_weights_are_refused(copy: Path, component: str) -> None:
    for path in (copy / component).glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=f"{component} must hold config.json and safetensors"):
        use(load_adapter(copy), component)


def use(adapter: object, component: str) -> None:
    assert isinstance(adapter, WanAdapter)
    if component == "transformer":
        adapter.load_transformer(Expert())
        return
    with adapter.video_encoder() if component == "vae" else adapter.text_encoder():
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(vae=["my_code", "AutoencoderKLWan"]), "vae must be AutoencoderKLWan of diffusers"),
        (lambda v: v.update(text_encoder=["transformers", "T5EncoderModel"]), "text_encoder must be UMT5EncoderModel"),
        (lambda v: v.update(transformer_2=["diffusers", "WanTransformer3DModel"]), "boundary_ratio must be in"),
        (lambda v: v.update(transformer=["diffusers", "FluxTransformer2DModel"]), "transformer must be one of .*Wan"),
    ],
)
def test_pipelines_of_another_kind_are_refused(copy: Path, change: Callable[[dict], object], message: str) -> None:
    edit(copy / "model_index.json", change)
    with pytest.raises(ModelError, match=message):
        load_adapter(copy)


def test_a_config_that_is_no_json_is_refused(copy: Path) -> None:
    (copy / "vae" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="must be readable JSON"):
        load_adapter(copy)
    (copy / "vae" / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="must hold a JSON object"):
        load_adapter(copy)
    (copy / "vae" / "config.json").unlink()
    with pytest.raises(ModelError, match="does not exist"):
        load_adapter(copy)


def test_an_option_of_another_family_is_refused(tiny_wan: Path) -> None:
    with pytest.raises(OptionError, match="among device, dtype, text_dtype, got checkpoint"):
        load_adapter(tiny_wan, checkpoint="x")
