"""HunyuanVideo's and Mochi's own single files, in which several tensors of diffusers are one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from motive.adapters import Adapter, Expert, load_adapter
from motive.errors import ModelError
from tests.adapters.layouts import weights_of
from tests.adapters.split_layouts import hunyuan_weights, mochi_weights

WRITERS = {"hunyuan": hunyuan_weights, "mochi": mochi_weights}
CLASSES = {"hunyuan": "HunyuanVideoTransformer3DModel", "mochi": "MochiTransformer3DModel"}
PUBLISHED = {
    "hunyuan": (
        "img_in.proj.weight", "txt_in.individual_token_refiner.blocks.0.self_attn_qkv.weight",
        "txt_in.c_embedder.linear_2.bias", "double_blocks.0.img_attn_qkv.bias", "double_blocks.0.txt_mlp.fc2.weight",
        "single_blocks.0.linear1.weight", "single_blocks.0.q_norm.weight", "final_layer.adaLN_modulation.1.weight",
    ),
    "mochi": (
        "x_embedder.proj.weight", "t5_y_embedder.to_kv.weight", "t5_yproj.bias", "blocks.0.attn.qkv_y.weight",
        "blocks.0.mlp_x.w1.weight", "blocks.0.attn.proj_y.bias", "final_layer.mod.weight", "pos_frequencies",
    ),
}  # fmt: skip


def state(adapter: Adapter) -> dict[str, torch.Tensor]:
    return dict(adapter.load_transformer(Expert()).state_dict())


def with_sizes(code: CodeType, sizes: Mapping[int, int]) -> CodeType:
    """A function's code with other numbers in it."""
    constants = tuple(
        with_sizes(item, sizes) if isinstance(item, CodeType) else sizes.get(item, item) if type(item) is int else item
        for item in code.co_consts
    )
    return code.replace(co_consts=constants)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_folder: Callable[[str], Path]) -> Callable[[str], Path]:
    """A tiny pipeline, and diffusers' converter for its size: those of diffusers hold the released models' sizes, 3,072
    channels and 48 blocks, as constants."""

    def make(family: str) -> Path:
        from diffusers.loaders import single_file_model

        base = tiny_folder(family)
        weights = weights_of(base / "transformer")
        blocks = sum(name.endswith("attn1.to_q.weight") for name in weights)
        width = weights["proj_out.weight"].shape[1]
        sizes = {"hunyuan": {3072: width}, "mochi": {48: blocks}}[family]
        entry: dict[str, Any] = single_file_model.SINGLE_FILE_LOADABLE_CLASSES[CLASSES[family]]
        real = entry["checkpoint_mapping_fn"]
        sized = FunctionType(with_sizes(real.__code__, sizes), real.__globals__)
        monkeypatch.setitem(entry, "checkpoint_mapping_fn", lambda checkpoint, **options: sized(checkpoint))
        return base

    return make


@pytest.mark.parametrize("family", sorted(WRITERS))
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_authors_file_gives_the_transformer_of_the_folder(
    tiny: Callable[[str], Path], tmp_path: Path, family: str, prefix: str
) -> None:
    base = tiny(family)
    written = WRITERS[family](weights_of(base / "transformer"))
    assert set(PUBLISHED[family]) <= set(written), "the layout that is published"
    save_file({prefix + name: value for name, value in written.items()}, tmp_path / "x.safetensors")
    found, whole = state(load_adapter(tmp_path / "x.safetensors", base=base)), state(load_adapter(base))
    assert found.keys() == whole.keys()
    different = [name for name in whole if not torch.equal(found[name], whole[name])]
    assert not different


@pytest.mark.parametrize("family", sorted(WRITERS))
def test_a_file_of_another_size_is_refused_by_name(
    tiny_folder: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """As diffusers' converters are: for the released sizes."""
    base = tiny_folder(family)
    save_file(WRITERS[family](weights_of(base / "transformer")), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=f"is not a whole {CLASSES[family]} in a known layout"):
        load_adapter(tmp_path / "x.safetensors", base=base)
