"""The verbs by name, each with the module that has its arguments and its action; that is imported when it is needed.

So `motive --help`, `motive --version` and a verb that does not exist load no model library.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Action:
    """What a verb's module gives: a function that adds its arguments to a parser, and one that runs them."""

    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


@dataclass(frozen=True)
class Verb:
    """One subcommand.

    Attributes:
        name: as typed.
        summary: one line for the list of verbs.
        module: of this package; its ACTIONS has the verb.
        resumable: the same command continues after an interruption.
    """

    name: str
    summary: str
    module: str
    resumable: bool = False

    def load(self) -> Action:
        """Import the module."""
        return importlib.import_module(f"motive.cli.{self.module}").ACTIONS[self.name]


def version() -> str:
    """The installed version."""
    return f"motive {metadata.version('motive')}"


ALL = (
    Verb("demo", "the main job in small: render clips, attribute motion over them, report", "job_verbs"),
    Verb("data", "check a dataset before any GPU is used", "data_verbs"),
    Verb("index", "gradient vectors for every clip of a dataset", "job_verbs", resumable=True),
    Verb("query", "gradient vectors for query clips, with the settings of a store", "job_verbs", resumable=True),
    Verb("score", "score every clip of a store for every query", "job_verbs"),
    Verb("export", "vectors for faiss or NeMo Curator", "job_verbs"),
    Verb("select", "write the best clips as a separate dataset", "job_verbs"),
    Verb("report", "a page with each query's best and worst clips, and the statistics", "job_verbs"),
    Verb("verify", "check every byte of a store", "store_verbs"),
    Verb("repair", "take what is broken out of a store and list the clips to redo", "store_verbs"),
    Verb("merge", "bring the clips of several stores into one", "store_verbs"),
    Verb("compact", "few large shards out of many small ones", "store_verbs"),
    Verb("info", "what a store holds", "store_verbs"),
    Verb("doctor", "what works on this machine, and why the rest does not", "job_verbs"),
    Verb("replay", "repeat the run that a run.json records", "job_verbs", resumable=True),
)
