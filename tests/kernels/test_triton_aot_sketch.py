"""The Triton kernels of the sketch routes compile for sm_90: no spills, wide loads, products on the tensor cores."""

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


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("dim", "warps"), [(512, 4), (2048, 16)])
def test_materialized(kind: str, dim: int, warps: int) -> None:
    from motive_kernels.ops.tensor_sketch.triton import COLUMN_RUNS, sketch_kernel

    no_spills(
        compile_sm90(
            sketch_kernel,
            {
                "grad": f"*{kind}",
                **dict.fromkeys(("rows", "columns"), "*i32"),
                "partial": "*fp32",
                **dict.fromkeys(("sample_stride", "row_stride"), "i64:16"),
                **dict.fromkeys(("row_runs", "column_runs", "buckets", "splits", "row_splits"), "i32"),
                **dict.fromkeys(("width", "dim"), "i32:16"),
            },
            {"COLUMN_RUNS": COLUMN_RUNS, "K": dim},
            num_warps=warps,
        )
    )


@pytest.mark.parametrize("kind", TYPES)
def test_count_sketch(kind: str) -> None:
    from motive_kernels.ops.outer_sketch.triton import count_sketch_kernel

    compiled = compile_sm90(
        count_sketch_kernel,
        {
            "data": f"*{kind}",
            "table": "*i32",
            "out": "*fp32",
            **dict.fromkeys(("sample_stride", "token_stride"), "i64:16"),
            **dict.fromkeys(("tokens", "runs", "blocks"), "i32"),
            **dict.fromkeys(("width", "dim"), "i32:16"),
        },
        {"BLOCK": 8, "K": 512},
        num_warps=8,
    )
    no_spills(compiled)
    assert compiled.sass().count("LDG.E.128") >= 2, "tokens are not read 16 bytes at a time"


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("ragged", [True, False])
def test_products(kind: str, ragged: bool) -> None:
    from motive_kernels.ops.outer_sketch.triton import TILE, TOKENS, products_kernel

    strides = [f"{side}_{axis}_stride" for side in ("left", "right") for axis in ("sample", "token")]
    compiled = compile_sm90(
        products_kernel,
        {
            **dict.fromkeys(("left", "right"), f"*{kind}"),
            "partial": "*fp32",
            "lengths": "*i64",
            **dict.fromkeys(strides, "i64:16"),
            **dict.fromkeys(("left_width", "right_width", "split_tokens"), "i32:16"),
            **dict.fromkeys(("tokens", "splits"), "i32"),
        },
        {"HAS_LENGTHS": ragged, "TILE": TILE, "TOKENS": TOKENS},
        num_warps=8,
    )
    no_spills(compiled)
    assert compiled.sass().count("HGMMA") >= 3, "the three tf32 products do not run on Hopper's matrix units"


@pytest.mark.parametrize("short", [True, False])
def test_fold(short: bool) -> None:
    from motive_kernels.ops.outer_sketch.triton import FOLD_ROWS, fold_kernel

    no_spills(
        compile_sm90(
            fold_kernel,
            {
                **dict.fromkeys(("partial", "folded"), "*fp32"),
                **dict.fromkeys(("rows", "columns"), "*i32"),
                **dict.fromkeys(("left_width", "right_width", "dim"), "i32:16"),
                **dict.fromkeys(("splits", "groups"), "i32"),
            },
            {"SHORT_LEFT": short, "SHORT_RIGHT": short, "ROWS": FOLD_ROWS, "K": 512},
            num_warps=4,
        )
    )
