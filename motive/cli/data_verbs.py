"""``motive data``: what is asked of a dataset before it is used."""

from __future__ import annotations

import argparse
import json
import sys

from motive.cli.flags import add_flags
from motive.cli.spec_flags import config_with_spec
from motive.cli.store_verbs import DATASET, location
from motive.cli.terminal import say, show
from motive.cli.verbs import Action
from motive.indexing.check import CheckConfig, check_dataset

PROBLEMS = 3
"""Exit code of --strict where a check found problems."""


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    summary = "look a dataset over: counts, shapes, captions, duplicates, unreadable files, and what is cut or dropped"
    check = commands.add_parser("check", help=summary, description=summary)
    check.add_argument("dataset", type=location, help=DATASET)
    check.add_argument("--strict", action="store_true", help="exit with code 3 if there is any problem")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    check.add_argument("--quiet", action="store_true", help="no progress bars")
    check.add_argument(
        "-v", "--verbose", action="count", default=argparse.SUPPRESS, help="log on stderr; -vv logs more"
    )
    add_flags(check, CheckConfig)


def _data(args: argparse.Namespace) -> int:
    return _COMMANDS[args.command](args)


def _check(args: argparse.Namespace) -> int:
    config = config_with_spec(args, CheckConfig(), args.model, args.base, "data check")
    found = check_dataset(args.dataset, config=config, show_progress=not args.quiet)
    if args.json:
        json.dump(found.to_json(), sys.stdout, indent=2)
        say("")
    else:
        show(found)
    return PROBLEMS if args.strict and found.problems else 0


_COMMANDS = {"check": _check}
ACTIONS = {"data": Action(_data_arguments, _data)}
