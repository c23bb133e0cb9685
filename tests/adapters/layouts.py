"""Tiny transformers written as other tools write them, in one file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from motive.adapters.wan import original_wan_name

WEIGHTS = "diffusion_pytorch_model.safetensors"

_WAN = (
    (r"^scale_shift_table$", "head.modulation"),
    (r"^(vace_)?blocks\.(\d+)\.scale_shift_table$", r"\1blocks.\2.modulation"),
    (r"^(vace_)?blocks\.(\d+)\.norm2\.", r"\1blocks.\2.norm3."),
    (r"^vace_blocks\.(\d+)\.proj_in\.", r"vace_blocks.\1.before_proj."),
    (r"^vace_blocks\.(\d+)\.proj_out\.", r"vace_blocks.\1.after_proj."),
    (r"\.norm_added_k\.", ".norm_k_img."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
)


def wan_key(name: str) -> str:
    """The key of a parameter in Wan's own files."""
    for pattern, replacement in _WAN:
        name = re.sub(pattern, replacement, name)
    layer, dot, last = name.rpartition(".")
    return original_wan_name(layer) + dot + last if dot and last in ("weight", "bias") else original_wan_name(name)


def ltx_key(name: str) -> str:
    """The key of a parameter in LTX-Video's own files."""
    for ours, theirs in (
        ("proj_in", "patchify_proj"),
        ("time_embed", "adaln_single"),
        ("norm_q", "q_norm"),
        ("norm_k", "k_norm"),
    ):
        name = name.replace(ours, theirs)
    return name


_LTX2 = (
    (r"^audio_proj_in\.", "audio_patchify_proj."),
    (r"^proj_in\.", "patchify_proj."),
    (r"^(audio_)?time_embed\.", r"\1adaln_single."),
    (r"^av_cross_attn_(video|audio)_scale_shift\.", r"av_ca_\1_scale_shift_adaln_single."),
    (r"^av_cross_attn_(video|audio)_(a2v|v2a)_gate\.", r"av_ca_\2_gate_adaln_single."),
    (r"\.(video|audio)_a2v_cross_attn_scale_shift_table$", r".scale_shift_table_a2v_ca_\1"),
    (r"\.norm_([qk])\.", r".\1_norm."),
)


def ltx2_key(name: str) -> str:
    """The key of a parameter in LTX-2's own files."""
    for pattern, replacement in _LTX2:
        name = re.sub(pattern, replacement, name)
    return name


PREFIXES: dict[str, str] = {
    "original": "",
    "comfyui": "model.diffusion_model.",
    "comfyui, split": "diffusion_model.",
    "diffsynth": "pipe.dit.",
    "distributed": "module.",
}


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The parameters of a diffusers component folder."""
    return load_file(folder / WEIGHTS)


def write(path: Path, weights: Mapping[str, Tensor], key: Callable[[str], str], prefix: str = "") -> Path:
    """Weights with diffusers names, under the keys of another layout."""
    save_file({prefix + key(name): value.contiguous() for name, value in weights.items()}, path)
    return path
