"""Measured speeds are kept for the user, read back, and change how gradients are taken, not what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import motive_kernels as mk
from motive.errors import OptionError
from motive.indexing.calibrate import calibrate, load_costs


def test_speeds_are_measured_kept_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "costs.json"
    assert load_costs("cpu", path) is None
    costs = calibrate("cpu", path)
    assert load_costs("cpu", path) == costs
    assert load_costs("cuda", path) is None
    assert all(0 < getattr(costs, name) < 1e6 for name in ("matmul", "product", "sketch", "flat"))


@pytest.mark.parametrize("text", ["{", "[1]", '{"cpu": {"speed": 1}}', '{"cpu": {"matmul": -1}}'])
def test_a_damaged_file_says_how_to_mend_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "costs.json").write_text(text)
    with pytest.raises(OptionError, match="motive doctor --calibrate"):
        load_costs("cpu", tmp_path / "costs.json")


def test_speeds_choose_the_form_of_a_layer_and_not_its_vector() -> None:
    torch.manual_seed(0)
    model, x = torch.nn.Linear(300, 200), torch.randn(2, 40, 300)
    projector = mk.Projector(mk.ProjectionSpec(dim=128), {name: p.shape for name, p in model.named_parameters()})
    found = {}
    for flat in (1e-9, 1e9):
        capture = mk.GradientCapture(model, projector, costs=mk.CostModel(matmul=flat, flat=flat))
        z = capture(lambda: model(x).square().mean((1, 2)))
        found[capture.routes["weight"]] = z
    assert set(found) == {"token", "flat"}
    torch.testing.assert_close(found["token"], found["flat"], rtol=1e-4, atol=1e-5)
