"""Weights in 8 bits or fewer: what is read and said of it, what is refused by name, and LoRA gradients over them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import motive
import motive_kernels as mk
from motive.adapters import Expert, load_adapter
from motive.adapters.lora import LoraFile
from motive.adapters.low_bit import Float8Linear
from motive.data import ClipSpec
from motive.errors import ConfigError, MissingExtra, ModelError
from motive.indexing.config import IndexConfig
from motive.indexing.setup import set_up
from motive.toy.pool import write_pool
from motive_kernels.capture.loop import per_sample_gradients
from tests.adapters.layouts import wan_key, weights_of

E4M3 = torch.float8_e4m3fn
LAYER = "blocks.0.self_attn.q"


@pytest.fixture(scope="module")
def weights(tiny_wan: Path) -> dict[str, Tensor]:
    """Under original names."""
    return {wan_key(name): value for name, value in weights_of(tiny_wan / "transformer").items()}


def mark(form: str) -> Tensor:
    return torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)


def rounded(weight: Tensor, scale: Tensor) -> Tensor:
    return (weight / scale).clamp(-448, 448).to(E4M3)


def matrices(weights: dict[str, Tensor]) -> list[str]:
    return [name for name, value in weights.items() if name.startswith("blocks.") and value.ndim == 2]


def plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rounded as they are, without scales."""
    return {
        name: rounded(value, torch.ones(())) if name in matrices(weights) else value for name, value in weights.items()
    }


def comfyui(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A scale beside each weight, one for its input that is not needed, and an empty mark."""
    found = {"scaled_fp8": torch.empty(0, dtype=E4M3), **weights}
    for name in matrices(weights):
        scale = weights[name].abs().max() / 448
        layer = name.removesuffix(".weight")
        found |= {name: rounded(weights[name], scale), f"{layer}.scale_weight": scale.reshape(1)}
        found[f"{layer}.scale_input"] = torch.ones(1)
    return {f"model.diffusion_model.{name}": value for name, value in found.items()}


def comfyui_marked(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As newer versions write it: the format of each layer as JSON."""
    found = dict(weights)
    for name in matrices(weights):
        scale, layer = weights[name].abs().max() / 448, name.removesuffix(".weight")
        found |= {name: rounded(weights[name], scale), f"{layer}.weight_scale": scale}
        found |= {f"{layer}.comfy_quant": mark("float8_e4m3fn"), f"{layer}.input_scale": torch.ones(())}
    return found


def musubi(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A scale for each block of 8 in a row, relative to one for the tensor."""
    found = dict(weights)
    for name in matrices(weights):
        value, layer = weights[name], name.removesuffix(".weight")
        blocks = value.reshape(len(value), -1, 8)
        scale = blocks.abs().amax(2, keepdim=True) / 448
        whole = scale.max()
        found[name] = rounded(blocks, scale).reshape(value.shape)
        found |= {f"{layer}.scale_weight": scale / whole, f"{layer}.scale_weight_tensor": whole}
    return found


FORMS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "plain": plain,
    "comfyui": comfyui,
    "comfyui, marked": comfyui_marked,
    "musubi": musubi,
}


@pytest.mark.parametrize("form", FORMS)
def test_float8_is_multiplied_out_and_said(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor], form: str
) -> None:
    """Each weight is within half a unit of 3 bits of mantissa, or of the smallest step that its scale allows."""
    save_file(FORMS[form](weights), tmp_path / "x.safetensors")
    adapter = load_adapter(tmp_path / "x.safetensors", base=tiny_wan)
    found = adapter.load_transformer(Expert()).state_dict()
    full = load_adapter(tiny_wan).load_transformer(Expert()).state_dict()
    for name, value in full.items():
        if wan_key(name) not in matrices(weights):
            assert torch.equal(found[name], value)
            continue
        step = 2.0**-10 * (1 if form == "plain" else float(value.abs().max()) / 448)
        assert ((found[name] - value).abs() <= value.abs() / 16 + step * 1.01).all(), name
        assert not torch.equal(found[name], value)
    kind = "float8_e4m3fn" if form == "plain" else "scaled float8_e4m3fn"
    assert adapter.settings()["weights"] == kind
    (note,) = adapter.weight_notes()
    assert f"transformer: {len(matrices(weights))} of " in note
    assert f"are {kind} and were dequantized to float32: rounding to 3 bits of mantissa moved" in note
    assert "6.25 %" in note
    assert "weights" not in load_adapter(tiny_wan).settings()


def test_the_loss_is_in_the_summary_the_record_and_the_identity(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    save_file(comfyui(weights), tmp_path / "x.safetensors")
    pool = write_pool(tmp_path / "pool", clips_per_motion=1, seed=1, motions=("slide",))
    spec = ClipSpec(frames=5, height=32, width=48, fps=8.0, short="hold")
    config = IndexConfig(model=str(tmp_path / "x.safetensors"), base=str(tiny_wan), clip_spec=spec)
    done = motive.index(pool, out=tmp_path / "store", config=config)
    assert done.stored == 1
    assert any("6.25 %" in line for line in done.lines())
    for name in ("run.json", "summary.json"):
        assert "6.25 %" in json.loads((tmp_path / "store" / name).read_text())["weight_notes"][0]
    gradient = motive.Store.open(tmp_path / "store").identity.gradient
    assert gradient["settings"]["weights"] == "scaled float8_e4m3fn"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w | {f"{LAYER}.comfy_quant": mark("nvfp4")}, "quantized as nvfp4"),
        (lambda w: w | {f"{LAYER}.weight": torch.ones(24, 24, dtype=torch.int8)}, "quantized as I8 numbers"),
        (lambda w: w | {f"{LAYER}.weight": torch.ones(24, 12, dtype=torch.uint8)}, "quantized as U8 numbers"),
        (lambda w: w | {f"{LAYER}.scale_weight": torch.ones(1)}, "has a scale for .* is float32 and not a float8"),
        (
            lambda w: w | {f"{LAYER}.weight": w[f"{LAYER}.weight"].to(E4M3), f"{LAYER}.scale_weight": torch.ones(7, 1)},
            r"has scales \[7, 1\]",
        ),
        (
            lambda w: (
                w
                | {f"{LAYER}.weight": w[f"{LAYER}.weight"].to(E4M3)}
                | {"blocks.1.ffn.0.weight": w["blocks.1.ffn.0.weight"].to(torch.float8_e5m2)}
            ),
            "mixes float8_e4m3fn and float8_e5m2",
        ),
    ],
)
def test_other_quantizations_are_refused_by_name(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor], change: Callable, says: str
) -> None:
    save_file(change(dict(weights)), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=says):
        load_adapter(tmp_path / "x.safetensors", base=tiny_wan)


def test_gguf_is_dequantized_and_said(tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """As ComfyUI-GGUF writes it: matrices quantized, the rest in float32, a convolution's shape beside it."""
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    path, kind = tmp_path / "wan-Q8_0.gguf", gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, "wan")
    quantized = 0
    for name, value in weights.items():
        if value.ndim == 2 and name.startswith("blocks.") and value.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(value.numpy(), kind), raw_dtype=kind)
            quantized += 1
        elif value.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(value.shape))
            writer.add_tensor(name, value.flatten(0, 2).numpy())
        else:
            writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert quantized > 0
    adapter = load_adapter(path, base=tiny_wan)
    found = adapter.load_transformer(Expert()).state_dict()
    for name, value in load_adapter(tiny_wan).load_transformer(Expert()).state_dict().items():
        assert ((found[name] - value).abs() <= value.abs().max() / 200).all(), name
    assert adapter.settings()["weights"] == "Q8_0"
    assert f"{quantized} of {len(weights)} tensors" in adapter.weight_notes()[0]
    assert "8.5 bits a weight" in adapter.weight_notes()[0]
    path.write_bytes(b"GGUX" + path.read_bytes()[4:])
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        load_adapter(path, base=tiny_wan)


def test_gguf_without_its_package_says_what_to_install(
    tiny_wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"motive\[gguf\]"):
        load_adapter(tmp_path / "x.gguf", base=tiny_wan)


def lora(folder: Path, weights: dict[str, Tensor]) -> Path:
    generator = torch.Generator().manual_seed(0)
    factors = {}
    for layer in (LAYER, "blocks.1.ffn.0", "time_projection.1"):
        outputs, inputs = weights[f"{layer}.weight"].shape
        factors[f"{layer}.lora_A.default.weight"] = torch.randn(2, inputs, generator=generator) / 10
        factors[f"{layer}.lora_B.default.weight"] = torch.randn(outputs, 2, generator=generator) / 10
    save_file(factors, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def lora_gradients(adapter: motive.adapters.Adapter, path: Path, checkpointing: bool = False) -> tuple[Tensor, Tensor]:
    """(projected by the capture, projected from a loop of backward passes) of the factors of three samples."""
    model = adapter.load_transformer(Expert())
    factors = LoraFile(path, adapter.parameter_shapes(Expert()), other_names=adapter.lora_names)
    factors.attach(model)
    if checkpointing:
        adapter.enable_checkpointing(model)
    generator = torch.Generator().manual_seed(1)
    noisy, text = torch.randn(3, 16, 2, 4, 4, generator=generator), torch.randn(3, 8, 32, generator=generator)

    def losses() -> Tensor:
        predicted = adapter.predict(model, noisy, torch.tensor([0.2, 0.5, 0.8]), {"text": text})
        return predicted.square().mean((1, 2, 3, 4))

    projector = mk.Projector(mk.ProjectionSpec(dim=32), factors.shapes)
    exact = per_sample_gradients(model, losses, {name: model.get_parameter(name) for name in factors.shapes})
    return mk.GradientCapture(model, projector, route="factorized")(losses), projector.project(exact)


@pytest.mark.parametrize("given", ["folder", "plain", "comfyui", "musubi"])
def test_factors_over_float8_have_the_gradients_of_the_multiplied_weights(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor], given: str
) -> None:
    """A file's own float8 weights are kept as they are, so that holding them in float8 changes nothing."""
    model = tiny_wan
    if given != "folder":
        model = tmp_path / "x.safetensors"
        save_file(FORMS[given](weights), model)
    base = {} if given == "folder" else {"base": tiny_wan}
    path = lora(tmp_path, weights)
    held = load_adapter(model, **base, quantize="fp8")
    found, exact = lora_gradients(held, path)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    again, _ = lora_gradients(held, path, checkpointing=True)
    torch.testing.assert_close(again, exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))
    full, _ = lora_gradients(load_adapter(model, **base), path)
    cosine = torch.nn.functional.cosine_similarity(found, full)
    if given == "folder":
        assert (cosine > 0.9).all()
        assert not torch.equal(found, full)
    else:
        torch.testing.assert_close(found, full, rtol=1e-3, atol=1e-4 * float(full.abs().max()))


def test_held_weights_take_a_byte_each_and_have_no_gradient(tiny_wan: Path) -> None:
    adapter = load_adapter(tiny_wan, quantize="fp8", dtype="bfloat16")
    model = adapter.load_transformer(Expert())
    held = {name: layer for name, layer in model.named_modules() if isinstance(layer, Float8Linear)}
    assert "blocks.0.attn1.to_q" in held
    assert not any("time_embedder" in name or name == "proj_out" for name in held)
    for layer in held.values():
        assert layer.weight.element_size() == 1
        assert layer.compute_dtype == torch.bfloat16
    assert not any(p.requires_grad for p in model.parameters())
    assert adapter.settings()["quantize"] == "fp8"
    assert "held as float8_e4m3fn" in adapter.weight_notes()[0]


def test_quantize_needs_a_lora_and_nf4_a_gpu(
    tiny_wan: Path, tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model": str(tiny_wan), "lora": str(lora(tmp_path, weights)), "quantize": "fp8"}
    setup = set_up(IndexConfig(**config, parameters=("lora",)))
    assert setup.identity.gradient["settings"]["quantize"] == "fp8"
    with pytest.raises(ConfigError, match="parameters must be lora with quantize fp8"):
        set_up(IndexConfig(**config))
    with pytest.raises(ConfigError, match="quantize must be none or fp8 on cpu, got nf4: bitsandbytes needs a CUDA"):
        load_adapter(tiny_wan, quantize="nf4")
    from motive.adapters.low_bit import nf4

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match=r"motive\[nf4\]"):
        nf4(torch.bfloat16, torch.device("cuda"))


def test_a_folder_that_is_quantized_already_is_refused_by_name(tiny_wan: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny_wan, tmp_path / "wan"))
    path = folder / "transformer" / "config.json"
    quantized = {**json.loads(path.read_text()), "quantization_config": {"quant_method": "bitsandbytes"}}
    path.write_text(json.dumps(quantized))
    with pytest.raises(ModelError, match="quantized by bitsandbytes, which is not read"):
        load_adapter(folder)
