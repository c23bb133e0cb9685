"""Transformers whose own files join what diffusers splits: HunyuanVideo's and Mochi's, as their authors publish them.

HunyuanVideo by hyvideo/modules/models.py (in xdit-project's copy of the repository, 028d97f), Mochi by
asymm_models_joint.py of genmoai/mochi (0f411f2), both looked up on 29 November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_HUNYUAN = (
    (r"^x_embedder\.", "img_in."),
    (r"^context_embedder\.proj_in\.", "txt_in.input_embedder."),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_1\.", "txt_in.t_embedder.mlp.0."),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_2\.", "txt_in.t_embedder.mlp.2."),
    (r"^context_embedder\.time_text_embed\.text_embedder\.", "txt_in.c_embedder."),
    (r"^context_embedder\.token_refiner\.refiner_blocks\.", "txt_in.individual_token_refiner.blocks."),
    (r"^(txt_in\.\S+)\.attn\.qkv\.", r"\1.self_attn_qkv."),
    (r"^(txt_in\.\S+)\.attn\.to_out\.0\.", r"\1.self_attn_proj."),
    (r"^(txt_in\.\S+)\.ff\.net\.0\.proj\.", r"\1.mlp.fc1."),
    (r"^(txt_in\.\S+)\.ff\.net\.2\.", r"\1.mlp.fc2."),
    (r"^(txt_in\.\S+)\.norm_out\.linear\.", r"\1.adaLN_modulation.1."),
    (r"^time_text_embed\.timestep_embedder\.linear_1\.", "time_in.mlp.0."),
    (r"^time_text_embed\.timestep_embedder\.linear_2\.", "time_in.mlp.2."),
    (r"^time_text_embed\.guidance_embedder\.linear_1\.", "guidance_in.mlp.0."),
    (r"^time_text_embed\.guidance_embedder\.linear_2\.", "guidance_in.mlp.2."),
    (r"^time_text_embed\.text_embedder\.linear_1\.", "vector_in.in_layer."),
    (r"^time_text_embed\.text_embedder\.linear_2\.", "vector_in.out_layer."),
    (r"^single_transformer_blocks\.(\d+)\.proj_out\.", r"single_blocks.\1.linear2."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.qkv\.", r"single_blocks.\1.linear1."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_([qk])\.", r"single_blocks.\1.\2_norm."),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear\.", r"single_blocks.\1.modulation.linear."),
    (r"^transformer_blocks\.(\d+)\.norm1\.linear\.", r"double_blocks.\1.img_mod.linear."),
    (r"^transformer_blocks\.(\d+)\.norm1_context\.linear\.", r"double_blocks.\1.txt_mod.linear."),
    (r"^transformer_blocks\.(\d+)\.attn\.qkv\.", r"double_blocks.\1.img_attn_qkv."),
    (r"^transformer_blocks\.(\d+)\.attn\.add_qkv\.", r"double_blocks.\1.txt_attn_qkv."),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_([qk])\.", r"double_blocks.\1.img_attn_\2_norm."),
    (r"^transformer_blocks\.(\d+)\.attn\.norm_added_([qk])\.", r"double_blocks.\1.txt_attn_\2_norm."),
    (r"^transformer_blocks\.(\d+)\.attn\.to_out\.0\.", r"double_blocks.\1.img_attn_proj."),
    (r"^transformer_blocks\.(\d+)\.attn\.to_add_out\.", r"double_blocks.\1.txt_attn_proj."),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.", r"double_blocks.\1.img_mlp.fc1."),
    (r"^transformer_blocks\.(\d+)\.ff\.net\.2\.", r"double_blocks.\1.img_mlp.fc2."),
    (r"^transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj\.", r"double_blocks.\1.txt_mlp.fc1."),
    (r"^transformer_blocks\.(\d+)\.ff_context\.net\.2\.", r"double_blocks.\1.txt_mlp.fc2."),
    (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
    (r"^proj_out\.", "final_layer.linear."),
)

_MOCHI = (
    (r"^patch_embed\.", "x_embedder."),
    (r"^time_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
    (r"^time_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
    (r"^time_embed\.pooler\.", "t5_y_embedder."),
    (r"^time_embed\.caption_proj\.", "t5_yproj."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.norm1\.linear\.", ".mod_x."),
    (r"\.norm1_context\.linear(_1)?\.", ".mod_y."),
    (r"\.attn1\.qkv\.", ".attn.qkv_x."),
    (r"\.attn1\.add_qkv\.", ".attn.qkv_y."),
    (r"\.attn1\.norm_([qk])\.", r".attn.\1_norm_x."),
    (r"\.attn1\.norm_added_([qk])\.", r".attn.\1_norm_y."),
    (r"\.attn1\.to_out\.0\.", ".attn.proj_x."),
    (r"\.attn1\.to_add_out\.", ".attn.proj_y."),
    (r"\.ff\.net\.0\.proj\.", ".mlp_x.w1."),
    (r"\.ff\.net\.2\.", ".mlp_x.w2."),
    (r"\.ff_context\.net\.0\.proj\.", ".mlp_y.w1."),
    (r"\.ff_context\.net\.2\.", ".mlp_y.w2."),
    (r"^norm_out\.linear\.", "final_layer.mod."),
    (r"^proj_out\.", "final_layer.linear."),
)


def hunyuan_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A HunyuanVideo transformer with diffusers names, as its authors' files hold it."""
    joined = _joined(weights)
    for name in [
        name for name in joined if ".proj_mlp." in name
    ]:  # linear1 holds q, k, v and the first layer of the MLP
        qkv = name.replace(".proj_mlp.", ".attn.qkv.")
        joined[qkv] = torch.cat([joined[qkv], joined.pop(name)])
    return _renamed({name: _swapped(name, value, "norm_out.linear.") for name, value in joined.items()}, _HUNYUAN)


def mochi_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Mochi transformer with diffusers names, as its authors' files hold it: gates come first in w1."""
    joined = {name: _swapped(name, value, "norm_out.linear.") for name, value in _joined(weights).items()}
    gated = {name: _halves(value) if ".net.0.proj." in name else value for name, value in joined.items()}
    return _renamed(gated, _MOCHI)


def _joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as one tensor each."""
    found = dict(weights)
    for first in [name for name in weights if re.search(r"\.attn1?\.(to_q|add_q_proj)\.", name)]:
        names = [re.sub(r"\.(to_|add_)q(_proj)?\.", rf".\g<1>{part}\g<2>.", first) for part in "qkv"]
        joined = first.replace(".to_q.", ".qkv.").replace(".add_q_proj.", ".add_qkv.")
        found[joined] = torch.cat([found.pop(name) for name in names])
    return found


def _swapped(name: str, value: Tensor, start: str) -> Tensor:
    """Shift before scale, where diffusers has the scale first."""
    return _halves(value) if name.startswith(start) else value


def _halves(value: Tensor) -> Tensor:
    first, second = value.chunk(2)
    return torch.cat([second, first])


def _renamed(weights: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    found = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = value.contiguous()
    return found
