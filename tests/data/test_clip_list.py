"""The clips of a dataset as records, in memory or in a temporary file."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from motive.data import Clip, clip_list, read_dataset
from motive.data.clip_list import ClipList, ClipRecords, ClipsById
from motive.errors import DatasetError
from tests.data.samples import SAMPLES

CLIPS = [
    Clip("a", Path("/d/a.mp4"), "caf\u00e9 \u2603", {"n": "1", "caption": "caf\u00e9 \u2603"}, (0, 2), False),
    Clip("b\n", Path("/d/x.tar/12+34/b.mp4"), "", {}, (), True),
    Clip("c", Path("/d/c.mp4"), "a NUL \0 and half a pair \udc80", {"n": "", "other": "x" * 300}),
    Clip("d", Path("/d/d.mp4"), "last", {"z": "1", "y": "2"}),
]


@pytest.fixture(params=["in memory", "on disk"])
def records(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClipRecords:
    """Of CLIPS; on disk, after the second the first ones lie in the file and the last is still held."""
    if request.param == "on disk":
        monkeypatch.setattr(clip_list, "IN_MEMORY", 150)
        monkeypatch.setattr(clip_list, "_WRITTEN", 1 << 20)
    found = ClipRecords()
    assert [found.add(clip) for clip in CLIPS] == [0, 1, 2, 3]
    return found


def test_clips_come_back_as_they_were(records: ClipRecords) -> None:
    clips = ClipList(records, [3, 0, 2, 1])
    assert len(clips) == 4
    assert list(clips) == [CLIPS[3], CLIPS[0], CLIPS[2], CLIPS[1]]
    assert clips[1:3] == (CLIPS[0], CLIPS[2])
    assert clips[-1] == CLIPS[1]
    assert list(clips[1].columns) == ["n", "caption"], "columns keep their order"
    with pytest.raises(IndexError):
        clips[4]


def test_a_clip_can_be_replaced(records: ClipRecords) -> None:
    other = replace(CLIPS[0], parts=(0, 1, 2), columns={**CLIPS[0].columns, "more": "y" * 500})
    records.replace(0, other)
    assert list(ClipList(records, range(4))) == [other, *CLIPS[1:]]


def test_lists_are_equal_if_their_clips_are(records: ClipRecords) -> None:
    clips = ClipList(records, range(4))
    assert clips == tuple(CLIPS)
    assert tuple(CLIPS) == clips
    assert clips == ClipList(records, range(4))
    assert clips != ClipList(records, [1, 0, 2, 3])
    assert clips != tuple(CLIPS[:3])
    assert clips != "abcd"


def test_pickled_clips_need_no_file(records: ClipRecords) -> None:
    """A process of another machine, or one that was spawned, has none of its open files."""
    clips = ClipList(records, range(4))
    assert pickle.loads(pickle.dumps(clips)) == tuple(CLIPS)
    assert copy.deepcopy(clips) == tuple(CLIPS)


def test_clips_by_id(records: ClipRecords) -> None:
    clips = ClipsById(ClipList(records, range(4)))
    assert dict(clips) == {clip.clip_id: clip for clip in CLIPS}
    for missing in ("", "aa", "e"):
        with pytest.raises(KeyError):
            clips[missing]


def test_more_sets_of_columns_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_list, "_MOST_SHAPES", 2)
    found = ClipRecords()
    clips = [Clip(f"{n}", Path(f"/{n}"), columns={f"column {n % 5}": f"{n}"}) for n in range(20)]
    for clip in clips:
        found.add(clip)
    assert ClipList(found, range(20)) == tuple(clips)


def test_the_temporary_file_has_no_name_and_goes_with_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(clip_list, "IN_MEMORY", 0)
    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(clip_list.os, "close", lambda handle: closed.append(close(handle) or handle))
    found = ClipRecords()
    found.add(CLIPS[0])
    assert not list(tmp_path.iterdir())
    assert ClipList(found, [0])[0] == CLIPS[0]
    del found
    gc.collect()
    assert len(closed) == 1


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(clip_list, "IN_MEMORY", 0)
    monkeypatch.setattr(clip_list.os, "write", full)
    with pytest.raises(DatasetError, match=r"1 clips cannot be written to .*: No space left on device; .* TMPDIR"):
        ClipRecords().add(CLIPS[0])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_format_reads_the_same_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample) -> None:
    path = sample.make(tmp_path, [b"one", b"two", b"three"])
    held = read_dataset(path)
    assert len(held.clips) == 4
    monkeypatch.setattr(clip_list, "IN_MEMORY", 0)
    assert read_dataset(path) == held
