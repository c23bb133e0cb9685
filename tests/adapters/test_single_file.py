"""Transformers in one file, in a folder of shards or in a diffusers folder: the same model as the base's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import motive
from motive.adapters import Adapter, Expert, load_adapter
from motive.cli.flags import flag
from motive.errors import ConfigError, ModelError
from motive.indexing.config import IndexConfig
from motive.indexing.setup import set_up
from motive.toy.pool import write_pool
from tests.adapters.layouts import PREFIXES, WEIGHTS, ltx2_key, ltx_key, wan_key, weights_of, write

ORIGINAL_KEYS = (
    "blocks.0.self_attn.q.weight",
    "blocks.0.self_attn.norm_q.weight",
    "blocks.1.cross_attn.o.bias",
    "blocks.0.norm3.weight",
    "blocks.0.modulation",
    "blocks.1.ffn.0.weight",
    "blocks.1.ffn.2.bias",
    "head.head.weight",
    "head.modulation",
    "patch_embedding.weight",
    "text_embedding.0.weight",
    "text_embedding.2.bias",
    "time_embedding.0.weight",
    "time_projection.1.weight",
)
"""Of the files that the Wan team publishes."""


def state(adapter: Adapter, expert: int = 0) -> dict[str, torch.Tensor]:
    return dict(adapter.load_transformer(adapter.experts[expert]).state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.fixture(scope="module")
def weights(tiny_wan: Path) -> dict[str, torch.Tensor]:
    return weights_of(tiny_wan / "transformer")


@pytest.fixture
def file(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    return write(tmp_path / "wan.safetensors", weights, wan_key)


def test_the_layout_that_the_tests_write_is_the_published_one(weights: dict[str, torch.Tensor]) -> None:
    written = {wan_key(name) for name in weights}
    assert set(ORIGINAL_KEYS) <= written
    assert not any("attn1" in key or "scale_shift_table" in key or "to_q" in key for key in written)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", [*PREFIXES, "diffusers"])
def test_every_layout_gives_the_transformer_of_the_folder(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, torch.Tensor], layout: str, dtype: str
) -> None:
    """Also what stays in float32 when the rest is loaded in bfloat16."""
    key = (lambda name: name) if layout == "diffusers" else wan_key
    path = write(tmp_path / "x.safetensors", weights, key, PREFIXES.get(layout, ""))
    adapter = load_adapter(path, base=tiny_wan, dtype=dtype)
    whole = load_adapter(tiny_wan, dtype=dtype)
    assert same(state(adapter), state(whole))
    assert adapter.parameter_shapes(Expert()) == whole.parameter_shapes(Expert())
    assert adapter.settings() == whole.settings()
    assert not adapter.weight_notes()
    assert all(p.requires_grad for p in adapter.load_transformer(Expert()).parameters())


def test_a_file_for_a_whole_pipeline_gives_its_transformer_alone(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = write(tmp_path / "x.safetensors", weights, wan_key, "model.diffusion_model.")
    from safetensors.torch import load_file

    others = {"first_stage_model.decoder.x": torch.ones(2), "text_encoders.umt5.y": torch.ones(2)}
    save_file({**load_file(path), **others}, path)
    assert same(state(load_adapter(path, base=tiny_wan)), state(load_adapter(tiny_wan)))


def test_shards_of_the_models_own_repository(tiny_wan: Path, tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    """As in Wan-AI/Wan2.1-T2V-14B: original keys in several files, and a config.json that is not of diffusers."""
    folder = tmp_path / "Wan2.1"
    folder.mkdir()
    names = sorted(weights)
    for number, part in enumerate((names[:20], names[20:]), 1):
        write(folder / f"{WEIGHTS[:-12]}-0000{number}-of-00002.safetensors", {n: weights[n] for n in part}, wan_key)
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanModel", "dim": 24}))
    (folder / "Wan2.1_VAE.pth").write_bytes(b"a pickle that is not read")
    assert same(state(load_adapter(folder, base=tiny_wan)), state(load_adapter(tiny_wan)))


def test_a_fine_tuned_folder_is_taken_with_its_own_config(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    folder = Path(shutil.copytree(tiny_wan / "transformer", tmp_path / "tuned"))
    tuned = {name: value + 1 for name, value in weights.items()}
    save_file(tuned, folder / WEIGHTS, metadata={"format": "pt"})
    base = Path(shutil.copytree(tiny_wan, tmp_path / "base"))
    (base / "transformer" / WEIGHTS).unlink()  # a base needs no transformer
    for place in (folder, tmp_path / "pipeline"):
        if place != folder:
            shutil.copytree(base, place)
            shutil.copytree(folder, place / "transformer", dirs_exist_ok=True)
        found = state(load_adapter(place, base=base))
        assert torch.equal(found["proj_out.weight"], tuned["proj_out.weight"])
    with pytest.raises(ConfigError, match="give the diffusers folder or hub id of its pipeline with base") as refused:
        load_adapter(folder)
    assert "of its pipeline with --base" in str(refused.value.with_flags(flag))


@pytest.mark.parametrize("family", ["ltx", "ltx2", "wan22", "vace", "beside, embedded"])
def test_other_families_from_their_own_layout(tiny_folder: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    base = tiny_folder(family)
    key = {"ltx": ltx_key, "ltx2": ltx2_key}.get(family, wan_key)
    weights = weights_of(base / "transformer")
    assert {key(name) for name in weights} != set(weights)
    path = write(tmp_path / "x.safetensors", weights, key, "model.diffusion_model.")
    assert same(state(load_adapter(path, base=base)), state(load_adapter(base)))


def test_contents_enter_the_identity_and_names_do_not(
    tiny_wan: Path, tmp_path: Path, file: Path, weights: dict[str, torch.Tensor]
) -> None:
    prints = load_adapter(file, base=tiny_wan).fingerprints()
    copied = shutil.copy(file, tmp_path / "another name.safetensors")
    assert load_adapter(copied, base=tiny_wan).fingerprints() == prints
    whole = load_adapter(tiny_wan).fingerprints()
    assert {name: prints[name] for name in ("vae", "text_encoder")} == {n: whole[n] for n in ("vae", "text_encoder")}
    changed = write(tmp_path / "c.safetensors", {**weights, "proj_out.bias": weights["proj_out.bias"] + 1}, wan_key)
    assert load_adapter(changed, base=tiny_wan).fingerprints()["transformer"] != prints["transformer"]


def test_a_run_from_a_file_has_the_vectors_of_the_folder(tiny_wan: Path, tmp_path: Path, file: Path) -> None:
    pool = write_pool(tmp_path / "pool", clips_per_motion=2, seed=1, motions=("slide",))
    clip_spec = {"frames": 5, "height": 32, "width": 48, "fps": 8.0, "short": "hold"}
    spec = type(load_adapter(tiny_wan).clip_spec)(**clip_spec)
    vectors = {}
    for name, model in {
        "file": {"model": str(file), "base": str(tiny_wan)},
        "folder": {"model": str(tiny_wan)},
    }.items():
        done = motive.index(pool, out=tmp_path / name, config=IndexConfig(**model, clip_spec=spec))
        assert (done.stored, done.failed) == (2, 0)
        vectors[name] = motive.Store.open(tmp_path / name).vectors()
    assert np.array_equal(vectors["file"], vectors["folder"])
    motive.query(pool, like=tmp_path / "file", out=tmp_path / "queries")
    assert np.array_equal(motive.Store.open(tmp_path / "queries").vectors(), vectors["file"])


def test_a_lora_on_top_of_a_file(tiny_wan: Path, tmp_path: Path, file: Path) -> None:
    names = {"blocks.0.self_attn.q": (24, 24), "blocks.1.ffn.0": (32, 24)}
    factors = {}
    for layer, (outputs, inputs) in names.items():
        factors[f"{layer}.lora_A.default.weight"] = torch.ones(2, inputs)
        factors[f"{layer}.lora_B.default.weight"] = torch.ones(outputs, 2)
    save_file(factors, tmp_path / "lora.safetensors")
    config = IndexConfig(
        model=str(file), base=str(tiny_wan), lora=str(tmp_path / "lora.safetensors"), parameters=("lora",)
    )
    assert len(set_up(config).projector.shapes) == 4
    with pytest.raises(ModelError, match=r"holds LoRA factors .*this file with --lora"):
        load_adapter(tmp_path / "lora.safetensors", base=tiny_wan)


@pytest.fixture
def two_experts(tiny_wan: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_wan, tmp_path / "wan22"))
    shutil.copytree(folder / "transformer", folder / "transformer_2")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"transformer_2": ["diffusers", "WanTransformer3DModel"], "boundary_ratio": 0.875}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_two_experts_come_from_two_files_or_one_from_the_base(
    two_experts: Path, tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    high, low = (
        write(tmp_path / f"wan2.2_{name}_noise_14B.safetensors", {n: v + shift for n, v in weights.items()}, wan_key)
        for name, shift in (("high", 1), ("low", 2))
    )
    cases: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({"model": high, "base": two_experts, "model_2": low}, (1, 2)),
        ({"model": high, "base": two_experts}, (1, 0)),
        ({"model": two_experts, "model_2": low}, (0, 2)),
    ]
    for given, shifts in cases:
        adapter = load_adapter(**given)
        for expert, shift in enumerate(shifts):
            assert torch.equal(state(adapter, expert)["proj_out.bias"], weights["proj_out.bias"] + shift)
        assert set(adapter.fingerprints()) == {"transformer", "transformer_2", "vae", "text_encoder"}
    for given, says in (
        ({"model": low, "base": two_experts}, "low noise in its name; give it with --model-2"),
        ({"model": two_experts, "model_2": high}, "high noise in its name; give it with --model "),
    ):
        with pytest.raises(ModelError, match=says):
            load_adapter(**given)


def test_a_second_file_for_a_model_with_one_transformer_is_refused(tiny_wan: Path, file: Path) -> None:
    with pytest.raises(ModelError, match="has transformer alone"):
        load_adapter(tiny_wan, model_2=file)


def test_a_hub_base_is_fetched_without_the_weights_that_the_file_replaces(
    tiny_wan: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tiny_wan)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    load_adapter(file, base="owner/model", revision="abc")
    assert (asked["name"], asked["revision"]) == ("owner/model", "abc")
    assert asked["ignore_patterns"] == ["transformer/*.safetensors"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: {f"net.{n}": v for n, v in w.items()}, r"known layout; its first keys are net\..*Accepted are"),
        (lambda w: dict(list(w.items())[1:]), r"lacks 1 of \d+ tensors"),
        (lambda w: {**w, "blocks.7.modulation": torch.ones(1)}, "holds 1 that the model does not have.*blocks.7"),
        (
            lambda w: {**w, "patch_embedding.weight": torch.ones(24, 36, 1, 2, 2)},
            "does not fit its base: patch_embedding",
        ),
        (lambda w: {**w, "pipe.dit.patch_embedding.weight": torch.ones(1)}, "holds patch_embedding.weight twice"),
        (lambda w: {"a.lora_down.weight": torch.ones(1)}, "LoRA factors"),
        (lambda w: {}, "known layout"),
    ],
)
def test_what_is_no_transformer_of_this_base_is_named(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, torch.Tensor], change: Callable, says: str
) -> None:
    save_file(change({wan_key(n): v for n, v in weights.items()}), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=says):
        load_adapter(tmp_path / "x.safetensors", base=tiny_wan)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pth", "model.pt", "model.bin"])
def test_pickles_are_not_loaded(tiny_wan: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"x")
    for path in (tmp_path / "models" / name, tmp_path / "models"):
        for base in (None, tiny_wan):
            with pytest.raises(ModelError, match=rf"{name} is a pickle, and pickles are not loaded.*save_file"):
                load_adapter(path, base=base)


def test_files_that_are_damaged_or_absent_and_folders_of_another_class(
    tiny_wan: Path, tmp_path: Path, file: Path, tiny_folder: Callable[[str], Path]
) -> None:
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_adapter(tmp_path / "cut.safetensors", base=tiny_wan)
    with pytest.raises(ModelError, match="must be a file or folder of a transformer"):
        load_adapter(tmp_path / "absent.safetensors", base=tiny_wan)
    with pytest.raises(ModelError, match="is a LTXVideoTransformer3DModel, and the transformer of the base"):
        load_adapter(tiny_folder("ltx") / "transformer", base=tiny_wan)
    for option in ("base", "model_2"):
        with pytest.raises(ConfigError, match=f"{option} must be left out for toy"):
            load_adapter("toy", **{option: str(tiny_wan)})


@pytest.mark.parametrize("name", ["models/nope.safetensors", "nope.gguf", "models/nope.pt"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    """Two words with a slash between them could be a hub id; the name of a file of weights is none."""
    with pytest.raises(ModelError, match=r"model must be .*there is no such file or folder"):
        load_adapter(name)
    with pytest.raises(ModelError, match=r"base must be .*there is no such file or folder"):
        load_adapter(Path(__file__), base=name)


def test_a_lora_given_as_the_model_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    names = ("blocks.0.attn1.to_q.lora_A.weight", "blocks.0.attn1.to_q.lora_B.weight", "blocks.0.attn1.to_q.alpha")
    save_file({name: torch.ones(1, 1) for name in names}, path)
    with pytest.raises(ConfigError) as caught:
        load_adapter(path)
    assert "holds the factors of a LoRA; give it with --lora" in str(caught.value.with_flags(flag))
