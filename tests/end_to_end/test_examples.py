"""The programs of examples/ run and find what they say they find."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_classifiers_influential_samples_are_of_the_kind_asked_for(capsys):
    main = runpy.run_path(str(EXAMPLES / "any_model.py"))["main"]
    share = main()
    assert share > 0.75, f"the best ten are {share:.0%} of the test sample's kind; by chance it would be 25 %"
    assert f"{share:.0%}" in capsys.readouterr().out
