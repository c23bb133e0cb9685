"""A JSON list that is read item by item gives what json.loads gives, wherever the chunks end."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motive.data.formats import json_list

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "_CHUNK", 3)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES), st.sampled_from([None, 1]), st.booleans())
def test_it_gives_what_json_gives(
    tmp_path: Path, small_chunks: None, rows: list[Any], indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path / "x.json"
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    if "\\ud" not in text:  # a half surrogate pair is no text
        assert list(json_list.items(path)) == json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet='[]{}",:0123e.- \n\\ntrufalse\u00e9'))
def test_it_refuses_what_json_refuses(tmp_path: Path, small_chunks: None, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode())
    try:
        right = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        right = None
    if isinstance(right, list):
        assert list(json_list.items(path)) == right
    else:
        with pytest.raises(ValueError, match=r"."):
            list(json_list.items(path))


def test_items_before_a_broken_one_are_given(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1}, {"b": 2}, {"c": }]')
    items = json_list.items(path)
    assert [next(items), next(items)] == [{"a": 1}, {"b": 2}]
    with pytest.raises(ValueError, match="at character 27"):
        next(items)


def test_a_long_list_on_one_line_takes_the_memory_of_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    item = json.dumps({"vid": "v" * 11, "caption": "c" * 400})
    path.write_text("[" + ", ".join([item] * 42_000) + "]")
    assert path.stat().st_size > json_list.MAX_ITEM, "one line, longer than an item may be"
    tracemalloc.start()
    assert sum(1 for _ in json_list.items(path)) == 42_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20, f"{peak} bytes for {path.stat().st_size}"


def test_an_item_without_end_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('["' + "x" * (3 * json_list.MAX_ITEM))
    with pytest.raises(ValueError, match="no item of at most 16 MiB"):
        list(json_list.items(path))
