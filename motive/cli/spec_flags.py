"""Flags of the clip spec and of buckets, for every verb that has them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TypeVar

from motive.cli.flags import config_from
from motive.errors import OptionError
from motive.indexing.check import CheckConfig
from motive.indexing.clip_specs import model_clip_spec
from motive.indexing.config import IndexConfig

C = TypeVar("C", IndexConfig, CheckConfig)


def config_with_spec(args: argparse.Namespace, config: C, model: str | None, base: str | None, verb: str) -> C:
    """``config`` with every given flag put in; those of the clip spec change the model's own.

    Args:
        args: as parsed.
        config: the defaults.
        model: whose clip spec is changed; None for no model.
        base: the pipeline that the model is a transformer of.
        verb: for messages.

    Raises:
        OptionError: a value that the config refuses, or a size beside buckets, which have the sizes.
    """
    if any(value is not None for name, value in vars(args).items() if name.startswith("clip-")):
        config = replace(config, clip_spec=model_clip_spec(model, base, args.revision))
    config = config_from(args, config)
    if config.buckets.has_sizes:
        for name in ("clip-width", "clip-height", "clip-frames"):
            if vars(args)[name] is not None:
                raise OptionError(f"{verb}: --{name} must be left out with --buckets, which has the sizes")
    return config
