"""The Triton kernels of search and quantisation in Triton's interpreter, and their code for sm_90."""

from __future__ import annotations

import pytest
import torch

from motive_kernels.ops.dot_scores import reference as scores_reference
from motive_kernels.ops.quantize_rows import reference as quantize_reference
from motive_kernels.ops.topk_dot import reference as topk_reference
from motive_kernels.ops.vote import reference as vote_reference
from motive_kernels.search import best as topk_search
from motive_kernels.search import elect as vote_search
from motive_kernels.search.base import Queries, Rows
from motive_kernels.search.best import search
from motive_kernels.search.elect import elect
from tests.kernels import triton_interpreter
from tests.kernels.search_data import vectors
from tests.kernels.triton_aot import compile_sm90

pytest.importorskip("triton", reason="the package triton is not installed")
if not triton_interpreter.interpreted():

    def test_in_the_interpreter() -> None:
        """The other half of this file, in a separate process."""
        triton_interpreter.run_interpreted(__file__)

    @pytest.mark.parametrize("kind", ["i8", "fp16", "fp32"])
    def test_scan_compiles_for_sm_90(kind: str) -> None:
        from motive_kernels.search import triton as kernels

        query = "*i8" if kind == "i8" else "*fp32"
        types = {
            "high_bytes": query, "low_bytes": query, "query_scales": "*fp32", "store": f"*{kind}",
            "row_scales": "*fp32", "keep": "*u8", "low": "*fp32", "high": "*fp32", "weights": "*i32",
            "votes": "*i32", "best": "*fp32", "counts": "*i64", "lowest": "*fp32", "highest": "*fp32",
            "total": "*fp64", "listed_scores": "*fp32", "listed_rows": "*i64", "broken": "*i32",
            "rows": "i64", "queries": "i32", "dim": "i32:16", "stride": "i64:16", "capacity": "i64",
        }  # fmt: skip
        flags = {"INT8": kind == "i8", "SCALED": True, "KEPT": True, "VOTES": True, "WEIGHTED": True, "BEST": True}
        sizes = {"ROWS": kernels.ROWS, "QUERIES": kernels.QUERIES, "DEPTH": kernels.DEPTH}
        compiled = compile_sm90(kernels.scan_kernel, types, {**flags, **sizes}, num_warps=kernels.WARPS)
        assert compiled.stack_bytes == 0, f"{compiled.stack_bytes} bytes of stack a thread: registers spill"
        if kind == "i8":
            assert "IMMA" in compiled.sass() or "IGMMA" in compiled.sass(), "products are not made by tensor cores"

    @pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16"])
    def test_quantize_compiles_for_sm_90(kind: str) -> None:
        from motive_kernels.ops.quantize_rows.triton import quantize_kernel

        compiled = compile_sm90(
            quantize_kernel,
            {
                "z": f"*{kind}",
                "values": "*i8",
                "scales": "*fp32",
                "broken": "*i32",
                "dim": "i32:16",
                "stride": "i64:16",
            },
            {"UNIT": True, "BLOCK": 512},
        )
        assert compiled.stack_bytes == 0

else:
    triton_interpreter.repair()
    from motive_kernels.ops.quantize_rows import triton as quantizer
    from motive_kernels.search import triton as scanner

    @pytest.fixture(autouse=True)
    def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
        """Small enough that small stores, which are quick to interpret, take several programs."""
        monkeypatch.setattr(scanner, "ROWS", 16)
        monkeypatch.setattr(scanner, "DEPTH", 16)
        monkeypatch.setattr(quantizer, "BLOCK", 16)
        monkeypatch.setattr(topk_search, "SAMPLE_ROOT", 2)
        monkeypatch.setattr(vote_search, "SAMPLE_FACTOR", 1.0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    def test_quantize(dtype: torch.dtype) -> None:
        for n, k in ((1, 1), (9, 40), (5, 16)):
            for unit in (True, False):
                z = vectors(n, k).to(dtype)
                got, want = quantizer.quantize_rows(z, unit), quantize_reference.quantize_rows(z, unit)
                assert torch.equal(got[0], want[0])
                assert torch.equal(got[1], want[1])
                assert got[2] == want[2] == n
        z = vectors(9, 40).to(dtype)
        z[4, 39] = float("nan")
        assert quantizer.quantize_rows(z, True)[2] == 4

    @pytest.mark.parametrize("kind", ["int8", "float32", "float16"])
    def test_search(kind: str) -> None:
        z, queries = vectors(70, 37), vectors(18, 37, seed=1)
        store, scales, _ = quantize_reference.quantize_rows(z, True)
        if kind != "int8":
            store = z.to(getattr(torch, kind))
        keep = torch.arange(70) % 3 != 0
        for kept in (None, keep):
            rows, asked = Rows(store, scales, kept), Queries.of(queries, store)
            scores, found = search(scanner.scan, asked, [rows], 6)
            want = topk_reference.topk_dot(queries, store, 6, scales, kept, True)
            torch.testing.assert_close(scores, want[0], rtol=1e-5, atol=1e-6)
            weights = torch.arange(18, dtype=torch.int32)
            total = 70 if kept is None else int(kept.sum())
            done = elect(
                scanner.scan, asked, [rows], vote_reference.share_count(0.2, total), weights=weights, spread=True
            )
            votes, thresholds, *_ = vote_reference.vote(queries, store, 0.2, scales, kept, weights, False)
            torch.testing.assert_close(done.thresholds, thresholds, rtol=1e-5, atol=1e-6)
            if kind == "int8":
                assert torch.equal(scores, want[0])
                assert torch.equal(found, want[1])
                assert torch.equal(done.votes, votes)
                every = scores_reference.all_scores(queries, store, scales, "test")
                every = every if kept is None else every[:, kept]
                assert torch.equal(done.found.lowest, every.amin(dim=1))
                assert torch.equal(done.found.highest, every.amax(dim=1))
                torch.testing.assert_close(done.found.total, every.double().sum(dim=1))

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    def test_broken_rows_are_found() -> None:
        z = torch.ones(40, 5)
        z[33, 2] = float("inf")
        with pytest.raises(ValueError, match="row 33"):
            search(scanner.scan, Queries.of(torch.ones(2, 5), z), [Rows(z)], 3)
