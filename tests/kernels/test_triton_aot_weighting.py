"""The Triton kernels of motion weights, noise and loss compile for sm_90, without spills and with wide loads."""

from __future__ import annotations

import pytest

from tests.kernels.triton_aot import Compiled, compile_sm90
from tests.kernels.triton_interpreter import interpreted

pytest.importorskip("triton", reason="the package triton is not installed")
if interpreted():
    pytest.skip("this process interprets Triton", allow_module_level=True)

TYPES = ("fp32", "bf16", "fp16")


def no_spills(compiled: Compiled) -> None:
    assert compiled.stack_bytes == 0, f"{compiled.stack_bytes} bytes of stack a thread: registers spill"
    assert compiled.registers <= 128, f"{compiled.registers} registers a thread leave too few warps to hide memory"


def wide_loads(compiled: Compiled) -> int:
    return compiled.sass().count("LDG.E.128")


@pytest.mark.parametrize("kind", TYPES)
def test_noise(kind: str) -> None:
    from motive_kernels.ops.noise_latents.triton import BLOCK, noise_kernel

    pointer = f"*{kind}"
    compiled = compile_sm90(
        noise_kernel,
        {
            "latents": pointer,
            "noise": pointer,
            "sigma": "*fp32",
            "noisy": pointer,
            "target": pointer,
            "samples": "i32",
            "size": "i32:16",
            "noise_stride": "i64:16",
        },
        {"BLOCK": BLOCK},
    )
    no_spills(compiled)
    assert wide_loads(compiled) >= 2, "latents and noise are not read 16 bytes at a time"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("weighted", [True, False])
def test_loss(kind: str, weighted: bool) -> None:
    from motive_kernels.ops.weighted_loss.triton import BLOCK, residual_kernel, sum_kernel

    pointer = f"*{kind}"
    compiled = compile_sm90(
        residual_kernel,
        {
            "prediction": pointer,
            "target": pointer,
            "weights": "*fp32",
            "gradient": pointer,
            "partial": "*fp32",
            "channels": "i32",
            "cells": "i32:16",
            "blocks": "i32",
            "factor": "fp32",
        },
        {"WEIGHTED": weighted, "BLOCK": BLOCK},
    )
    no_spills(compiled)
    assert wide_loads(compiled) >= 2, "prediction and target are not read 16 bytes at a time"
    no_spills(
        compile_sm90(
            sum_kernel, {"partial": "*fp32", "loss": "*fp32", "blocks": "i32", "factor": "fp32"}, {"BLOCK": BLOCK}
        )
    )


@pytest.mark.parametrize(
    ("kind", "area", "resize_first", "confident"),
    [
        ("fp32", False, False, False),
        ("fp32", True, True, True),
        ("fp32", False, True, True),
        ("bf16", True, False, True),
        ("bf16", False, False, False),
        ("fp16", True, True, False),
    ],
)
def test_resize(kind: str, area: bool, resize_first: bool, confident: bool) -> None:
    from motive_kernels.ops.motion_weights.triton import BLOCK, CELLS, resize_kernel

    compiled = compile_sm90(
        resize_kernel,
        {
            "flow": f"*{kind}",
            "confidence": f"*{kind}",
            **dict.fromkeys(("resized", "lowest", "highest"), "*fp32"),
            **dict.fromkeys(("height", "width"), "i32:16"),
            **dict.fromkeys(("rows", "columns", "bands"), "i32"),
            **dict.fromkeys(("y_scale", "x_scale"), "fp32"),
        },
        {"CONFIDENT": confident, "AREA": area, "RESIZE_FIRST": resize_first, "BLOCK": BLOCK, "CELLS": CELLS},
        enable_fp_fusion=False,
    )
    no_spills(compiled)
    assert wide_loads(compiled) >= 1, "the flow is not read 16 bytes at a time"
    assert "fma.rn.f32" not in compiled.asm["ptx"], "a fused multiply-add makes equal motion unequal"


@pytest.mark.parametrize("pooling", ["causal_mean", "causal_max", "stride", "trilinear"])
def test_pool(pooling: str) -> None:
    from motive_kernels.ops.motion_weights.triton import BLOCK, pool_kernel

    no_spills(
        compile_sm90(
            pool_kernel,
            {
                **dict.fromkeys(("resized", "lowest", "highest", "weights"), "*fp32"),
                **dict.fromkeys(("clip_frames", "parts", "frames", "cells", "blocks", "group"), "i32"),
                **dict.fromkeys(("t_scale", "epsilon"), "fp32"),
            },
            {"POOLING": pooling, "BLOCK": BLOCK},
            enable_fp_fusion=False,
        )
    )
