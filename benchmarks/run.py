"""One entry for every benchmark: each checks its results first, then prints a table and adds rows to a JSONL file.

    python -m benchmarks.run --suite kernels|capture|pipeline|quality|scoring|all [--quick] --out DIR
    python -m benchmarks.run --suite kernels|pipeline|scoring|all --budget-min N --out DIR [--wheels DIR] [--peers DIR]
    python -m benchmarks.run ... --dry           # the plan, its limits, and what is predicted
    python -m benchmarks.run ... --rehearse      # what a GPU would do, with small shapes and without one

On a machine with a GPU: the extensions are built, the correctness gate runs, ceilings are measured, then the suites.
With a budget each section may take its share of it; what was measured is kept, and the same command again does what is
lacking. DIR gets session.log, session.json, results.jsonl, tables.md and roofline.svg, written as it goes.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.harness import machine, tables
from benchmarks.harness.plans import SUITES, Choice, plan_for
from benchmarks.harness.session import Options, Section, Session, chosen, show, with_environment

NEAR = "wheels"
"""Folder next to the benchmarks that --wheels is taken from where it is not given."""


def arguments_of(given: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=(*SUITES, "all"), default="all")
    parser.add_argument("--quick", action="store_true", help="smaller inputs, fewer repetitions")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-results"), help="folder of everything that is found"
    )
    parser.add_argument("--budget-min", type=float, help="minutes for all sections together; also resumes")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that the machine lacks, such as diffusers'")
    parser.add_argument("--peers", type=Path, help="folder of packages to compare with: wheels, sources")
    parser.add_argument("--only", default="", help="sections to run, with commas between them")
    parser.add_argument("--redo", default="", help="sections to run again though they are done")
    parser.add_argument("--past-red", action="store_true", help="measure though the correctness gate has failed")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, small shapes")
    parser.add_argument("--dry", action="store_true", help="print the plan")
    options = parser.parse_args(given)
    if options.budget_min is not None and not options.budget_min > 0:
        parser.error(f"--budget-min must be positive, got {options.budget_min}")
    try:
        options.plan = _plan(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _plan(options: argparse.Namespace) -> list[Section]:
    near = machine.ROOT / NEAR
    wheels = options.wheels or (near if near.is_dir() else None)
    redo = frozenset(filter(None, options.redo.split(",")))
    choice = Choice(
        options.suite,
        options.out.resolve(),
        options.quick,
        options.rehearse,
        None if wheels is None else wheels.resolve(),
        None if options.peers is None else options.peers.resolve(),
        redo,
    )
    plan = plan_for(choice, _device(options))
    chosen(plan, sorted(redo))
    paths = [str(machine.SITE), str(machine.PEERS), os.environ.get("PYTHONPATH", "")]
    return with_environment(
        chosen(plan, [name for name in options.only.split(",") if name]),
        {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def _device(options: argparse.Namespace) -> str:
    if options.device != "auto":
        return options.device
    if options.rehearse:
        return "cuda"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main(given: list[str] | None = None) -> int:
    options = arguments_of(given)
    budget_s = None if options.budget_min is None else 60 * options.budget_min
    if options.dry:
        show(options.plan, budget_s)
        print(f"\n{tables.predictions()}")
        return 0
    redo = frozenset(filter(None, options.redo.split(",")))
    session = Session(Options(options.out.resolve(), budget_s, redo, options.past_red))
    try:
        fine = session.run(options.plan)
    finally:
        tables.write(options.out.resolve())
    lacking = session.lacking(options.plan)
    if lacking:
        again = "; the same command again takes them up" if budget_s is not None else ""
        print(f"not done: {', '.join(lacking)}{again}", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
