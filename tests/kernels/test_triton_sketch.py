"""The Triton kernels of the sketch routes against float64, in Triton's interpreter on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

from tests.kernels import triton_interpreter
from tests.kernels.sketch_data import Tables, gradients, outer, tokens

pytest.importorskip("triton", reason="the package triton is not installed")
if not triton_interpreter.interpreted():

    def test_in_the_interpreter() -> None:
        """Everything else in this file, in a separate process."""
        triton_interpreter.run_interpreted(__file__)

else:
    triton_interpreter.repair()
    from motive_kernels.ops.outer_sketch import triton as factorized_route
    from motive_kernels.ops.tensor_sketch import triton as materialized_route

    @pytest.fixture(autouse=True)
    def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
        """Small enough that small tensors, which are quick to interpret, take several programs of each kind."""
        monkeypatch.setattr(materialized_route, "COLUMN_RUNS", 2)
        monkeypatch.setattr(factorized_route, "TILE", 16)
        monkeypatch.setattr(factorized_route, "TOKENS", 16)
        monkeypatch.setattr(factorized_route, "TOKENS_OF_SPLIT", 32)

    @pytest.mark.parametrize(
        ("n", "o", "i", "k"), [(2, 5, 9, 16), (1, 1, 70, 7), (4, 17, 33, 16), (1, 40, 1, 12), (1, 3, 2, 1)]
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    def test_flat(n: int, o: int, i: int, k: int, dtype: torch.dtype) -> None:
        tables, grad = Tables(o, i, k), gradients(n, o, i).to(dtype)
        found = torch.zeros(n, k)
        materialized_route.tensor_sketch_into(found, grad, tables.rows, tables.columns, 0.5)
        wanted = 0.5 * tables.apply(grad)
        assert float((found - wanted).norm() / wanted.norm()) < 1e-6

    def test_flat_takes_any_strides() -> None:
        whole = gradients(3, 20, 30)
        for grad in (whole[::2, 1:, 3:], whole.transpose(1, 2), whole[:1].expand(2, -1, -1)):
            tables, found = Tables(grad.shape[1], grad.shape[2], 8), torch.zeros(grad.shape[0], 8)
            materialized_route.tensor_sketch_into(found, grad, tables.rows, tables.columns, 1.0)
            wanted = tables.apply(grad)
            assert float((found - wanted).norm() / wanted.norm()) < 1e-6

    @pytest.mark.parametrize(
        ("n", "t", "o", "i", "k"),
        [(2, 3, 5, 9, 16), (1, 40, 17, 33, 16), (1, 5, 40, 6, 8), (1, 4, 6, 40, 8), (1, 1, 1, 1, 1)],
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    def test_token(n: int, t: int, o: int, i: int, k: int, dtype: torch.dtype) -> None:
        """Either side below and above the width. The interpreter's products are exact: tf32x3 is for the GPU to show."""
        tables = Tables(o, i, k)
        x, dy = (side.to(dtype) for side in tokens(n, t, o, i))
        found = torch.zeros(n, k)
        factorized_route.outer_sketch_into(found, x, dy, tables.rows, tables.columns, None, 0.5)
        norms = (x.double().square().sum(2) * dy.double().square().sum(2)).sum().sqrt()
        assert float((found - 0.5 * tables.apply(outer(x, dy))).norm() / norms) < 1e-6

    def test_token_ragged() -> None:
        tables = Tables(9, 20, 8)
        x, dy = tokens(4, 37, 9, 20)
        lengths = torch.tensor([0, 1, 37, 32])
        for s, length in enumerate(lengths.tolist()):
            x[s, length:], dy[s, length:] = math.nan, math.inf
        found = torch.zeros(4, 8)
        factorized_route.outer_sketch_into(found, x, dy, tables.rows, tables.columns, lengths, 1.0)
        for s, length in enumerate(lengths.tolist()):
            wanted = tables.apply(outer(x[s : s + 1, :length], dy[s : s + 1, :length]))[0]
            assert torch.allclose(found[s].double(), wanted, rtol=0, atol=1e-2), f"sample {s} of {length} tokens"

    def test_too_wide() -> None:
        with pytest.raises(RuntimeError, match="dim must be at most"):
            materialized_route.tensor_sketch_into(
                torch.zeros(1, 20000), torch.zeros(1, 1, 1), torch.zeros(1), torch.zeros(1), 1.0
            )
