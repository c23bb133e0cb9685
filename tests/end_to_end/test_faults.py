"""The short form of the fault harness: a few of each fault; a section raises where a promise does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import damage, disks, media, run, scoring, soak


@pytest.mark.parametrize(
    "section",
    [
        run.kills,
        run.workers,
        scoring.run,
        damage.run,
        media.run,
        pytest.param(disks.run, marks=pytest.mark.long("starts ten indexing processes on disks that fail")),
        pytest.param(soak.run, marks=pytest.mark.long("indexes with restarts for a while")),
    ],
    ids=lambda s: f"{s.__module__}.{s.__name__}",
)
def test_faults_are_survived(section, tmp_path: Path) -> None:
    rows = section(True, tmp_path)
    assert rows
    assert all(row.count > 0 for row in rows)


def test_readers_meet_only_our_own_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.faults import fuzz

    monkeypatch.setattr(fuzz, "QUICK_ROUNDS", 20)
    assert fuzz.run(True, tmp_path)[0].count == 20 * len(fuzz.TARGETS)


def test_the_plan_scales_by_its_simulation() -> None:
    from tests.faults.scale import Cluster, simulate

    efficiency, deaths, _ = simulate(Cluster(clips=6_000_000, workers=200))
    assert deaths > 50
    assert efficiency > 0.95
