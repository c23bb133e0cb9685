"""Setup before the first clip: draws of the model's own distribution, and parts of the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from motive.cli.flags import flag
from motive.config import field_hints
from motive.data import Dataset
from motive.data.video.buckets import BucketConfig
from motive.errors import ConfigError, IdentityMismatch, OptionError, StoreError
from motive.gradients.draws import DrawConfig
from motive.indexing import worker
from motive.indexing.clip_specs import model_clip_spec
from motive.indexing.config import IndexConfig, VectorConfig
from motive.indexing.index import as_created, open_or_create, stored_config
from motive.indexing.setup import model_parts, set_up
from motive.indexing.worker import index_worker
from motive.masks import MaskConfig
from motive.store import Store, require_same_identity
from motive.workers.in_flight import InFlight
from motive.workers.process import WorkerSpec
from motive_kernels import ProjectionSpec
from tests.tiny_wan import build_tiny_wan

NAMES = [
    "transformer.patch_embedding.weight",
    "transformer.blocks.0.attn1.to_q.weight",
    "transformer.blocks.0.ffn.net.weight",
    "transformer.blocks.1.attn1.to_q.weight",
    "transformer.blocks.10.attn1.to_q.weight",
]


def test_a_star_gives_a_part_for_each_name_and_the_rest_comes_last() -> None:
    assert model_parts(NAMES, "transformer", ["blocks.*"]) == {
        "blocks.0": NAMES[1:3],
        "blocks.1": NAMES[3:4],
        "blocks.10": NAMES[4:],
        "rest": NAMES[:1],
    }


def test_named_parts_take_what_fits_first() -> None:
    found = model_parts(NAMES, "transformer", ["attention=*attn*", "blocks=transformer.blocks.*,no such"])
    assert found == {"attention": [NAMES[1], *NAMES[3:]], "blocks": NAMES[2:3], "rest": NAMES[:1]}
    assert model_parts(NAMES, "transformer", []) == {}


@pytest.mark.parametrize("patterns", [["block.*"], ["all=*"], ["blocks.*", "none=ffnn*"]])
def test_parts_that_part_nothing_are_refused(patterns: list[str]) -> None:
    with pytest.raises(OptionError, match="model_parts must"):
        model_parts(NAMES, "transformer", patterns)


def test_a_part_without_a_pattern_is_named() -> None:
    with pytest.raises(OptionError, match=r"and 'attention' has none; give attention=PATTERN"):
        model_parts(NAMES, "transformer", ["blocks.*", "attention="])


def test_parts_are_in_the_identity_and_the_vectors_width_and_their_absence_is_not() -> None:
    plain, parted = set_up(IndexConfig()), set_up(IndexConfig(model_parts=("blocks.*",)))
    assert "model_parts" not in plain.identity.gradient
    assert parted.identity.model_parts == tuple(parted.parts)
    assert parted.width == len(parted.parts) * plain.width


def test_draws_of_the_model_come_to_plain_ones() -> None:
    setup = set_up(IndexConfig(draws=DrawConfig("model", count=3)))
    assert setup.config.draws == DrawConfig("logit_normal", count=3)
    assert setup.identity.require("test").draws["strategy"] == "logit_normal"


def test_draws_of_a_model_with_two_experts_are_of_one(tmp_path: Path) -> None:
    copy = build_tiny_wan(tmp_path / "wan")
    shutil.copytree(copy / "transformer", copy / "transformer_2")
    index = json.loads((copy / "model_index.json").read_text())
    index.update(transformer_2=["diffusers", "WanTransformer3DModel"], boundary_ratio=0.875)
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(OptionError, match=r"choose a range with draws\.low and draws\.high"):
        set_up(IndexConfig(model=str(copy), draws=DrawConfig("model")))
    for component, low, high in (("transformer", 0.875, 1.0), ("transformer_2", 0.0, 0.875)):
        setup = set_up(IndexConfig(model=str(copy), draws=DrawConfig("model", low=low, high=high)))
        assert setup.expert.component == component
        assert setup.config.draws == DrawConfig("logit_normal", shift=3.0, low=low, high=high)


@pytest.mark.parametrize(
    "change", [{"batch_size": 2}, {"micro_batch_draws": 2}, {"threads": 1}, {"segments": "time:2"}]
)
def test_settings_beyond_the_identity_are_in_the_digest(change: dict) -> None:
    plain, other = set_up(IndexConfig(threads=3)), set_up(IndexConfig(**{"threads": 3, **change}))
    require_same_identity(plain.identity, other.identity, "test")
    assert plain.vectors_digest != other.vectors_digest


OTHERWISE = {
    "dtype": "bfloat16",
    "clip_spec": replace(model_clip_spec("toy"), short="loop"),
    "buckets": BucketConfig(sizes=("80x80x17",)),
    "mask": MaskConfig(camera="remove"),
    "draws": DrawConfig(seed=1),
    "projection": ProjectionSpec(dim=64),
    "parameters": ("*bias",),
    "model_parts": ("blocks.*",),
    "segments": "time:2",
    "batch_size": 2,
    "micro_batch_draws": 2,
    "threads": 4,
}
"""Field of VectorConfig -> another value. ``model``, ``base``, ``model_2``, ``revision``, ``lora`` and ``latents`` name files,
whose content counts; ``latents_fps`` must equal the clip spec's; ``quantize`` needs a LoRA, and tests/adapters/test_low_bit_weights.py has it."""


def test_every_field_of_a_vector_config_is_in_the_digest() -> None:
    assert {*OTHERWISE, "model", "base", "model_2", "revision", "lora", "latents", "latents_fps", "quantize"} == set(
        field_hints(VectorConfig)
    )
    first = IndexConfig(threads=3)
    digests = {name: set_up(replace(first, **{name: value})).vectors_digest for name, value in OTHERWISE.items()}
    assert len({*digests.values(), set_up(first).vectors_digest}) == len(digests) + 1


def test_a_model_counts_in_the_digest_by_its_weights_and_not_by_its_path(tmp_path: Path) -> None:
    first, copy = build_tiny_wan(tmp_path / "wan"), tmp_path / "copy"
    shutil.copytree(first, copy)
    same = [set_up(IndexConfig(model=str(path), threads=3)).vectors_digest for path in (first, copy)]
    assert same[0] == same[1]
    (weights,) = (copy / "transformer").glob("*.safetensors")
    tensors = load_file(weights)
    name = min(tensors)
    save_file({**tensors, name: tensors[name] + 1}, weights)
    assert set_up(IndexConfig(model=str(copy), threads=3)).vectors_digest != same[0]


@pytest.mark.parametrize("change", [{"device": "cpu"}, {"shard_rows": 5}, {"cache": "x"}, {"checkpointing": True}])
def test_how_to_run_is_in_neither(change: dict) -> None:
    assert set_up(IndexConfig()).vectors_digest == set_up(IndexConfig(**change)).vectors_digest


@pytest.mark.parametrize(
    "change",
    [
        {"mask": MaskConfig(camera="remove")}, {"draws": DrawConfig(seed=1)}, {"projection": ProjectionSpec(dim=64)},
        {"parameters": ("*bias",)}, {"model_parts": ("blocks.*",)}, {"dtype": "bfloat16"},
        {"clip_spec": replace(model_clip_spec("toy"), short="loop")},
    ],
)  # fmt: skip
def test_what_vectors_depend_on_is_in_the_identity(change: dict) -> None:
    with pytest.raises(IdentityMismatch):
        require_same_identity(set_up(IndexConfig()).identity, set_up(IndexConfig(**change)).identity, "test")


def test_a_later_run_takes_the_exact_settings_of_the_store(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path, tmp_path, "folder", ())
    store = open_or_create(tmp_path / "s", set_up(IndexConfig(batch_size=3, threads=2)), dataset, "index")
    assert stored_config(store).batch_size == 3
    same = as_created(set_up(IndexConfig(batch_size=3)), store, "index")
    assert same.config.threads == 2, "0 stands for the number of the store"
    assert same.vectors_digest == store.manifest.vectors_digest
    for change, named in (({"batch_size": 1}, "batch_size"), ({"threads": 1}, "threads")):
        with pytest.raises(ConfigError, match=f"index: {named} must be") as refused:
            as_created(set_up(IndexConfig(**{"batch_size": 3, **change})), store, "index")
        assert str(refused.value.with_flags(flag)).startswith(flag(named))
    with pytest.raises(ConfigError, match="segments must be left out"):
        as_created(set_up(IndexConfig(batch_size=3, segments="time:2")), store, "index")


def test_a_worker_with_other_settings_adds_nothing(tmp_path: Path) -> None:
    setup = set_up(IndexConfig(threads=1))
    store = open_or_create(tmp_path / "s", setup, Dataset(tmp_path, tmp_path, "folder", ()), "index")
    spec = WorkerSpec(replace(setup.config, batch_size=2), store.location, setup.vectors_digest, "")
    with pytest.raises(StoreError, match="settings beyond the identity"):
        index_worker(spec, InFlight())


def test_a_worker_has_its_device_current_until_it_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []

    @contextmanager
    def noting(device: torch.device) -> Iterator[None]:
        seen.append(str(device))
        yield
        seen.append("left")

    monkeypatch.setattr(worker, "current_device", noting)
    setup = set_up(IndexConfig(device="cpu", cache=str(tmp_path)))
    store = Store.create(tmp_path / "store", identity=setup.identity, dim=setup.width)
    with worker.Worker(setup, store, show_progress=False):
        assert seen == ["cpu"]
    assert seen == ["cpu", "left"]
