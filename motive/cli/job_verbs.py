"""The verbs of the main job: their arguments, and what they print. The work is in motive.indexing, scoring, curate and reporting."""

from __future__ import annotations

import argparse
from pathlib import Path

from motive.cli import store_verbs
from motive.cli.flags import add_flags, config_from
from motive.cli.spec_flags import config_with_spec
from motive.cli.terminal import show
from motive.cli.verbs import Action
from motive.curate import SelectConfig, select
from motive.demo import DemoConfig, demo
from motive.doctor import doctor
from motive.errors import OptionError
from motive.indexing.config import IndexConfig, ReadConfig
from motive.indexing.estimate import estimate
from motive.indexing.index import IndexSummary, index, query
from motive.indexing.replay import replay
from motive.progress import Bar
from motive.reporting import ReportConfig, report
from motive.scoring import ExportConfig, ScoreConfig, export, score
from motive.workers.launch import LaunchConfig

FAILED_SOME = 3
"""Exit code when the run is complete but some clips were left out; each is in failed.parquet."""


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=store_verbs.location, help=store_verbs.DATASET)
    parser.add_argument(
        "--out",
        type=store_verbs.location,
        help="folder or address of the store; one that was created with the same settings is resumed",
    )
    parser.add_argument("--estimate", action="store_true", help="print hours, bytes and memory of the run, and stop")
    parser.add_argument(
        "--probe", type=int, default=0, metavar="N", help="compare exact and projected cosines on N clips"
    )
    _quiet(parser)
    add_flags(parser, LaunchConfig)
    add_flags(parser, IndexConfig)


def _index(args: argparse.Namespace) -> int:
    base = IndexConfig()
    config = config_with_spec(args, base, args.model or base.model, args.base, "index")
    if args.estimate:
        return show(estimate(args.dataset, config=config))
    if args.out is None:
        raise OptionError("index: --out is missing; give the folder or address of the store")
    launch = config_from(args, LaunchConfig())
    return _summary(
        index(args.dataset, out=args.out, config=config, probe=args.probe, show_progress=not args.quiet, launch=launch)
    )


def _query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", type=store_verbs.location, help=f"the query clips: {store_verbs.DATASET}")
    parser.add_argument("--like", type=store_verbs.location, required=True, help="store whose settings are taken")
    parser.add_argument("--out", type=store_verbs.location, required=True, help="folder of the queries' store")
    parser.add_argument("--device", help="where to compute, if other than for the store")
    parser.add_argument(
        "--segments", default="", metavar="TEXT", help="time:N or regions: parts of each clip become a query each"
    )
    _quiet(parser)
    add_flags(parser, ReadConfig)
    add_flags(parser, LaunchConfig)


def _query(args: argparse.Namespace) -> int:
    launch = config_from(args, LaunchConfig())
    done = query(
        args.clips,
        like=args.like,
        out=args.out,
        show_progress=not args.quiet,
        device=args.device,
        read=config_from(args, ReadConfig()),
        segments=args.segments,
        launch=launch,
    )
    return _summary(done)


def _summary(done: IndexSummary) -> int:
    show(done)
    return FAILED_SOME if done.failed else 0


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    place = store_verbs.location
    parser.add_argument("store", type=place)
    parser.add_argument("queries", type=place, help="store of query clips, made by motive query")
    parser.add_argument("--out", type=Path, required=True, help="scores.parquet to write")
    parser.add_argument("--also", type=place, nargs="+", default=[], metavar="STORE", help="further stores of clips")
    parser.add_argument(
        "--checkpoint",
        type=place,
        nargs=2,
        action="append",
        default=[],
        metavar=("STORE", "QUERIES"),
        help="the same clips and queries by other weights or draws; scores are means; may be repeated",
    )
    _quiet(parser)
    add_flags(parser, ScoreConfig)


def _score(args: argparse.Namespace) -> int:
    stores = [args.store, *args.also]
    config = config_from(args, ScoreConfig())
    with Bar(None, "scores", shown=not args.quiet and config.precision == "float32") as bar:
        done = score(stores, args.queries, args.out, config, checkpoints=args.checkpoint, progress=bar.to)
    return show(done)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=store_verbs.location, nargs="+", help="one store of clips, or several")
    parser.add_argument("--out", type=Path, required=True, help="index file, or folder of Parquet files, to write")
    add_flags(parser, ExportConfig)


def _export(args: argparse.Namespace) -> int:
    return show(export(args.store, args.out, config_from(args, ExportConfig())))


def _select_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scores", type=Path, help="scores.parquet, made by motive score")
    parser.add_argument("--out", type=Path, required=True, help="folder of the selected subset")
    add_flags(parser, SelectConfig)


def _select(args: argparse.Namespace) -> int:
    done = select(args.scores, args.out, config_from(args, SelectConfig()))
    return show(done)


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scores", type=Path, help="scores.parquet, made by motive score")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    add_flags(parser, ReportConfig)


def _report(args: argparse.Namespace) -> int:
    return show(report(args.scores, args.out, config_from(args, ReportConfig())))


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def _doctor(args: argparse.Namespace) -> int:
    return show(doctor())


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo-run"), help="folder for everything [demo-run]")
    _quiet(parser)
    add_flags(parser, DemoConfig)


def _demo(args: argparse.Namespace) -> int:
    done = demo(args.out, config_from(args, DemoConfig()), show_progress=not args.quiet)
    return show(done)


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", type=Path, help="a run.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new store")
    _quiet(parser)


def _replay(args: argparse.Namespace) -> int:
    return _summary(replay(args.record, out=args.out, show_progress=not args.quiet))


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


ACTIONS = {
    "demo": Action(_demo_arguments, _demo),
    "index": Action(_index_arguments, _index),
    "query": Action(_query_arguments, _query),
    "score": Action(_score_arguments, _score),
    "export": Action(_export_arguments, _export),
    "select": Action(_select_arguments, _select),
    "report": Action(_report_arguments, _report),
    "doctor": Action(_doctor_arguments, _doctor),
    "replay": Action(_replay_arguments, _replay),
}
