"""``motive <verb>``: one parser a verb, each calling the Python function of the same name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from motive.cli.logs import logs_shown
from motive.cli.terminal import say
from motive.cli.verbs import ALL, Verb, version
from motive.errors import ConfigError, MotiveError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0 done; 2 bad arguments; 1 another error that was explained in one line; 3 done, but some clips were
        left out, or --strict found problems; 130 interrupted.
    """
    verb, resumable = "", False
    try:
        args = _parser().parse_args(arguments)
        verb, resumable = args.verb, args.resumable
        with logs_shown(args.verbose):
            return args.run(args)
    except KeyboardInterrupt:
        kept = "what was finished is stored, the same command resumes there" if resumable else "run it again"
        say(f"motive: interrupted; {kept}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (motive doctor | head). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MotiveError as error:
        say(f"motive {_without(verb, _in_flags(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except (MemoryError, OSError, RuntimeError) as error:
        explained = _explained(error)
        if explained is None:
            raise
        say(f"motive {verb}: {explained}", file=sys.stderr)
        return 1


def _in_flags(error: MotiveError) -> str:
    from motive.cli.flags import flag

    return str(error.with_flags(flag) if isinstance(error, ConfigError) else error)


def _without(verb: str, message: str) -> str:
    """The message on one line, with the verb in front of it once."""
    line = " ".join(message.split())
    return line if line.startswith(f"{verb}: ") else f"{verb}: {line}"


def _explained(error: Exception) -> str | None:
    """What a person can do about an error that is not ours; None for one that only a developer can use."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "out of memory; lower --batch-size and --micro-batch-draws, pass --checkpointing, or use fewer frames "
            "(--clip-frames)"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} must be usable, got {error.strerror or error}; free space or correct its permissions"
    return None


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _VerbParser(_Parser):
    """A verb's parser. It loads the verb when it parses for it, and also speaks for flags that it does not know."""

    verb: Verb | None = None

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        if self.verb is not None:
            verb, self.verb = self.verb, None
            action = verb.load()
            action.arguments(self)
            self.add_argument(
                "-v",
                "--verbose",
                action="count",
                default=0,
                help="log device, routes and caches on stderr; -vv logs more",
            )
            self.set_defaults(run=action.run, resumable=verb.resumable)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"arguments must be among this verb's, got {' '.join(unknown)}")
        return found, unknown


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="motive", description="Which training clips shape the motion that a video diffusion model makes."
    )
    parser.add_argument("--version", action="version", version=version())
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_VerbParser)
    for verb in ALL:
        sub = subparsers.add_parser(verb.name, help=verb.summary, description=verb.summary)
        sub.verb = verb
    return parser
