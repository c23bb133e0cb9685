"""Flags of the clip spec and of buckets, for every verb that has them."""

from __future__ import annotations

import argparse

from motive.data.video.buckets import BucketConfig
from motive.data.video.clip_spec import ClipSpec
from motive.errors import OptionError
from motive.indexing.clip_specs import model_clip_spec


def given_base(args: argparse.Namespace, model: str | None, base: str | None = None) -> ClipSpec | None:
    """The clip spec that given flags change: the model's own, or the default without a model; None if none is given.

    Args:
        args: with every ``clip-`` flag, and ``revision``.
        model: whose.
        base: the pipeline that the model is a transformer of.
    """
    if all(value is None for name, value in vars(args).items() if name.startswith("clip-")):
        return None
    return ClipSpec() if model is None else model_clip_spec(model, base, args.revision)


def refuse_sizes(args: argparse.Namespace, buckets: BucketConfig, verb: str) -> None:
    """Refuse flags of the clip spec's size where buckets leave them without effect.

    Raises:
        OptionError: names the flag.
    """
    if not buckets.resolved:
        return
    for name in ("clip-width", "clip-height", "clip-frames"):
        if vars(args)[name] is not None:
            raise OptionError(f"{verb}: --{name} must be left out with --buckets, which has the sizes")
