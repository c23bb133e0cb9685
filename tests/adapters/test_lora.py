"""LoRA files: every key convention gives the same model, gradients are those of the loop, and the rest is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import motive_kernels as mk
from motive.adapters.lora import LoraFile
from motive.adapters.toy import ToyAdapter
from motive.adapters.wan import original_wan_name
from motive.errors import ModelError, OptionError
from motive.indexing.config import IndexConfig
from motive.indexing.setup import set_up
from motive_kernels.capture.loop import per_sample_gradients

LAYERS = (
    "blocks.0.attn1.to_q",
    "blocks.0.attn2.to_out.0",
    "blocks.1.ffn.net.0.proj",
    "blocks.1.ffn.net.2",
    "condition_embedder.text_embedder.linear_1",
    "condition_embedder.time_proj",
)
RANK, ALPHA = 4, 2.0


@pytest.fixture(scope="module")
def toy() -> ToyAdapter:
    return ToyAdapter()


@pytest.fixture(scope="module")
def shapes(toy: ToyAdapter) -> dict[str, tuple[int, ...]]:
    return dict(toy.parameter_shapes(toy.experts[0]))


def factors(shapes: dict[str, tuple[int, ...]], trained: bool = True) -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for layer in LAYERS:
        outputs, inputs = shapes[f"{layer}.weight"]
        a, b = torch.randn(RANK, inputs, generator=generator), torch.randn(outputs, RANK, generator=generator)
        found[layer] = (a / 10, b / 10 if trained else torch.zeros_like(b))
    return found


def peft(folder: Path, pairs: dict[str, tuple[Tensor, Tensor]]) -> Path:
    tensors = {
        f"base_model.model.{layer}.lora_{role}.weight": value
        for layer, pair in pairs.items()
        for role, value in zip("AB", pair, strict=True)
    }
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA, "alpha_pattern": {}}))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder / "adapter_model.safetensors"


def diffusers(folder: Path, pairs: dict[str, tuple[Tensor, Tensor]]) -> Path:
    """Alpha in the header, as newer versions write it."""
    tensors = {
        f"transformer.{layer}.lora_{role}.weight": value
        for layer, pair in pairs.items()
        for role, value in zip("AB", pair, strict=True)
    }
    settings = json.dumps({"transformer.r": RANK, "transformer.lora_alpha": ALPHA})
    save_file(tensors, folder / "d.safetensors", metadata={"lora_adapter_metadata": settings})
    return folder / "d.safetensors"


def kohya(folder: Path, pairs: dict[str, tuple[Tensor, Tensor]]) -> Path:
    """Original names, underscores, alpha as a tensor: as musubi writes it."""
    tensors = {}
    for layer, (a, b) in pairs.items():
        name = "lora_unet_" + original_wan_name(layer).replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": torch.tensor(ALPHA)}
    save_file(tensors, folder / "k.safetensors")
    return folder / "k.safetensors"


def diffsynth(folder: Path, pairs: dict[str, tuple[Tensor, Tensor]]) -> Path:
    """Original names, an adapter's name before .weight, alpha equal to the rank: the scale is in B here."""
    tensors = {}
    for layer, (a, b) in pairs.items():
        name = original_wan_name(layer)
        tensors |= {f"{name}.lora_A.default.weight": a, f"{name}.lora_B.default.weight": b * (ALPHA / RANK)}
    save_file(tensors, folder / "s.safetensors")
    return folder / "s.safetensors"


WRITERS: dict[str, Callable[[Path, dict[str, tuple[Tensor, Tensor]]], Path]] = {
    "peft": peft,
    "diffusers": diffusers,
    "kohya": kohya,
    "diffsynth": diffsynth,
}


def load(toy: ToyAdapter, path: Path, shapes: dict[str, tuple[int, ...]]) -> LoraFile:
    return LoraFile(path, shapes, other_names=toy.lora_names)


def losses_of(toy: ToyAdapter, model: nn.Module) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    noisy, text = torch.randn(3, 28, 2, 4, 4, generator=generator), torch.randn(3, 32, 64, generator=generator)
    sigma = torch.tensor([0.2, 0.5, 0.8])
    return lambda: toy.predict(model, noisy, sigma, {"text": text}).square().mean((1, 2, 3, 4))


@pytest.mark.parametrize("convention", WRITERS)
def test_every_convention_gives_the_model_with_the_product_added(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path, convention: str
) -> None:
    pairs = factors(shapes)
    lora = load(toy, WRITERS[convention](tmp_path, pairs), shapes)
    with_lora, merged = (toy.load_transformer(toy.experts[0]) for _ in range(2))
    lora.attach(with_lora)
    with torch.no_grad():
        for layer, (a, b) in pairs.items():
            merged.get_parameter(f"{layer}.weight").add_(ALPHA / RANK * b @ a)
        plain = losses_of(toy, toy.load_transformer(toy.experts[0]))()
        want, got = losses_of(toy, merged)(), losses_of(toy, with_lora)()
    assert (want - plain).abs().min() > 1e-3, "the factors change nothing, so this test says nothing"
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    named = {name: tuple(p.shape) for name, p in with_lora.named_parameters()}
    assert named == {**shapes, **lora.shapes}


def test_equal_factors_have_equal_fingerprints(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    pairs = factors(shapes)
    prints = {name: load(toy, WRITERS[name](tmp_path, pairs), shapes).fingerprint() for name in ("peft", "kohya")}
    assert prints["peft"] == prints["kohya"]
    pairs[LAYERS[0]][0][0, 0] += 1
    assert load(toy, peft(tmp_path, pairs), shapes).fingerprint() != prints["peft"]


@pytest.mark.parametrize("trained", [True, False])
def test_gradients_of_the_factors_are_those_of_the_loop(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path, trained: bool
) -> None:
    """Of an untrained LoRA, whose lora_B is zero, those of lora_A are exactly zero."""
    lora = load(toy, kohya(tmp_path, factors(shapes, trained)), shapes)
    assert lora.untrained == (not trained)
    model = toy.load_transformer(toy.experts[0])
    lora.attach(model)
    losses = losses_of(toy, model)
    projector = mk.Projector(mk.ProjectionSpec(dim=32), lora.shapes)
    exact = per_sample_gradients(model, losses, {name: model.get_parameter(name) for name in lora.shapes})
    for name, gradient in exact.items():
        assert gradient.any() == (trained or "lora_B" in name)
    want = projector.project(exact)
    capture = mk.GradientCapture(model, projector, route="factorized")
    for _ in range(2):
        torch.testing.assert_close(capture(losses), want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))


def test_of_a_file_for_two_experts_each_takes_its_own(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    tensors = {}
    for component, value in (("transformer", 1.0), ("transformer_2", 2.0)):
        for role, (a, b) in {"A": (2, 96), "B": (96, 2)}.items():
            tensors[f"{component}.{LAYERS[0]}.lora_{role}.weight"] = torch.full((a, b), value)
    width = shapes[f"{LAYERS[0]}.weight"][0]
    tensors = {
        name: value[:, :1].repeat(1, width) if "lora_A" in name else value[:1].repeat(width, 1)
        for name, value in tensors.items()
    }
    save_file(tensors, tmp_path / "two.safetensors")
    settings = json.dumps({"transformer.lora_alpha": 16, "transformer_2.lora_alpha": 2})
    save_file(tensors, tmp_path / "alphas.safetensors", metadata={"lora_adapter_metadata": settings})
    for component, value, scale in (("transformer", 1.0, 8.0), ("transformer_2", 2.0, 1.0)):
        (found,) = LoraFile(tmp_path / "two.safetensors", shapes, component).factors.values()
        assert (found.a == value).all()
        assert found.scale == 1.0
        (found,) = LoraFile(tmp_path / "alphas.safetensors", shapes, component).factors.values()
        assert (found.a == value).all()
        assert found.scale == scale


@pytest.mark.parametrize("prefix", ["transformer", "transformer_2"])
def test_a_file_for_one_transformer_keeps_its_alpha_in_the_second_expert(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path, prefix: str
) -> None:
    outputs, inputs = shapes[f"{LAYERS[0]}.weight"]
    tensors = {"A": torch.ones(2, inputs), "B": torch.ones(outputs, 2)}
    save_file(
        {f"{prefix}.{LAYERS[0]}.lora_{role}.weight": value for role, value in tensors.items()},
        tmp_path / "one.safetensors",
        metadata={"lora_adapter_metadata": json.dumps({f"{prefix}.lora_alpha": 16})},
    )
    (found,) = LoraFile(tmp_path / "one.safetensors", shapes, "transformer_2").factors.values()
    assert found.scale == 8.0


def rename(form: str, layer: str) -> tuple[str, str]:
    """(key of A, key of B) of a layer in one of the forms that tools write."""
    original = original_wan_name(layer)
    mixed = "lora_unet_" + original.replace("blocks.", "blocks_").replace(".", "_", 1)
    names = {
        "peft": f"base_model.model.{layer}",
        "diffusers": f"transformer.{layer}",
        "plain": layer,
        "comfyui": f"diffusion_model.{original}",
        "comfyui, nested": f"model.diffusion_model.{original}",
        "musubi": "lora_unet_" + original.replace(".", "_"),
        "kohya of diffusers names": "lora_transformer_" + layer.replace(".", "_"),
        "mixed separators": mixed,
    }
    down, up = ("lora_down", "lora_up") if form in ("musubi", "mixed separators", "comfyui") else ("lora_A", "lora_B")
    if form.startswith("kohya"):
        down, up = "lora_down", "lora_up"
    return f"{names[form]}.{down}.weight", f"{names[form]}.{up}.weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "form",
    ["diffusers", "plain", "comfyui", "comfyui, nested", "musubi", "kohya of diffusers names", "mixed separators"],
)
def test_forms_of_files_without_alpha(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path, form: str, dtype: torch.dtype
) -> None:
    """Without alpha the product counts as it is: scale one, whatever the names and the numbers' type."""
    pairs = factors(shapes)
    tensors: dict[str, Tensor] = {}
    for layer, (a, b) in pairs.items():
        down, up = rename(form, layer)
        tensors |= {down: a.to(dtype), up: b.to(dtype)}
    save_file(tensors, tmp_path / "x.safetensors")
    lora = load(toy, tmp_path / "x.safetensors", shapes)
    assert set(lora.factors) == set(LAYERS)
    for layer, (a, b) in pairs.items():
        found = lora.factors[layer]
        assert found.scale == 1.0
        assert torch.equal(found.a, a.to(dtype))
        assert torch.equal(found.b, b.to(dtype))


def test_every_layer_may_have_a_rank_and_an_alpha_of_its_own(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    tensors: dict[str, Tensor] = {}
    for rank, layer in enumerate(LAYERS, 1):
        outputs, inputs = shapes[f"{layer}.weight"]
        down, up = rename("musubi", layer)
        tensors |= {down: torch.ones(rank, inputs), up: torch.ones(outputs, rank)}
        tensors[down.replace("lora_down.weight", "alpha")] = torch.tensor(3.0)
    save_file(tensors, tmp_path / "x.safetensors")
    lora = load(toy, tmp_path / "x.safetensors", shapes)
    assert [lora.factors[layer].scale for layer in LAYERS] == [3 / rank for rank in range(1, 7)]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("diffusion_model.blocks.77.self_attn.q.lora_A.weight", "layers of this model"),
        ("diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight", "layers of this model"),
        ("diffusion_model.blocks.0.self_attn.q.dora_scale", "DoRA"),
        ("diffusion_model.blocks.0.self_attn.q.lora_B.bias", "biases"),
        ("diffusion_model.blocks.0.self_attn.q.diff", "whole weights"),
        ("diffusion_model.blocks.0.self_attn.q.hada_w1_a", "plain LoRA"),
    ],
)
def test_what_this_model_or_a_plain_lora_lacks_is_named(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path, key: str, says: str
) -> None:
    """A block or an image branch that the model lacks must not be dropped in silence."""
    tensors: dict[str, Tensor] = {}
    for layer, (a, b) in factors(shapes).items():
        down, up = rename("comfyui", layer)
        tensors |= {down: a, up: b}
    save_file({**tensors, key: torch.ones(4, 4)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=says) as error:
        load(toy, tmp_path / "x.safetensors", shapes)
    assert key in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t, n: t.update({"transformer.no.such.lora_A.weight": t[n].clone()}), "layers of this model"),
        (lambda t, n: t.update({n.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(4)}), "plain LoRA"),
        (lambda t, n: t.update({n.replace("lora_A.weight", "diff_b"): torch.ones(4)}), "plain LoRA"),
        (lambda t, n: t.pop(n), "both factors"),
        (lambda t, n: t.update({n: t[n][:, :3].contiguous()}), "fit"),
        (lambda t, n: t.update({n: t[n] * torch.nan}), "finite"),
        (lambda t, n: t.update({n.replace("lora_A.weight", "alpha"): torch.tensor(torch.inf)}), "finite"),
        (lambda t, n: t.update({n: t[n][:0], n.replace("_A", "_B"): t[n.replace("_A", "_B")][:, :0].clone()}), "fit"),
        (lambda t, n: t.update({n.replace("lora_A", "lora_A.default"): t[n].clone()}), "once"),
        (lambda t, n: t.update({n.replace("lora_A.weight", "alpha"): torch.ones(3)}), "one number"),
        (lambda t, n: t.clear() or t.update({"transformer_2.x.alpha": torch.ones(1)}), "none"),
    ],
)
def test_what_is_no_lora_of_this_model_is_refused(
    toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path, change: Callable, says: str
) -> None:
    from safetensors.torch import load_file

    path = diffusers(tmp_path, factors(shapes))
    tensors = load_file(path)
    change(tensors, f"transformer.{LAYERS[0]}.lora_A.weight")
    save_file(tensors, path)
    with pytest.raises(ModelError, match=rf"lora: .*{says}"):
        load(toy, path, shapes)


def test_files_of_another_kind_are_refused(toy: ToyAdapter, shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "lora.bin")
    for path in (tmp_path / "lora.bin", tmp_path / "absent.safetensors"):
        with pytest.raises(ModelError, match="must be a safetensors file"):
            load(toy, path, shapes)
    path = peft(tmp_path, factors(shapes))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"use_dora": True}))
    with pytest.raises(ModelError, match="no DoRA"):
        load(toy, path, shapes)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match="adapter_config"):
        load(toy, path, shapes)


def test_a_run_takes_the_factors_alone_and_warns_of_untrained_ones(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    path = kohya(tmp_path, factors(shapes, trained=False))
    with pytest.warns(UserWarning, match="every lora_B in .* is zero"):
        fresh = set_up(IndexConfig(lora=str(path), parameters=("lora",)))
    trained = kohya(tmp_path, factors(shapes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        setup = set_up(IndexConfig(lora=str(trained), parameters=("lora",)))
    assert len(setup.projector.shapes) == 2 * len(LAYERS)
    assert setup.config.lora == str(trained)
    assert setup.identity.fingerprints["lora"] != fresh.identity.fingerprints["lora"]
    with pytest.raises(OptionError, match="give the factors with lora"):
        set_up(IndexConfig(parameters=("lora",)))
