"""``motive <verb>``: one parser a verb, each calling the Python function of the same name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from motive.cli.terminal import say
from motive.errors import MotiveError

FAILED_SOME = 3
"""Exit code when the run is complete but some clips were left out; each is in failed.parquet."""
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0 done; 2 bad arguments; 1 another error that was explained in one line; 3 done, but some clips were
        left out; 130 interrupted.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        say("motive: interrupted; what was finished is stored, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (motive doctor | head). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MotiveError as error:
        say(f"motive {args.verb}: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    from motive.cli import verbs

    parser = argparse.ArgumentParser(
        prog="motive", description="Which training clips shape the motion that a video diffusion model makes."
    )
    parser.add_argument("--version", action="version", version=verbs.version())
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs.ALL:
        sub = subparsers.add_parser(
            verb.name, help=verb.summary, description=verb.summary, formatter_class=argparse.HelpFormatter
        )
        verb.arguments(sub)
        sub.set_defaults(run=verb.run)
    return parser


def existing(text: str) -> Path:
    """An argument that names something on disk."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"must be an existing path, got {text!r}")
    return path
