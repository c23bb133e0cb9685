"""Full-size video diffusion models with random weights: the configurations of the published ones, written down.

A time does not depend on what the weights are, only on their shapes; no checkpoint is needed, nor a network. Each model
has a small twin with the same code paths for the CPU.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from motive.adapters.base import Adapter, Conditioning, Expert
from motive.adapters.ltx import LTXAdapter
from motive.adapters.pipeline import PipelineAdapter
from motive.adapters.wan import WanAdapter
from motive.data.video.clip_spec import ClipSpec

Config = Mapping[str, Any]


@dataclass(frozen=True)
class FullModel:
    """A published model as this project sees it.

    Attributes:
        name: short, for rows.
        family: the adapter that reads its pipeline folder.
        index: model_index.json next to the components.
        transformer, vae, text_encoder: (library, class, config).
        parameters: of the transformer.
        clips: name -> standardisation.
        text: (tokens, channels) of a caption's embedding.
        mask: the transformer also takes a mask over the tokens.
    """

    name: str
    family: type[PipelineAdapter]
    transformer: tuple[str, str, Config]
    vae: tuple[str, str, Config]
    text_encoder: tuple[str, str, Config]
    parameters: int
    clips: Mapping[str, ClipSpec]
    text: tuple[int, int]
    index: Config = field(default_factory=dict)
    mask: bool = False


UMT5_XXL = {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
            "feed_forward_proj": "gated-gelu"}  # fmt: skip
T5_XXL = {**UMT5_XXL, "vocab_size": 32128}
WAN_TRANSFORMER = {"patch_size": [1, 2, 2], "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256,
                   "num_layers": 30, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6}  # fmt: skip
WAN_VAE = {"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
           "temperal_downsample": [False, True, True], "latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}  # fmt: skip
PAPER = ClipSpec(fps=16.0, frames=81, height=480, width=832)
"""What the paper standardises clips to."""

MODELS = {
    model.name: model
    for model in (
        FullModel(
            "wan2.1-1.3b",
            WanAdapter,
            ("diffusers", "WanTransformer3DModel",
             {**WAN_TRANSFORMER, "num_attention_heads": 12, "ffn_dim": 8960, "in_channels": 16, "out_channels": 16}),
            ("diffusers", "AutoencoderKLWan", WAN_VAE),
            ("transformers", "UMT5EncoderModel", UMT5_XXL),
            1_418_996_800,
            {"preview": ClipSpec(fps=16.0, frames=17, height=240, width=416), "full": PAPER},
            (512, 4096),
        ),
        FullModel(
            "wan2.2-ti2v-5b",
            WanAdapter,
            ("diffusers", "WanTransformer3DModel",
             {**WAN_TRANSFORMER, "num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}),
            ("diffusers", "AutoencoderKLWan",
             {**WAN_VAE, "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12,
              "out_channels": 12, "patch_size": 2, "scale_factor_temporal": 4, "scale_factor_spatial": 16,
              "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}),
            ("transformers", "UMT5EncoderModel", UMT5_XXL),
            4_999_787_712,
            {"preview": ClipSpec(fps=24.0, frames=17, height=256, width=416), "full": PAPER,
             "own": ClipSpec(fps=24.0, frames=121, height=704, width=1280)},
            (512, 4096),
            {"expand_timesteps": True},
        ),
        FullModel(
            "ltx-2b",
            LTXAdapter,
            ("diffusers", "LTXVideoTransformer3DModel",
             {"in_channels": 128, "out_channels": 128, "patch_size": 1, "patch_size_t": 1, "num_attention_heads": 32,
              "attention_head_dim": 64, "cross_attention_dim": 2048, "num_layers": 28, "caption_channels": 4096,
              "qk_norm": "rms_norm_across_heads"}),
            ("diffusers", "AutoencoderKLLTXVideo", {"latent_channels": 128}),
            ("transformers", "T5EncoderModel", T5_XXL),
            1_923_385_472,
            {"preview": ClipSpec(fps=25.0, frames=17, height=256, width=416), "full": PAPER,
             "own": ClipSpec(fps=25.0, frames=161, height=512, width=704)},
            (128, 4096),
            mask=True,
        ),
    )
}  # fmt: skip

SMALL = {
    "WanTransformer3DModel": {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 4,
                              "text_dim": 32},
    "LTXVideoTransformer3DModel": {"num_attention_heads": 4, "attention_head_dim": 8, "cross_attention_dim": 32,
                                   "num_layers": 4, "caption_channels": 32},
    "AutoencoderKLWan": {"base_dim": 4, "decoder_base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    "AutoencoderKLLTXVideo": {"block_out_channels": [8, 8, 8, 8], "decoder_block_out_channels": [8, 8, 8, 8],
                              "layers_per_block": [1] * 5, "decoder_layers_per_block": [1] * 5},
    "UMT5EncoderModel": {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
    "T5EncoderModel": {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
}  # fmt: skip
"""Class -> what makes a twin of it small."""

SMALL_CLIPS = {"preview": (5, 32, 32), "full": (9, 32, 64), "own": (9, 64, 32)}


def small(model: FullModel) -> FullModel:
    """The model's twin for a CPU: the same classes and code paths, a few thousand parameters."""

    def shrunk(component: tuple[str, str, Config]) -> tuple[str, str, Config]:
        library, name, config = component
        return library, name, {**config, **SMALL[name]}

    clips = {name: _small_clip(model.clips[name], SMALL_CLIPS[name]) for name in model.clips}
    return replace(
        model, transformer=shrunk(model.transformer), vae=shrunk(model.vae), text_encoder=shrunk(model.text_encoder),
        clips=clips, text=(6, 32), parameters=0,
    )  # fmt: skip


def _small_clip(clip_spec: ClipSpec, size: tuple[int, int, int]) -> ClipSpec:
    frames, height, width = size
    grown = 2 * frames - 1 if clip_spec.fps == 25.0 else frames  # LTX has 8 frames a latent frame
    return replace(clip_spec, frames=grown, height=height, width=width)


def write_folder(model: FullModel, folder: Path) -> None:
    """A pipeline folder whose weight files are empty: what an adapter checks and reads when it is made."""
    parts = {"transformer": model.transformer, "vae": model.vae, "text_encoder": model.text_encoder}
    index = {**model.index, **{name: [library, cls] for name, (library, cls, _) in parts.items()}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for name, (_, cls, config) in parts.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({"_class_name": cls, **config}), encoding="utf-8")
        save_file({}, folder / name / "model.safetensors")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Give new parameters this type inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def random_component(component: tuple[str, str, Config], device: str, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """A component with the weights of its initialisation, made on the device; what its class keeps in float32 is so.

    On the device ``meta`` it has shapes alone.
    """
    library, name, config = component
    cls = getattr(importlib.import_module(library), name)
    torch.manual_seed(seed)
    with default_dtype(dtype), torch.device(device):
        made = cls.from_config(dict(config)) if library == "diffusers" else cls(cls.config_class(**config))
    keep = set(getattr(made, "_keep_in_fp32_modules", None) or ())
    for full, parameter in made.named_parameters():
        if keep & set(full.split(".")):
            parameter.data = parameter.data.float()
    return made.eval()


class RandomWeights:
    """What makes a family's adapter one of random weights, without encoders.

    Attributes:
        random: the model.
    """

    random: FullModel
    device: torch.device
    dtype: torch.dtype

    def load_transformer(self, expert: Expert) -> nn.Module:
        return random_component(self.random.transformer, str(self.device), self.dtype).requires_grad_(True)

    def fingerprints(self) -> Mapping[str, str]:
        return dict.fromkeys(("transformer", "vae", "text_encoder"), "random weights, seed 0")

    @contextmanager
    def video_encoder(self) -> Iterator[Callable[[Tensor], Tensor]]:
        yield _no_encoder

    @contextmanager
    def text_encoder(self) -> Iterator[Callable[[Sequence[str]], list[Conditioning]]]:
        yield _no_encoder


def random_adapter(model: FullModel, folder: Path, device: str, dtype: str) -> Adapter:
    """The family's adapter over a folder without weights; what the gradient pass needs of it is the family's own."""
    write_folder(model, folder)
    cls = type("RandomWeightsAdapter", (RandomWeights, model.family), {"random": model})
    return cls(folder, device=device, dtype=dtype)


def _no_encoder(*inputs: Any) -> Any:
    raise RuntimeError("benchmarks: clips and captions must be in the cache, got one that is not; fill it first")


def conditioning(model: FullModel, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """A caption's random embedding, a tenth of its tokens padding."""
    tokens, channels = model.text
    text = torch.randn(tokens, channels, device=device, dtype=dtype)
    text[tokens - tokens // 10 :] = 0
    if not model.mask:
        return {"text": text}
    mask = torch.ones(tokens, device=device, dtype=torch.int64)
    mask[tokens - tokens // 10 :] = 0
    return {"text": text, "mask": mask}


def tokens_of(model: FullModel, adapter: Adapter, clip: str) -> int:
    """Tokens that the transformer sees of one clip."""
    _, frames, height, width = adapter.latent_shape(model.clips[clip])
    patch = model.transformer[2].get("patch_size", 1)
    t, h, w = patch if isinstance(patch, list) else (model.transformer[2].get("patch_size_t", 1), patch, patch)
    return (frames // t) * (height // h) * (width // w)
