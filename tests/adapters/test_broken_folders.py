"""Model folders as people have them: what is read, and what is refused before any work, with what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from motive.adapters import load_adapter
from motive.errors import ConfigError, ModelError
from motive.indexing.config import IndexConfig
from motive.indexing.index import index
from motive.toy.pool import write_pool

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_wan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_wan, tmp_path / "wan"))


@pytest.fixture
def sharded(copy: Path) -> Path:
    """The transformer in several files, as large models are saved."""
    model = diffusers.WanTransformer3DModel.from_pretrained(copy / "transformer")
    (copy / "transformer" / WEIGHTS).unlink()
    model.save_pretrained(copy / "transformer", max_shard_size="20KB")
    assert len(list((copy / "transformer").glob("*-of-*.safetensors"))) > 2
    return copy


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_adapter(folder) for folder in (one, other))
    a, b = (dict(x.load_transformer(x.experts[0]).named_parameters()) for x in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_shards_beside_those_of_a_variant(sharded: Path, tiny_wan: Path) -> None:
    model = diffusers.WanTransformer3DModel.from_pretrained(sharded / "transformer")
    model.half().save_pretrained(sharded / "transformer", max_shard_size="20KB", variant="fp16")
    assert list((sharded / "transformer").glob("*.fp16*"))
    assert same_weights(sharded, tiny_wan)


def test_a_missing_shard_is_named_before_any_work(sharded: Path) -> None:
    lost = sorted((sharded / "transformer").glob("*-of-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match=rf"transformer lacks {lost.name}, one of \d+ files"):
        load_adapter(sharded)


def test_a_variant_alone_says_how_to_rename_it(copy: Path) -> None:
    path = copy / "transformer" / WEIGHTS
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(ModelError, match=r"variant of the weights only .*variant="):
        load_adapter(copy)


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
def test_pickles_are_not_loaded_and_the_message_says_what_to_do(copy: Path, component: str) -> None:
    for path in (copy / component).glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match=rf"{component} holds its weights as a pickle.*safe_serialization=True"):
        load_adapter(copy)


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoder"])
def test_a_component_without_weights_is_refused(copy: Path, component: str) -> None:
    for path in (copy / component).glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ModelError, match=f"{component} holds no safetensors weights"):
        load_adapter(copy)


def test_no_vae_and_no_index(copy: Path) -> None:
    shutil.rmtree(copy / "vae")
    with pytest.raises(ModelError, match="vae"):
        load_adapter(copy)
    (copy / "model_index.json").unlink()
    with pytest.raises(ModelError, match=r"model_index\.json"):
        load_adapter(copy)


@pytest.mark.parametrize("name", ["wan2.1_t2v_1.3B_bf16.safetensors", "model.gguf"])
def test_a_single_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / name
    path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for model in (path, f"models/{name}", tmp_path / "models"):  # the second looks like a hub id
        with pytest.raises(ConfigError, match=rf"{name} holds the weights of a transformer alone; give .* with base"):
            load_adapter(model)


def poison(folder: Path, component: str) -> None:
    path = next((folder / component).glob("*.safetensors"))
    weights = load_file(path)
    name = max(weights, key=lambda key: weights[key].numel())
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(("component", "reason"), [("transformer", "nan_gradient"), ("vae", "nan_latents")])
def test_nan_weights_leave_every_clip_out(copy: Path, tmp_path: Path, component: str, reason: str) -> None:
    poison(copy, component)
    pool = write_pool(tmp_path / "pool", clips_per_motion=1, seed=1, motions=("slide",))
    adapter = load_adapter(copy)
    clip_spec = {"frames": 5, "height": 32, "width": 48, "fps": 8.0, "short": "hold"}
    config = IndexConfig(model=str(copy), clip_spec=type(adapter.clip_spec)(**clip_spec))
    done = index(pool, out=tmp_path / "store", config=config)
    assert (done.stored, done.failed, dict(done.reasons)) == (0, 1, {reason: 1})


def test_a_config_alone_is_no_fingerprint_of_weights(copy: Path) -> None:
    """A folder whose weights cannot be read must fail before it gives the identity of a store."""
    config = json.loads((copy / "transformer/config.json").read_text())
    (copy / "transformer" / WEIGHTS).unlink()
    assert config["_class_name"] == "WanTransformer3DModel"
    with pytest.raises(ModelError):
        load_adapter(copy).fingerprints()
