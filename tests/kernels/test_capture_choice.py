"""The form of every linear layer of Wan: a function of shapes, dtype and type of device, and of nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motive_kernels.capture.choice import CPU, GPU_16, GPU_32, factorized_is_cheaper

K = 512
SIZES = {
    "1.3B": {"num_attention_heads": 12, "ffn_dim": 8960},
    "5B": {"num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48},
    "14B": {"num_attention_heads": 40, "ffn_dim": 13824},
}
TOKENS = {
    "1.3B": {"preview": 1950, "full": 32760},
    "5B": {"preview": 520, "full": 8190},
    "14B": {"preview": 1950, "full": 32760},
}
TEXT = 512
MATERIALIZED = {
    ("1.3B", "preview"): {"patch_embedding", "proj_out"},
    ("1.3B", "full"): {"patch_embedding", "proj_out"},
    ("5B", "full"): {"patch_embedding", "proj_out"},
    ("14B", "preview"): {"patch_embedding", "proj_out"},
    ("14B", "full"): {"patch_embedding", "proj_out"},
}
"""In 16 bits on a GPU: [d, 64] and [d, 192] take few multiply-adds a token, which tensor cores make cheaper than
transforms. Everything else, every layer on the CPU, and every layer in float32 is factorized."""


def layers(size: str) -> dict[str, tuple[int, int]]:
    """Name -> (o, i) of every layer with a matrix, of one block and of what surrounds the blocks."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        model = diffusers.WanTransformer3DModel(num_layers=1, cross_attn_norm=True, **SIZES[size])
    return {
        name: (module.weight.shape[0], module.weight[0].numel())
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv3d))
    }


def tokens(name: str, latent: int) -> int:
    """Rows of a sample that a layer sees."""
    if "time" in name:
        return 1
    return TEXT if "text" in name or "attn2.to_k" in name or "attn2.to_v" in name else latent


@pytest.mark.parametrize("length", ["preview", "full"])
@pytest.mark.parametrize("size", SIZES)
def test_every_layer_of_wan(size: str, length: str) -> None:
    shapes, latent = layers(size), TOKENS[size][length]
    assert len(shapes) == 17, "ten of a block, seven around the blocks"
    for device, dtype in (("cpu", torch.float32), ("cpu", torch.bfloat16), ("cuda", torch.float32)):
        for name, (o, i) in shapes.items():
            assert factorized_is_cheaper(tokens(name, latent), o, i, K, dtype, device), f"{name} {device} {dtype}"
    for dtype in (torch.bfloat16, torch.float16):
        formed = {
            name
            for name, (o, i) in shapes.items()
            if not factorized_is_cheaper(tokens(name, latent), o, i, K, dtype, "cuda")
        }
        assert formed == MATERIALIZED.get((size, length), set())


def test_narrow_layers_are_formed() -> None:
    """LoRA factors of rank 4 on the CPU, [64, 64] on a GPU."""
    assert not factorized_is_cheaper(1000, 4, 64, K, torch.float32, "cpu")
    assert not factorized_is_cheaper(1000, 64, 64, K, torch.bfloat16, "cuda")


@pytest.mark.parametrize("costs", [CPU, GPU_16, GPU_32])
def test_a_wider_layer_never_turns_to_the_materialized_form(costs) -> None:
    for t in (1, 100, 10_000):
        ratios = [costs.factorized(t, w, w, K) / costs.materialized(t, w, w) for w in (512, 1024, 2048, 4096, 8192)]
        assert ratios == sorted(ratios, reverse=True)
