"""Clip ids as arrays behave like a list of str."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.errors import OptionError
from motive.store import ClipIds
from motive.store.ids import _rising, sort_ids

# Few letters, so that long common prefixes, prefixes of each other, NUL bytes and equal ids are frequent.
IDS = st.lists(st.text(alphabet="ab\x00é\U0001f3a5/", min_size=1, max_size=40), max_size=40)


@settings(max_examples=200, deadline=None)
@given(IDS)
def test_sorting_is_that_of_python(ids: list[str]) -> None:
    order, repeated = sort_ids(ClipIds.encode(ids, "test"))
    expected = sorted(range(len(ids)), key=lambda row: ids[row])  # stable, as sort_ids must be
    assert order.tolist() == expected, f"order of {ids}"
    listed = [ids[row] for row in expected]
    assert repeated.tolist() == [i > 0 and listed[i] == listed[i - 1] for i in range(len(listed))]


@settings(max_examples=100, deadline=None)
@given(IDS, st.randoms(use_true_random=False))
def test_parts_of_ids_are_parts_of_the_list(ids: list[str], random) -> None:
    encoded = ClipIds.encode(ids, "test")
    assert encoded.tolist() == ids
    assert len(encoded) == len(ids)
    assert encoded.fault() is None
    rows = [random.randrange(len(ids)) for _ in range(len(ids))]
    assert encoded.take(np.array(rows, np.int64)).tolist() == [ids[row] for row in rows]
    start, stop = sorted((random.randint(0, len(ids)), random.randint(0, len(ids))))
    assert encoded.slice(start, stop).tolist() == ids[start:stop]
    assert encoded.slice(start, stop).to_arrow().to_pylist() == ids[start:stop]
    halves = [ClipIds.encode(ids[:start], "test"), ClipIds.encode(ids[start:], "test")]
    assert ClipIds.concatenate(halves).tolist() == ids


@settings(max_examples=100, deadline=None)
@given(IDS, st.text(alphabet="ab\x00é", min_size=1, max_size=5))
def test_find_gives_the_row_of_a_sorted_id(ids: list[str], wanted: str) -> None:
    listed = sorted(set(ids))
    encoded = ClipIds.encode(listed, "test")
    assert [encoded.find(clip_id) for clip_id in listed] == list(range(len(listed)))
    assert encoded.find(wanted) == (listed.index(wanted) if wanted in listed else -1)


def test_take_works_in_pieces_when_there_are_many() -> None:
    ids = [f"clip-{number * 7919 % 70001}" for number in range(70001)]
    encoded = ClipIds.encode(ids, "test")
    order, repeated = sort_ids(encoded)
    assert not repeated.any()
    assert encoded.take(order).tolist() == sorted(ids)


@pytest.mark.parametrize("clip_id", ["", None, 3, b"a", "lone \udc80 surrogate"])
def test_what_is_no_id_is_refused(clip_id: object) -> None:
    with pytest.raises(OptionError, match="append: clip_id must be"):
        ClipIds.encode(["good", clip_id], "append")  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("data", "offsets"),
    [
        (b"abc", [0, 2]),
        (b"abc", [1, 3]),
        (b"abc", [0, 0, 3]),
        (b"abc", [0, 4, 3]),
        (b"abc", []),
        (b"\xff\xfe", [0, 2]),
        ("é".encode(), [0, 1, 2]),
    ],
)
def test_arrays_that_are_no_ids_have_a_fault(data: bytes, offsets: list[int]) -> None:
    assert ClipIds(np.frombuffer(data, np.uint8), np.array(offsets, np.int64)).fault()


@pytest.mark.parametrize(
    "texts",
    [["a", "b", "c"], ["a", "b", "b"], ["b", "a"], ["a", "ab", "abc"], ["ab", "a"], ["same-long-prefix-1", "same-long-prefix-2"],
     ["same-long-prefix", "same-long-prefix-2"], ["same-long-prefix-2", "same-long-prefix"], ["a\0", "a\0b"], ["é", "z"], ["12345678", "12345678"],
     ["12345678", "123456789"], []],
)  # fmt: skip
def test_rising_ids_are_known_without_a_sort(texts) -> None:
    ids = ClipIds.encode(texts, "test")
    encoded = [text.encode() for text in texts]
    assert _rising(ids) == all(a < b for a, b in zip(encoded, encoded[1:], strict=False))
