"""The main job on the built-in clips and model: from rendered video files to a report, in one call."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from motive.curate import SelectConfig, select
from motive.errors import OptionError
from motive.evaluate import EvaluateConfig, EvaluationResult, compare, save
from motive.extras import require
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig
from motive.indexing.index import index, query
from motive.masks import MaskConfig
from motive.reporting import ReportConfig, report
from motive.result import Result
from motive.scoring import ScoreConfig, score
from motive.toy.pool import write_pool, write_queries

NEEDED = (("av", "video"), ("cv2", "video"), ("diffusers", "models"), ("pyarrow", "tables"), ("jinja2", "report"))
"""Packages that some stage will ask for, and the extras that bring them."""

MARKER = "made-by-motive-demo"
"""File that tells a folder of an earlier demo from a folder of the user's."""


@dataclass(frozen=True)
class DemoConfig:
    """How large the demo is.

    Attributes:
        clips_per_motion: clips of each of the thirteen kinds in the pool.
        queries_per_motion: held-out queries of each of the ten motion types.
        seed: of the rendered clips; 1 was first looked at after every setting had been chosen on other clips.
        draws: shared noise levels.
    """

    clips_per_motion: int = 19
    queries_per_motion: int = 3
    seed: int = 1
    draws: DrawConfig = field(default_factory=DrawConfig)


@dataclass(frozen=True)
class DemoResult(Result):
    """What the demo made.

    Attributes:
        report: the page to open.
        selection: folder of the selected subset.
        evaluation: precision@k of same-motion clips, by method.
        seconds: per stage.
    """

    report: Path
    selection: Path
    evaluation: EvaluationResult
    seconds: dict[str, float]

    def lines(self) -> list[str]:
        """The result for a person."""
        found = self.evaluation
        lines = [
            "",
            f"precision@{found.top} of same-motion clips ({found.clips} clips, {found.queries} queries)",
            "",
        ]
        for row in found.rows:
            ratio = f"{row.ratio:4.1f} x chance" if row.ratio is not None else ""
            lines.append(f"  {row.method:44} {row.precision:.3f} [{row.low:.3f}, {row.high:.3f}]  {ratio}")
        lines += [f"  {'chance':44} {found.chance:.3f}", ""]
        lines += [
            f"time      {sum(self.seconds.values()):.0f} s: "
            + ", ".join(f"{k} {v:.0f}" for k, v in self.seconds.items())
        ]
        lines += [f"subset    {self.selection / 'metadata.csv'}", f"report    {self.report}"]
        return lines


def demo(out: Path | str, config: DemoConfig | None = None, *, show_progress: bool = False) -> DemoResult:
    """Render a pool and queries, index them with and without the motion mask, score, select, evaluate, report.

    Args:
        out: folder for everything; an earlier demo's folder is replaced.
        config: sizes and seed.
        show_progress: draw progress bars on stderr.

    Raises:
        OptionError: ``out`` holds something else than an earlier demo.
    """
    out, config = Path(out), config or DemoConfig()
    for package, extra in NEEDED:  # before the earlier demo is emptied
        require(package, "demo", extra=extra)
    clear_earlier(out)
    stage = Stages()
    with stage("render"):
        pool = write_pool(out / "pool", clips_per_motion=config.clips_per_motion, seed=config.seed)
        queries = write_queries(out / "queries", clips_per_motion=config.queries_per_motion, seed=config.seed)
    scores: dict[str, Path] = {}
    for weighting in ("motion", "uniform"):
        store, asked = out / f"store-{weighting}", out / f"queries-{weighting}"
        settings = IndexConfig(
            mask=MaskConfig(weighting=weighting),
            draws=config.draws,
            batch_size=4,
            micro_batch_draws=config.draws.number,
            cache=str(out / "cache"),
        )
        with stage(f"index, {weighting} weights"):
            index(pool, out=store, config=settings, show_progress=show_progress)
            query(queries, like=store, out=asked, show_progress=show_progress)
        with stage("score"):
            for preconditioner in ("ridge", "none"):
                path = out / f"scores-{weighting}-{preconditioner}.parquet"
                score(store, asked, path, ScoreConfig(preconditioner=preconditioner))
                scores[METHODS[weighting, preconditioner]] = path
    main = scores[METHODS["motion", "ridge"]]
    with stage("select"):
        select(main, out / "selected", SelectConfig(top="10%"))
    with stage("evaluate"):
        found = compare(scores, EvaluateConfig())
        save(found, out / "evaluation.json")
    with stage("report"):
        shown = ReportConfig(max_queries=30, selection=out / "selected", evaluation=out / "evaluation.json")
        page = report(main, out / "report", shown)
    return DemoResult(page.path, out / "selected", found, stage.seconds)


METHODS = {
    ("motion", "ridge"): "motion-weighted gradients, ridge",
    ("motion", "none"): "motion-weighted gradients",
    ("uniform", "none"): "unweighted gradients",
    ("uniform", "ridge"): "unweighted gradients, ridge",
}


class Stages:
    """Adds up the seconds of each stage by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def clear_earlier(out: Path) -> None:
    """Make ``out`` an empty folder marked as a demo's; only a folder with that mark is ever emptied."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise OptionError(
                f"demo: out must be a new folder or an earlier demo's, got {out}; give another with --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("This folder was made by motive demo, which empties it before each run.\n")
