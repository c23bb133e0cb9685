"""Buckets in the settings of a run: what they stand for, who refuses them, and which stores can be compared."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from motive.cli.flags import add_flags, config_from, flag
from motive.data import ClipSpec
from motive.data.video.buckets import BucketConfig
from motive.errors import IdentityMismatch, OptionError, StoreError
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig, ReadConfig
from motive.indexing.setup import Setup, set_up
from motive.store import Gradient, Identity, require_comparable, require_same_identity

FAST = IndexConfig(draws=DrawConfig("single"))


def with_buckets(*sizes: str, **more: object) -> Setup:
    return set_up(replace(FAST, buckets=BucketConfig(sizes=sizes), **more))


def gradient(setup: Setup) -> Gradient:
    found = setup.identity.known
    assert found is not None
    return found


def test_without_buckets_identity_and_digest_are_as_before() -> None:
    """Pinned before there were buckets: stores and caches of then are valid."""
    setup = set_up(FAST)
    assert "buckets" not in setup.identity.gradient
    assert setup.clip_specs.buckets == ()
    assert Identity(setup.identity.projection, {**setup.identity.gradient}).digests() == setup.identity.digests()
    assert sorted(setup.identity.gradient) == [
        "clip_spec", "draws", "family", "fingerprints", "latent_shape", "loss", "mask", "motion_source", "pixels",
        "settings",
    ]  # fmt: skip


def test_the_settings_that_are_stored_name_every_bucket() -> None:
    setup = with_buckets("auto")
    assert setup.config.buckets.resolved
    assert setup.config.buckets.sizes[0] == "80x80x17"
    assert {size.rpartition("x")[2] for size in setup.config.buckets.sizes} == {"17", "9", "5"}
    assert {size.rpartition("x")[0] for size in setup.config.buckets.sizes} == {"80x80", "96x64", "64x96"}
    again = set_up(IndexConfig.from_json(setup.config.to_json(), "run.json"))
    assert again.identity == setup.identity
    assert again.vectors_digest == setup.vectors_digest


def test_the_identity_holds_buckets_in_one_order_with_their_latent_shapes() -> None:
    first, second = with_buckets("80x80x9", "96x64x17"), with_buckets("96x64x17", "80x80x9", "80x80x9")
    assert first.identity == second.identity
    known = gradient(first)
    assert known.buckets is not None
    assert [(each.size, each.latent_shape) for each in known.buckets.shapes] == [
        ("96x64x17", (28, 5, 8, 12)),
        ("80x80x9", (28, 3, 10, 10)),
    ]
    spec, shape = known.seen("80x80x9")
    assert (spec.width, spec.height, spec.frames, spec.fps, spec.short) == (80, 80, 9, 12.0, "hold")
    assert shape == (28, 3, 10, 10)
    with pytest.raises(StoreError, match="no bucket '64x64x9'"):
        known.seen("64x64x9")
    assert gradient(set_up(FAST)).seen("") == (set_up(FAST).clip_spec, (28, 5, 10, 10))


@pytest.mark.parametrize(
    ("size", "named"),
    [
        ("80x80x18", "bucket 80x80x18: ToyAdapter: frames must be 4 n \\+ 1, got 18; use 17"),
        ("72x80x17", "bucket 72x80x17: ToyAdapter: height and width must be multiples of 16, got 80 x 72"),
    ],
)
def test_a_bucket_that_the_model_does_not_take_is_named(size: str, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        with_buckets("80x80x17", size)


def test_windows_of_time_must_fit_the_shortest_bucket() -> None:
    with_buckets("80x80x17", "80x80x9", segments="time:3")
    with pytest.raises(OptionError, match="2 to 3 windows"):
        with_buckets("80x80x17", "80x80x9", segments="time:4")


def test_stores_with_buckets_are_comparable_with_other_shapes_and_nothing_else() -> None:
    one, wide = set_up(FAST), with_buckets("96x64x17", "80x80x9")
    tall = with_buckets("64x96x17")
    other = set_up(replace(FAST, clip_spec=replace(one.clip_spec, width=96, height=64)))
    require_comparable(wide.identity, tall.identity, "score")
    with pytest.raises(IdentityMismatch, match="buckets"):
        require_same_identity(wide.identity, tall.identity, "merge")
    with pytest.raises(IdentityMismatch, match="buckets"):  # its noise is no part of the field that buckets share
        require_comparable(one.identity, wide.identity, "score")
    with pytest.raises(IdentityMismatch, match=r"clip_spec\.height"):
        require_comparable(one.identity, other.identity, "score")
    for change in ({"draws": DrawConfig("single", seed=1)}, {"clip_spec": replace(one.clip_spec, fps=8.0)}):
        with pytest.raises(IdentityMismatch, match=r"seed|fps"):
            require_comparable(tall.identity, with_buckets("96x64x17", **change).identity, "score")


def parse(config: object, *arguments: str) -> object:
    parser = argparse.ArgumentParser()
    add_flags(parser, type(config))
    return config_from(parser.parse_args(arguments), config)


def test_flags_are_those_of_trainers() -> None:
    expected = BucketConfig(sizes=("832x480x81", "480x832x81", "832x480x33"))
    for config in (IndexConfig(), ReadConfig()):
        found = parse(config, "--buckets", "832x480x81,480x832x81", "832x480x33")
        assert found.buckets == expected  # type: ignore[attr-defined]
    found = parse(
        IndexConfig(), "--bucket-resolutions", "auto", "--bucket-frames", "33,81", "--bucket-area", "832x480",
        "--bucket-step", "16", "--bucket-ratios", "16:9,9:16",
    )  # fmt: skip
    assert found == IndexConfig(
        buckets=BucketConfig(
            resolutions=("auto",), frames=("33", "81"), area="832x480", step=16, ratios=("16:9", "9:16")
        )
    )
    assert (flag("buckets.sizes"), flag("buckets.area")) == ("--buckets", "--bucket-area")
    with pytest.raises(OptionError, match="--buckets must be left out with --bucket-resolutions or --bucket-frames"):
        parse(IndexConfig(), "--buckets", "auto", "--bucket-frames", "33")


def test_a_clip_spec_gives_rate_and_rules_to_every_bucket() -> None:
    base = ClipSpec(fps=8.0, frames=17, height=80, width=80, short="error", start="centre")
    setup = with_buckets("96x64x9", clip_spec=base)
    assert setup.clip_spec == replace(base, width=96, height=64, frames=9)
    setup = set_up(replace(FAST, clip_spec=base, buckets=BucketConfig(frames=("17", "9"))))
    assert setup.config.buckets.sizes == ("80x80x17", "80x80x9")
