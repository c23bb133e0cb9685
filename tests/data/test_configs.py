"""Configuration files of trainers: whatever they hold, there is an answer, and what is written is what was read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motive.data import read_dataset
from motive.data.formats.configs import load_config, save_config
from motive.errors import DatasetError

ANY_FOLDER = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
SCALARS = st.one_of(TEXT, st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)


CONFIG_WORDS = [
    "datasets", "directory", "config", "process", "folder_path", "path", "video_directory", "[[", "]]", "[", "]", "{", "}",
    ":", "- ", "=", "\n", "\n  ", '"', "'", "!!int ''", "!!bool x", "!!timestamp y", "!!binary z", "!!set {a}", "&a", "*a",
    "<<", "?", "|", "..", "/etc", "a", "\0", "\ud800", "1", "2026-11-29", "null",
]  # fmt: skip


@ANY_FOLDER
@given(
    st.sampled_from(["set.toml", "job.yaml", "set.json"]),
    st.lists(st.sampled_from(CONFIG_WORDS), max_size=24),
    st.binary(),
)
def test_any_configuration_gives_an_answer(tmp_path: Path, name: str, words: list[str], data: bytes) -> None:
    path = tmp_path / name
    text = "".join(words).encode("utf-8", "surrogatepass")
    for content in (text, text + data):
        path.write_bytes(content)
        for format in ("auto", "musubi", "diffusion-pipe", "ai-toolkit"):
            try:
                dataset = read_dataset(path, format=format)
            except DatasetError:
                continue
            assert not dataset.clips


@ANY_FOLDER
@given(st.sampled_from(["set.toml", "job.yaml", "set.json"]), st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_is_read_again(tmp_path: Path, name: str, config: dict[str, object]) -> None:
    save_config(tmp_path / name, config)
    again = load_config(tmp_path / name)
    assert again == config
    assert list(again) == list(config) or name == "set.toml", "in TOML values come before tables"


def test_toml_keeps_the_kinds_of_numbers(tmp_path: Path) -> None:
    save_config(tmp_path / "x.toml", {"source_fps": 30.0, "batch_size": 1, "rate": 1e-05})
    assert (tmp_path / "x.toml").read_text() == "source_fps = 30.0\nbatch_size = 1\nrate = 1e-05\n"


def test_toml_has_no_null(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="TOML has no value for None"):
        save_config(tmp_path / "x.toml", {"x": None})
