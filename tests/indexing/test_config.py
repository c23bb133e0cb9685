"""Settings survive JSON and flags unchanged; what does not fit is named."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from motive.cli.flags import add_flags, config_from
from motive.config import field_help, from_json, to_json
from motive.data.video.standardise import Standard
from motive.errors import OptionError, StoreError
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig
from motive.indexing.record import read_record
from motive.masks import MaskConfig
from motive_kernels import ProjectionSpec

UNUSUAL = IndexConfig(
    model="some/dir",
    standard=Standard(fps=12.5, frames=17, height=64, width=96, short="loop"),
    mask=MaskConfig(weighting="uniform"),
    draws=DrawConfig("logit_normal", count=3, seed=7),
    projection=ProjectionSpec(dim=64, seed=3, options={"terms": 2}),
    parameters=("*.attn1.*", "*bias"),
    shard_rows=5,
)


@pytest.mark.parametrize("config", [IndexConfig(), UNUSUAL], ids=["default", "unusual"])
def test_json_round_trip(config: IndexConfig) -> None:
    assert from_json(IndexConfig, json.loads(json.dumps(to_json(config))), "run.json") == config


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shard_rows": "many"}, "shard_rows"),
        ({"shard_rows": True}, "shard_rows"),
        ({"draws": {"count": 2.5}}, "DrawConfig.count"),
        ({"draws": {"strategy": "all"}}, "strategy"),
        ({"standard": []}, "Standard"),
        ({"parameters": "*"}, "parameters"),
        ({"projection": {"type": 3}}, "type"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_json_that_does_not_fit_is_named(change: dict, named: str) -> None:
    data = {**to_json(IndexConfig()), **change}
    with pytest.raises(ValueError, match=named):
        from_json(IndexConfig, data, "run.json")


@pytest.mark.parametrize("change", [{"projection": {"kind": "unheard"}}, {"projection": {"dim": 0}}])
def test_what_a_config_refuses_is_an_error_of_the_file(change: dict) -> None:
    """Found by fuzzing: configs of the kernels raise errors of their own."""
    with pytest.raises(OptionError, match=r"run\.json: IndexConfig"):
        from_json(IndexConfig, {**to_json(IndexConfig()), **change}, "run.json")


def test_a_record_that_nests_too_deeply_is_an_error_of_the_file(tmp_path: Path) -> None:
    """Found by fuzzing."""
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"must be a run\.json"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize(
    "change",
    [
        {"verb": "demo"}, {"verb": ["index"]}, {"arguments": []}, {"arguments": {}}, {"arguments": {"dataset": 3}},
        {"arguments": {"dataset": "x", "probe": True}}, {"arguments": {"dataset": "x", "probe": "1"}},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_replayed_says_so(tmp_path: Path, change: dict) -> None:
    record = {"verb": "index", "arguments": {"dataset": "x"}, "config": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_record(tmp_path / "run.json") == record
    (tmp_path / "run.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(StoreError, match="restore the file"):
        read_record(tmp_path / "run.json")


def parse(*arguments: str) -> IndexConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser, IndexConfig)
    return config_from(parser.parse_args(arguments), IndexConfig())


def test_flags_reach_every_level() -> None:
    config = parse(
        "--model", "some/dir", "--standard-frames", "17", "--standard-fps", "12.5", "--draws-strategy", "single",
        "--projection-dim", "64", "--projection-options", '{"terms": 2}', "--parameters", "*bias", "*norm*",
    )  # fmt: skip
    assert config.standard == Standard(fps=12.5, frames=17)
    assert config.draws == DrawConfig("single")
    assert config.projection == ProjectionSpec(dim=64, options={"terms": 2})
    assert config.parameters == ("*bias", "*norm*")


def test_no_flags_change_nothing() -> None:
    assert parse() == IndexConfig()


def test_a_refused_flag_value_is_an_option_error() -> None:
    with pytest.raises(OptionError, match="frames must be 4 n \\+ 1"):
        parse("--standard-frames", "16")
    with pytest.raises(OptionError, match="type must be one of"):
        parse("--projection-type", "magic")


@pytest.mark.parametrize("cls", [IndexConfig, Standard, MaskConfig, DrawConfig, ProjectionSpec])
def test_every_field_has_help(cls: type) -> None:
    helps = field_help(cls)
    missing = [name for name in cls.__dataclass_fields__ if not helps.get(name)]  # type: ignore[attr-defined]
    assert not missing, f"{cls.__name__}'s docstring must describe {missing} under Attributes"
