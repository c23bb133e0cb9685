"""Scores of one part of the model: those of a store that holds this part alone, and dot products add up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from motive.errors import OptionError
from motive.scoring import ScoreConfig, score, topk

PARTS = ("blocks.0", "blocks.1", "rest")


def table(path: Path) -> dict[str, np.ndarray]:
    read = parquet.read_table(path)
    return {name: read.column(name).to_numpy() for name in read.column_names if name.startswith("query/")}


@pytest.mark.parametrize(
    "options",
    [{}, {"similarity": "dot"}, {"preconditioner": "ridge"}, {"preconditioner": "whiten", "damping_auto": True}],
)
def test_a_part_scores_as_a_store_of_its_own(
    stored: Callable[..., Any], random_vectors: Callable[..., Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    clips, asked = random_vectors(40, 12), random_vectors(3, 12, prefix="query", seed=1)
    identity = {
        "projection": {"kind": "tensor_sketch", "dim": 12, "seed": 0},
        "gradient": {"model_parts": {"patterns": ["blocks.*"], "names": list(PARTS)}},
    }
    whole = stored("clips", clips, identity=identity), stored("queries", asked, identity=identity)
    total: dict[str, np.ndarray] = {}
    for place, part in enumerate(PARTS):
        columns = slice(4 * place, 4 * place + 4)
        alone = [
            stored(f"{name}-{place}", {clip_id: vector[columns] for clip_id, vector in vectors.items()})
            for name, vectors in (("clips", clips), ("queries", asked))
        ]
        score(*whole, tmp_path / f"{part}.parquet", ScoreConfig(model_part=part, **options))
        score(*alone, tmp_path / "alone.parquet", ScoreConfig(**options))
        got, want = table(tmp_path / f"{part}.parquet"), table(tmp_path / "alone.parquet")
        for name in want:
            assert np.array_equal(got[name], want[name])
            total[name] = total.get(name, 0) + got[name].astype(np.float64)
        if options.get("preconditioner") != "whiten":
            listed = topk(*whole, 7, ScoreConfig(model_part=part, **options))
            for place_of_query, name in enumerate(want):
                assert np.array_equal(listed.scores[place_of_query], np.sort(want[name])[::-1][:7])
    if options.get("similarity") == "dot":
        score(*whole, tmp_path / "whole.parquet", ScoreConfig(**options))
        for name, values in table(tmp_path / "whole.parquet").items():
            np.testing.assert_allclose(total[name], values, rtol=1e-5, atol=1e-5)


def test_a_part_that_is_not_there_is_refused(
    stored: Callable[..., Any], random_vectors: Callable[..., Any], tmp_path: Path
) -> None:
    store = stored("clips", random_vectors(4, 6))
    with pytest.raises(OptionError, match="model_part must be left out, since"):
        score(store, store, tmp_path / "s.parquet", ScoreConfig(model_part="blocks.0"))
