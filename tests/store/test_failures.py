"""Failures are kept, updated and forgotten as clips are tried again."""

from __future__ import annotations

import pyarrow.parquet as pq

from motive.data.base import Failure
from motive.store import Store, verify_store
from tests.store.shards import commit


def failure(clip_id: str, reason: str = "too_short", path: str = "") -> Failure:
    return Failure(clip_id, path or f"/v/{clip_id}", "decode", reason, f"{reason} in {clip_id}")


def listed(store: Store) -> list[tuple[str, str]]:
    return [(item.clip_id, item.reason) for item in store.failures()]


def in_table(store: Store) -> list[tuple[str, str]]:
    return [(row["clip_id"], row["reason"]) for row in pq.read_table(store.path / "failed.parquet").to_pylist()]


def test_failures_come_back_sorted_and_in_failed_parquet(new_store) -> None:
    store = new_store()
    given = [failure("b"), failure("a", "static")]
    store.append_failures(given)
    for seen in (store, Store.open(store.path)):
        assert seen.failures() == sorted(given, key=lambda item: item.clip_id)
        assert in_table(seen) == listed(seen)
    assert len(store) == 0
    assert store.done_ids() == set()
    assert verify_store(store.path).ok
    assert verify_store(store.path).failures == 2


def test_a_clip_that_succeeds_is_no_longer_listed(new_store, rows_of) -> None:
    store = new_store()
    store.append_failures([failure("a"), failure("b")])
    store.append(rows_of(["a", "c"]))
    assert listed(store) == in_table(store) == [("b", "too_short")]
    store.append(rows_of(["b"]))
    assert listed(store) == in_table(store) == []
    assert listed(Store.open(store.path)) == []
    store.append_failures([failure("c")])
    assert listed(store) == in_table(store) == [], "a clip with a vector has not failed, whatever came last"


def test_a_clip_whose_id_starts_another_ones_stays_listed(new_store, rows_of) -> None:
    store = new_store(segments="time:2")
    store.append(rows_of(["vid#0#t0", "vid#0#t1", "w#0#t0", "w#t0"]))
    store.append_failures([failure("vid"), failure("vid#0"), failure("w")])
    assert listed(store) == listed(Store.open(store.path)) == in_table(store) == [("vid", "too_short")]


def test_the_latest_failure_of_a_clip_counts(new_store) -> None:
    store = new_store()
    store.append_failures([failure("a", "timeout")])
    Store.open(store.path).append_failures([failure("a", "corrupt")])
    store.refresh()
    assert listed(store) == [("a", "corrupt")]


def test_the_same_failures_again_add_nothing(new_store) -> None:
    store = new_store()
    for _ in range(3):
        store.append_failures([failure("a"), failure("b")])
        store = Store.open(store.path)
    assert len(list((store.path / "commits").iterdir())) == 1


def test_a_repeated_row_stays_listed_though_its_namesake_succeeds(new_store, rows_of) -> None:
    store = new_store()
    store.append_failures([failure("a", "duplicate_id", "other/a.mp4"), failure("a", "too_short")])
    store.append(rows_of(["a"]))
    assert listed(store) == in_table(store) == [("a", "duplicate_id")]
    assert listed(Store.open(store.path)) == [("a", "duplicate_id")]


def test_text_that_utf8_cannot_hold_is_escaped_not_lost(new_store) -> None:
    store = new_store()
    store.append_failures([failure("bad \udcff name")])
    assert listed(store) == [("bad \\udcff name", "too_short")]
    store.append_failures([failure("bad \udcff name")])
    assert len(list((store.path / "commits").iterdir())) == 1


def test_one_writer_commits_rows_and_failures(new_store, rows_of) -> None:
    store = new_store()
    commit(store, "w", rows_of(["y"]), [failure("x")])
    assert listed(store) == [("x", "too_short")]
    assert store.clip_ids == ["y"]


def test_failures_of_other_writers_are_written_on_request(new_store) -> None:
    store = new_store()
    Store.open(store.path).append_failures([failure("a")])
    store.append_failures([failure("b")])
    store.write_failed()
    assert in_table(store) == [("a", "too_short"), ("b", "too_short")]
