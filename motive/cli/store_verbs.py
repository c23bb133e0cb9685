"""The verbs that look after a store: what it holds, whether it is whole, and putting it right."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from motive.cli.terminal import show
from motive.cli.verbs import Action
from motive.store import compact, merge_stores, repair_store, store_info, verify_store
from motive.store.compact import DEFAULT_ROWS
from motive.store.info import clip_info

DATASET = (
    "folder of videos, tables, tar shards or archives; one of those files, or a trainer's configuration; or shards by a "
    "pattern or an address, quoted"
)
"""Help of an argument that names a dataset."""


def location(text: str) -> Path | str:
    """An argument that is a folder, or an address such as s3://bucket/store."""
    return text if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) else Path(text)


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=location)


def _verify(args: argparse.Namespace) -> int:
    found = verify_store(args.store)
    show(found)
    return 0 if found.ok else 1


def _repair_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=location)
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="nobody is writing: also remove unfinished files and shards that others replace",
    )


def _repair(args: argparse.Namespace) -> int:
    return show(repair_store(args.store, sweep=args.sweep))


def _merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", type=location, nargs="+", help="stores of equal identity")
    parser.add_argument("--out", type=location, required=True, help="a new store, or one to add to")


def _merge(args: argparse.Namespace) -> int:
    return show(merge_stores(args.out, args.sources))


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=location)
    parser.add_argument(
        "--clip", nargs="+", default=[], metavar="ID", help="show which frames of these clips were attributed, and how"
    )


def _info(args: argparse.Namespace) -> int:
    return show(clip_info(args.store, args.clip) if args.clip else store_info(args.store))


def _compact_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=location)
    parser.add_argument(
        "--rows", type=int, default=DEFAULT_ROWS, metavar="N", help=f"clips in a shard, at most [{DEFAULT_ROWS}]"
    )
    parser.add_argument(
        "--keep-replaced", action="store_true", help="leave the small shards' files for readers at work"
    )


def _compact(args: argparse.Namespace) -> int:
    return show(compact(args.store, args.rows, keep_replaced=args.keep_replaced))


ACTIONS = {
    "verify": Action(_verify_arguments, _verify),
    "repair": Action(_repair_arguments, _repair),
    "merge": Action(_merge_arguments, _merge),
    "info": Action(_info_arguments, _info),
    "compact": Action(_compact_arguments, _compact),
}
