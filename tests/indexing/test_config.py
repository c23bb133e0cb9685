"""Settings survive JSON and flags unchanged; what does not fit is named."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from motive.cli.flags import add_flags, config_from, flag
from motive.config import field_help, from_json, to_json
from motive.curate import SelectConfig
from motive.data.video.clip_spec import ClipSpec
from motive.errors import ConfigError, OptionError, StoreError
from motive.gradients.draws import DrawConfig
from motive.indexing.config import IndexConfig, Role, RunConfig, VectorConfig, names_with
from motive.indexing.record import read_record
from motive.masks import MaskConfig
from motive.scoring import ExportConfig, ScoreConfig
from motive.workers.launch import LaunchConfig
from motive_kernels import ProjectionSpec

UNUSUAL = IndexConfig(
    model="some/dir",
    clip_spec=ClipSpec(fps=12.5, frames=17, height=64, width=96, short="loop"),
    mask=MaskConfig(weighting="uniform"),
    draws=DrawConfig("logit_normal", count=3, seed=7),
    projection=ProjectionSpec(dim=64, seed=3, options={"terms": 2}),
    parameters=("*.attn1.*", "*bias"),
    shard_rows=5,
)


@pytest.mark.parametrize("config", [IndexConfig(), UNUSUAL], ids=["default", "unusual"])
def test_json_round_trip(config: IndexConfig) -> None:
    assert IndexConfig.from_json(json.loads(json.dumps(config.to_json())), "run.json") == config
    assert IndexConfig.of(config.vectors, config.run) == config


def test_equal_configs_have_equal_json() -> None:
    assert json.dumps(to_json(ClipSpec(fps=16))) == json.dumps(to_json(ClipSpec(fps=16.0)))


def test_a_config_of_version_1_is_read_with_its_old_names() -> None:
    old = {
        "model": "some/dir", "device": "cuda:1", "standard": to_json(ClipSpec(frames=17)), "clips_per_pass": 4,
        "draws_per_pass": 2, "threads": 3, "shard_rows": 5, "segments": "time:2", "projection": {"kind": "sjlt"}, "costs": {"cpu": {}},
        "draws": {"count": 2, "per_draw": "normalised"},
    }  # fmt: skip
    assert IndexConfig.from_json(old, "run.json") == IndexConfig(
        model="some/dir", device="cuda:1", clip_spec=ClipSpec(frames=17), batch_size=4, micro_batch_draws=2, threads=3,
        shard_rows=5, segments="time:2", projection=ProjectionSpec("sjlt"),
        draws=DrawConfig(count=2, combine="normalized-mean"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("half", "change", "named"),
    [
        ("run", {"shard_rows": "many"}, "RunConfig.shard_rows must be an integer"),
        ("run", {"shard_rows": True}, "RunConfig.shard_rows must be an integer"),
        ("run", {"model": "toy"}, "fields of RunConfig must be among .*, got 'model'"),
        ("vectors", {"draws": {"count": 2.5}}, "DrawConfig.count must be an integer"),
        ("vectors", {"draws": {"strategy": "all"}}, "strategy must be one of single, uniform"),
        ("vectors", {"clip_spec": []}, "ClipSpec must be an object"),
        ("vectors", {"parameters": "*"}, "parameters must be a list"),
        ("vectors", {"parameters": ["*", 3]}, r"parameters\[1\] must be text"),
        ("vectors", {"projection": {"type": 3}}, "type must be text"),
        ("vectors", {"projection": {"type": "unheard"}}, "type must be one of"),
        ("vectors", {"projection": {"dim": 0}}, "dim"),
        ("vectors", {"batch_size": 0}, "batch_size must be at least 1"),
        ("vectors", {"colour": "red"}, "got 'colour'"),
        ("colour", {}, "must hold vectors and run, got 'colour'"),
    ],
)
def test_json_that_does_not_fit_is_named(half: str, change: dict, named: str) -> None:
    data = IndexConfig().to_json()
    data[half] = {**data.get(half, {}), **change}
    with pytest.raises(OptionError, match=rf"run\.json: .*{named}"):
        IndexConfig.from_json(data, "run.json")


def test_a_field_without_default_must_be_there() -> None:
    @dataclass(frozen=True)
    class Pair:
        first: int
        second: int = 2

    assert from_json(Pair, {"first": 1}, "x") == Pair(1)
    with pytest.raises(OptionError, match="x: Pair must have first, which is absent"):
        from_json(Pair, {}, "x")


def test_every_field_that_decides_vectors_says_how() -> None:
    """A new field of VectorConfig enters the identity or the digest, or this fails."""
    roles = names_with(*Role)
    assert [f.name for f in fields(VectorConfig)] == roles
    assert set(names_with(Role.EXACT)) == {"batch_size", "micro_batch_draws", "threads"}
    assert not {f.name for f in fields(VectorConfig)} & {f.name for f in fields(RunConfig)}


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
        "--model", "some/dir", "--clip-frames", "17", "--clip-fps", "12.5", "--noise-strategy", "single",
        "--projection-dim", "64", "--projection-options", '{"terms": 2}', "--parameters", "*bias", "*norm*",
    )  # fmt: skip
    assert config.clip_spec == ClipSpec(fps=12.5, frames=17)
    assert config.draws == DrawConfig("single")
    assert config.projection == ProjectionSpec(dim=64, options={"terms": 2})
    assert config.parameters == ("*bias", "*norm*")


def test_no_flags_change_nothing() -> None:
    assert parse() == IndexConfig()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip-frames", "1"], "--clip-frames must be at least 2, got 1; motion needs two frames"),
        (["--projection-type", "magic"], "ProjectionSpec: type must be one of "),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0; give a number"),
        (
            ["--noise-strategy", "single", "--noise-count", "3"],
            "--noise-count must be left out with --noise-strategy single",
        ),
        (["--mask-static-px", "-1"], "--mask-static-px must be 0 or more pixels"),
    ],
)
def test_a_refused_flag_value_is_an_error_that_names_the_flag(arguments: list[str], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse(*arguments)
    assert str(refused.value).startswith(message)


def test_flags_of_nested_fields() -> None:
    assert (flag("clip_spec.fps"), flag("draws.low"), flag("batch_size")) == (
        "--clip-fps",
        "--noise-low",
        "--batch-size",
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskConfig(camera="pan"), "MaskConfig: camera must be one of keep, report, remove, got 'pan'"),
        (lambda: DrawConfig("all"), "DrawConfig: strategy must be one of single, uniform, logit_normal, model"),
        (lambda: ClipSpec(fit="squash"), "ClipSpec: fit must be one of crop, stretch, got 'squash'"),
        (lambda: ScoreConfig(similarity=["cosine"]), "ScoreConfig: similarity must be one of cosine, dot"),
        (lambda: SelectConfig(segments="all"), "SelectConfig: segments must be one of best, sum"),
        (lambda: LaunchConfig(launcher="pbs"), "LaunchConfig: launcher must be one of local, torchrun, slurm, ray"),
        (lambda: ExportConfig(format="csv"), "ExportConfig: format must be one of faiss, faiss-ivf, parquet"),
    ],
)
def test_choices_are_those_of_the_annotation(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "cls", [IndexConfig, VectorConfig, RunConfig, ClipSpec, MaskConfig, DrawConfig, ProjectionSpec]
)
def test_every_field_has_help(cls: type) -> None:
    helps = field_help(cls)
    missing = [name for name in cls.__dataclass_fields__ if not helps.get(name)]  # type: ignore[attr-defined]
    assert not missing, f"{cls.__name__}'s docstring must describe {missing} under Attributes"
