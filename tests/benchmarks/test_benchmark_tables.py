"""Tables show what was measured next to what was promised and predicted, and invent nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import predictions, roofline, tables
from benchmarks.harness.predictions import DATA_SHEETS, WAN_1_3B
from benchmarks.harness.targets import TARGETS, number
from benchmarks.harness.tuning import EXPECTED

ROOT = Path(__file__).resolve().parents[2]
H200 = DATA_SHEETS[0]

ROWS = [
    {"op": "ceilings", "device": "card", "commit": "abc", "suite": "ceilings", "case": "ceilings",
     "per_ms": {"read": 4e9, "copy": 4.2e9, "product": 8e11, "int8": None, "fp8": None}},
    {"op": "tensor_sketch_into, whole model", "impl": "cuda, one list", "suite": "kernels", "case": "materialized/model",
     "dtype": "bfloat16", "shape": [1, 10], "bytes": 2.8e9, "flops": 1.4e9, "ms_median": 0.8,
     "fraction_of_ceiling": 0.875, "ratio": 1.1, "baseline": "torch.sum, graph"},
    {"op": "topk_dot", "impl": "triton", "dtype": "int8", "suite": "scoring", "case": "search/1000000/int8",
     "shape": [1_000_000, 512, 50, 100], "bytes": 5e8, "ms_median": 0.9, "fraction_of_ceiling": 0.14},
]  # fmt: skip


def test_without_rows_nothing_is_claimed() -> None:
    text = tables.headline([])
    assert text.count(tables.NOT_MEASURED) == len(TARGETS)
    assert "predicted, H200 data sheet" in text
    assert "Nothing has been measured" in tables.tables([])


def test_rows_meet_or_miss_their_targets() -> None:
    lines = [line for line in tables.headline(ROWS).splitlines() if tables.NOT_MEASURED not in line]
    text = "\n".join(lines)
    assert "predicted from its ceilings" in text
    assert "| 0.875 |" in text
    assert "| 0.9, missed |" in text
    assert "| 0.14, missed |" in text
    assert number(0.1234) == "0.123"
    assert number(1234.5) == "1,234"


def test_a_rehearsal_meets_and_misses_nothing() -> None:
    text = tables.tables([{**row, "rehearsal": True} for row in ROWS])
    assert text.count(f"| {tables.NOT_MEASURED} |") >= len(TARGETS)
    assert "missed" not in text
    assert "cuda, one list" in text, "its rows are shown"


def test_a_page_gets_its_tables() -> None:
    begin, end = tables.BEGIN.format("tables"), tables.END.format("tables")
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    done = tables.into_page(page, ROWS)
    assert done.startswith("before\n")
    assert done.endswith("after\n")
    assert "old" not in done
    assert tables.into_page(done, ROWS) == done
    with pytest.raises(ValueError, match="must hold"):
        tables.into_page("no marks", ROWS)


@pytest.mark.parametrize("name", ["performance.md", "log.md"])
def test_committed_pages_are_what_the_results_give(name: str) -> None:
    """They are generated: python -m benchmarks.harness.tables --write docs/performance.md docs/log.md."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert tables.into_page(page, tables.committed()) == page


def test_every_kernel_has_a_prediction_before_it_is_measured() -> None:
    assert tables.tuning([]).count(tables.NOT_MEASURED) == len(EXPECTED)
    assert all(0 < expected.ms(card) < 1e5 for expected in EXPECTED for card in DATA_SHEETS)
    card = predictions.Card("", 4e9, 8e11)
    line = next(line for line in tables.tuning(ROWS).splitlines() if "one list" in line)
    assert f"{number(predictions.flat_ms(card))} | 0.8 | {number(0.8 / predictions.flat_ms(card))} x" in line


def test_roofline_points() -> None:
    assert roofline.points(ROWS) == {"tensor_sketch_into, whole model, cuda, one list": (0.5, 1.75e12)}
    assert roofline.draw([], Path("nowhere.svg")) == "nothing to draw yet"


def test_roofline_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert roofline.draw(ROWS, tmp_path / "roofline.svg") is None
    assert "<svg" in (tmp_path / "roofline.svg").read_text()


def test_predictions_agree_with_arithmetic_by_hand() -> None:
    """81 frames of 480 x 832: 82 TFLOP of linear layers and 198 of attention, forward; 939 with the backward pass."""
    linear, attention = (f(WAN_1_3B, 32760) / 1e12 for f in (predictions.linear_flops, predictions.attention_flops))
    assert linear == pytest.approx(82, rel=0.02)
    assert attention == pytest.approx(201, rel=0.02)  # 198 of self attention and 3 on the text
    assert 3 * linear + 3.5 * attention == pytest.approx(939, rel=0.02)
    assert predictions.search_ms(H200, 10**8) == pytest.approx(10.8, rel=0.01)
    assert predictions.weight_gradient_ms(H200, 32760) * 0.8 == pytest.approx(82.9, rel=0.01)


def test_predictions_grow_with_the_work() -> None:
    base = predictions.pass_ms(H200, WAN_1_3B, 1950, weights=False)
    assert predictions.pass_ms(H200, WAN_1_3B, 3900, weights=False) > 2 * base
    assert predictions.pass_ms(H200, WAN_1_3B, 1950, weights=False, recomputed=1) > base
    assert predictions.pass_ms(H200, WAN_1_3B, 1950, weights=True) > base
