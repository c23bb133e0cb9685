"""The full-size models have the published shapes, and what measures them on a GPU runs whole on their small twins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.harness.device import Setting
from benchmarks.harness.rows import read_rows
from benchmarks.pipeline import encoders, end_to_end, extrapolate, gradients
from benchmarks.pipeline.models import MODELS, random_adapter, random_component, small, tokens_of
from benchmarks.pipeline.stages import kind_of, shares

REHEARSAL = Setting("cpu")


@pytest.mark.parametrize("name", MODELS)
def test_models_have_their_parameters(name: str) -> None:
    model = MODELS[name]
    made = random_component(model.transformer, "meta", torch.bfloat16)
    assert sum(p.numel() for p in made.parameters()) == model.parameters


@pytest.mark.parametrize(
    ("name", "clip", "tokens"),
    [
        ("wan2.1-1.3b", "full", 32760),
        ("wan2.1-1.3b", "preview", 1950),
        ("wan2.2-ti2v-5b", "full", 8190),
        ("ltx-2b", "full", 4290),
    ],
)
def test_clips_have_their_tokens(name: str, clip: str, tokens: int, tmp_path: Path) -> None:
    model = MODELS[name]
    assert tokens_of(model, random_adapter(model, tmp_path, "cpu", "bfloat16"), clip) == tokens


def test_weights_are_in_the_types_of_a_loaded_model() -> None:
    made = random_component(small(MODELS["wan2.1-1.3b"]).transformer, "cpu", torch.bfloat16)
    types = {n: p.dtype for n, p in made.named_parameters()}
    assert types["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert types["blocks.0.norm2.weight"] == types["scale_shift_table"] == torch.float32
    assert all(bool(p.isfinite().all()) and bool(p.any()) for p in made.parameters() if p.ndim > 1)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "wan2.1-1.3b"])
def test_every_model_is_checked_against_plain_gradients(name: str, tmp_path: Path) -> None:
    bench = gradients.Bench(small(MODELS[name]), "full", REHEARSAL, tmp_path)
    bench.take(1)
    assert gradients.fit(bench) == 2, "half of the blocks go without a checkpoint"
    (row,) = gradients.check(bench)
    assert row["error"] < 1e-5


def test_every_pass_of_a_model_runs(tmp_path: Path) -> None:
    """With half of the blocks checkpointed; gradients are checked against plain ones inside."""
    assert gradients.main(["--rehearse", "--quick", "--clip", "full", "--out", str(tmp_path)]) == 0
    rows = list(read_rows(tmp_path / "results.jsonl"))
    passes = {row["impl"]: row for row in rows if row["op"] == "gradients"}
    assert set(passes) == {"ours", "training step, eager", "training step, compiled"}
    assert passes["ours"]["ratio"] > 0
    assert passes["ours"]["checkpointed_blocks"] == 2
    stages = [row for row in rows if row["op"] == "stages"]
    assert [row["impl"] for row in stages] == ["ours", "training step, eager"]
    assert all(sum(row["shares"].values()) == pytest.approx(1) for row in stages)
    assert next(row for row in rows if row["op"] == "check")["error"] < 1e-5


def test_indexing_runs_through_the_real_store(tmp_path: Path) -> None:
    assert end_to_end.main(["--rehearse", "--out", str(tmp_path)]) == 0
    (row,) = read_rows(tmp_path / "results.jsonl")
    assert row["clips_per_second"] == pytest.approx(row["clips"] / row["seconds"])
    assert set(row["shares"]) == {"prepare", "load", "store", "gradients"}
    assert row["store_bytes_per_clip"] > 4 * 512


def test_encoders_run(tmp_path: Path) -> None:
    assert encoders.main(["--rehearse", "--models", "ltx-2b", "--out", str(tmp_path)]) == 0
    kinds = {(row["impl"], row["clip"]) for row in read_rows(tmp_path / "results.jsonl")}
    assert ("AutoencoderKLLTXVideo", "full") in kinds
    assert ("T5EncoderModel", "1 captions") in kinds


@pytest.mark.parametrize(("peak_more", "free"), [(12e9, 30), (24e9, 9), (150e9, 0), (10e9, 30)])
def test_blocks_are_checkpointed_only_as_far_as_needed(peak_more: float, free: int) -> None:
    """10 GB with all 30 checkpointed, each of two freed ones takes (peak_more - 10 GB) / 2, 79 GB to fill."""
    assert gradients.free_blocks(79e9, 10e9, peak_more, 2, 30) == free


def test_kernels_are_sorted_by_their_names() -> None:
    assert kind_of("void cudnn_generated_fort_native_sdpa_sm90_flash_bprop") == "attention"
    assert kind_of("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT") == "products"
    assert kind_of("void motive::cuda::outer_sketch::outer_kernel<float>") == "projection"
    assert kind_of("vectorized_elementwise_kernel<4, gelu>") == "norms and the rest"
    found = shares({"flash_fwd": 1.0, "sm90_xmma_gemm": 2.0, "Memcpy DtoD": 0.5, "layer_norm": 0.5})
    assert found["products"] == 0.5
    assert sum(found.values()) == pytest.approx(1)
    assert sum(shares({}).values()) == 0


def test_extrapolation_is_the_slowest_worker() -> None:
    """1,000 clips in units of 256: four units, so a fifth card has nothing to do and the fourth is not full."""
    plan = extrapolate.Plan(clips=1000, unit_clips=256, start_s=60)
    assert extrapolate.hours(2.0, 1, plan) == pytest.approx((60 + 1000 * 2) / 3600)
    assert extrapolate.hours(2.0, 4, plan) == extrapolate.hours(2.0, 8, plan) == pytest.approx((60 + 256 * 2) / 3600)
    assert extrapolate.hours(0.04, 8, extrapolate.Plan()) == pytest.approx((120 + 489 * 256 * 0.04) / 3600)
    assert extrapolate.storage_bytes_per_s(1e6, 0.04, 8) == pytest.approx(200e6)
    with pytest.raises(ValueError, match="must be positive"):
        extrapolate.Plan(clips=0)


def test_extrapolation_and_comparison_read_the_rows() -> None:
    rows = [
        {"op": "end to end", "model": "wan2.1-1.3b", "clip": "preview", "clips_per_second": 25.0,
         "cached_bytes_per_clip": 2e6},
        {"op": "gradients", "model": "wan2.1-1.3b", "clip": "full", "impl": "ours", "ms_per_clip": 2000.0},
        {"op": "encode", "model": "wan2.1-1.3b", "clip": "full", "ms_median": 1000.0},
        {"op": "vote", "impl": "triton", "shape": [10_000, 512, 50, 100], "ms_median": 0.5},
    ]  # fmt: skip
    lines = extrapolate.lines(rows)
    assert len(lines) == 3 * len(extrapolate.CARDS)
    assert lines[0][2] == "11.1"
    assert "50 MB/s" in lines[0][3]
    assert lines[6][0].endswith("video encoder")
    paper = {what: here for what, _, here in extrapolate.beside_the_paper(rows)}
    assert paper["gradients of a clip of 81 frames of 480 x 832"] == "2 s"
    assert paper["votes of 50 queries on 10,000 clips"] == "0.5 ms"
    assert paper["a new query against 10,000 clips"] == "not measured"
