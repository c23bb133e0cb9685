"""Zip archives: clips are read where they lie, and an archive that was made to harm costs its own members only."""

from __future__ import annotations

import contextlib
import io
import os
import random
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.data import ClipReader, ClipSpec, Dataset, SubsetRow, load_clip, read_dataset, write_subset, write_video
from motive.data.formats import zip as zip_members
from motive.data.media import ByteRange, Inflated, media_of
from motive.errors import ClipError, DatasetError
from motive.indexing.encode import content_hash
from motive.testing import Entry, FormatContract

STANDARD = ClipSpec(fps=12.0, frames=5, height=32, width=32, short="hold")
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def archive(path: Path, entries: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in entries:
            info = zipfile.ZipInfo(name)  # of a fixed date: the bytes do not depend on the clock
            info.compress_type, info.external_attr = method, 0o600 << 16
            file.writestr(info, data)
    return path


def reasons(dataset: Dataset) -> dict[str, str]:
    return {failure.clip_id: failure.reason for failure in dataset.failures}


def content(dataset: Dataset) -> list[bytes]:
    found = []
    for clip in dataset.clips:
        with media_of(clip.path).open() as file:
            found.append(file.read())
    return found


class TestZip(FormatContract):
    format = "zip"
    has_paths = False
    subset_format = "folder"
    method = zipfile.ZIP_STORED

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        found = []
        for entry in entries:
            found += [] if entry.data is None else [(entry.path, entry.data)]
            found += [] if entry.caption is None else [(entry.path.replace(".mp4", ".txt"), entry.caption.encode())]
        archive(folder / "x.zip", found, self.method)
        return folder


class TestDeflatedZip(TestZip):
    method = zipfile.ZIP_DEFLATED


@pytest.mark.parametrize("method", METHODS)
def test_archives_of_a_folder(tmp_path: Path, method: str) -> None:
    archive(
        tmp_path / "p1.zip", [("video/", b""), ("video/a.mp4", b"A" * 900), ("video/a.txt", b"a cat")], METHODS[method]
    )
    archive(tmp_path / "p0.zip", [("b.webm", b"BB"), ("b.json", b'{"caption": "b", "fps": 24}')], METHODS[method])
    found = read_dataset(tmp_path)
    assert (found.format, found.root, found.source, found.failures) == ("zip", tmp_path, None, ())
    assert [clip.clip_id for clip in found.clips] == ["p0.zip/b.webm", "p1.zip/video/a.mp4"]
    assert [clip.caption for clip in found.clips] == ["b", "a cat"]
    assert found.clips[0].columns == {"caption": "b", "fps": "24"}
    assert content(found) == [b"BB", b"A" * 900]
    assert isinstance(media_of(found.clips[1].path), Inflated) == (method == "deflated")
    assert read_dataset(tmp_path / "p1.zip").clips == found.clips[1:]


def test_unpacked_videos_beside_their_archive_are_read(tmp_path: Path) -> None:
    archive(tmp_path / "p0.zip", [("a.mp4", b"A")])
    (tmp_path / "a.mp4").write_bytes(b"A")
    found = read_dataset(tmp_path)
    assert found.format == "folder"
    assert [(item.name, item.why) for item in found.unread] == [
        ("p0.zip", "it lies beside unpacked videos; give its path to read it")
    ]
    assert len(read_dataset(tmp_path, "zip").clips) == 1


def test_members_that_are_no_files_or_lead_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("good.mp4", b"G")
        for name, kind in (("link.mp4", stat.S_IFLNK), ("pipe.mp4", stat.S_IFIFO), ("device.mp4", stat.S_IFCHR)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (kind | 0o777) << 16
            file.writestr(info, "/etc/passwd")
        for name in ("../out.mp4", "/etc/abs.mp4", "a/../../up.mp4"):
            file.writestr(name, b"x")
        file.writestr(zipfile.ZipInfo("packed.mp4"), b"x" * 5000, zipfile.ZIP_BZIP2)
        file.writestr("latin.mp4", b"x")
        file.writestr("latin.txt", b"\xe9")
        file.writestr("./good.mp4", b"another")
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips] == ["x.zip/good.mp4"]
    assert reasons(found) == {
        **{f"x.zip/{name}.mp4": "not_a_file" for name in ("link", "pipe", "device")},
        **{f"x.zip/{name}": "path_escapes_root" for name in ("../out.mp4", "/etc/abs.mp4", "a/../../up.mp4")},
        "x.zip/packed.mp4": "unreadable", "x.zip/latin.mp4": "bad_text", "x.zip/./good.mp4": "duplicate_id",
    }  # fmt: skip


def changed_entry(path: Path, at: int, value: int, size: int) -> None:
    """Replace a field of the first entry of the directory."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + at : entry + at + size] = value.to_bytes(size, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("method", "at", "value", "size", "reason"),
    [
        ("stored", 8, 1, 2, "unreadable"),  # encrypted
        ("stored", 20, 1 << 20, 4, "truncated"),  # stored size, past the end
        ("stored", 24, 4000, 4, "damaged"),  # two sizes of a stored member
        ("deflated", 24, 1 << 30, 4, "too_large"),  # a claim that no video fits
        ("stored", 42, 7, 4, "damaged"),  # an offset into the middle
        ("stored", 42, 1 << 31, 4, "damaged"),
    ],
)
def test_no_size_and_place_is_believed(
    tmp_path: Path, method: str, at: int, value: int, size: int, reason: str
) -> None:
    path = archive(tmp_path / "x.zip", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600)], METHODS[method])
    changed_entry(path, at, value, size)
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips] == ["x.zip/b.mp4"]
    assert reasons(found) == {"x.zip/a.mp4": reason}


def test_a_member_that_inflates_to_another_size_is_damaged(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(5000)
    path = archive(tmp_path / "x.zip", [("a.mp4", noise)], zipfile.ZIP_DEFLATED)
    changed_entry(path, 24, 6000, 4)
    (clip,) = read_dataset(path).clips
    with pytest.raises(ClipError, match=r"damaged: a\.mp4 in x\.zip ends after 5000 bytes"):
        content_hash(clip.path)
    changed_entry(path, 24, 4000, 4)
    (clip,) = read_dataset(path).clips
    with media_of(clip.path).open() as file:
        assert file.read() == noise[:4000], "no more is inflated than was claimed"
    data = bytearray(archive(path, [("a.mp4", b"text " * 2000)], zipfile.ZIP_DEFLATED).read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    (clip,) = read_dataset(path).clips
    with pytest.raises(ClipError, match="damaged"):
        content_hash(clip.path)


@pytest.mark.parametrize("kind", ["zip64", "prefix", "comment", "streamed"])
def test_every_kind_of_zip(tmp_path: Path, kind: str) -> None:
    class Pipe(io.RawIOBase):
        """Takes bytes and cannot seek, so that zipfile writes sizes behind each member."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe, path = Pipe(), tmp_path / "x.zip"
    with zipfile.ZipFile(pipe if kind == "streamed" else path, "w") as file:
        for name in ("a.mp4", "\u732b.mp4"):
            with file.open(name, "w", force_zip64=kind == "zip64") as member:
                member.write(name.encode() * 300)
        if kind == "comment":
            file.comment = b"PK\x05\x06" * 50
    if kind == "streamed":
        path.write_bytes(pipe.data)
    if kind == "prefix":
        path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    found = read_dataset(tmp_path)
    assert not found.failures
    assert content(found) == [b"a.mp4" * 300, "\u732b.mp4".encode() * 300]


def test_sizes_and_offsets_beyond_32_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile writes ZIP64 fields where its limits are passed; here the limits are lowered, not the file grown."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    path = archive(tmp_path / "x.zip", [(f"{name}.mp4", name.encode() * 400) for name in "abc"])
    monkeypatch.undo()
    assert b"PK\x06\x06" in path.read_bytes()
    assert content(read_dataset(path)) == [b"a" * 400, b"b" * 400, b"c" * 400]
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    path.write_bytes(whole[: end + 16] + b"\xff" * 4 + whole[end + 20 :])
    assert len(content(read_dataset(path))) == 3, "the place is that of the ZIP64 record"
    path.write_bytes(path.read_bytes().replace(b"PK\x06\x06", b"PK\x06\x00"))
    assert reasons(read_dataset(path)) == {"x.zip": "damaged"}


def test_an_archive_that_is_cut_says_so(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.zip", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600)])
    archive(tmp_path / "y.zip", [("next.mp4", b"x")])
    whole = path.read_bytes()
    for length in (0, 21, 700, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = read_dataset(tmp_path)
        assert [clip.clip_id for clip in found.clips] == ["y.zip/next.mp4"], f"cut to {length}"
        assert reasons(found) == {"x.zip": "truncated"}, f"cut to {length}"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_gives_an_answer(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    path = archive(folder / "x.zip", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600), ("b.txt", b"t")], method)
    changed = bytearray(path.read_bytes())
    headers = [at for at, byte in enumerate(changed) if byte not in b"AB"]
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.sampled_from(headers))] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    found = read_dataset(folder)
    for clip in found.clips:
        with contextlib.suppress(ClipError), media_of(clip.path).open() as file:
            assert len(file.read()) <= len(changed) + 16 * 1024


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-70_000, 70_000), st.integers(0, 2), st.integers(0, 70_000)), max_size=8))
def test_a_deflated_member_reads_as_a_file(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("inflate")
    choose = random.Random(1)
    data = b"".join(bytes([choose.randrange(256)]) * choose.randrange(20) for _ in range(6000))
    (clip,) = read_dataset(archive(folder / "x.zip", [("a.mp4", data)], zipfile.ZIP_DEFLATED)).clips
    part, same = media_of(clip.path), io.BytesIO(data)
    assert media_of(part.path) == part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("motive.data.media._CHECKPOINT_BYTES", 5000)
        with part.open() as file:
            for offset, whence, size in moves:
                try:
                    place = file.seek(offset, whence)
                except OSError:
                    continue
                assert place == same.seek(max(offset, 0) if whence == 0 else offset, whence)
                assert file.read(size) == same.read(size), f"{size} bytes at {place}"


def test_a_large_member_costs_no_memory_by_its_size(tmp_path: Path) -> None:
    """Reading on and back through a deflated member keeps checkpoints, and not what was inflated."""
    import tracemalloc

    data = np.random.default_rng(0).integers(0, 16, 24 << 20, np.uint8).tobytes()
    (clip,) = read_dataset(archive(tmp_path / "x.zip", [("a.mp4", data)], zipfile.ZIP_DEFLATED)).clips
    tracemalloc.start()
    with media_of(clip.path).open() as file:
        for place in (0, 23 << 20, 9 << 20, 17 << 20):
            file.seek(place)
            assert file.read(1000) == data[place : place + 1000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20, f"{peak} bytes"


@pytest.mark.parametrize("method", METHODS)
def test_decoding_in_place_gives_the_frames_of_the_file(tmp_path: Path, method: str) -> None:
    file = tmp_path / "film.mp4"
    write_video(file, np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8), 12.0)
    data = file.read_bytes()
    archive(tmp_path / "set/x.zip", [("a.mp4", b"no video"), ("b.mp4", data), ("c.mp4", data[:900])], METHODS[method])
    found = read_dataset(tmp_path / "set")
    a, b, c = (clip.path for clip in found.clips)
    right = load_clip(file, STANDARD)
    with ClipReader() as decoders:
        for got in (load_clip(b, STANDARD), decoders.load_clip(b, STANDARD)):
            np.testing.assert_array_equal(got.frames, right.frames)
        for path, reason in ((a, "unreadable"), (c, "truncated")):
            with pytest.raises(ClipError, match=reason):
                decoders.load_clip(path, STANDARD)
    assert content_hash(b) == content_hash(file), "a clip has the same cache entries wherever it lies"
    write_subset(found, [SubsetRow(found.clips[1], {"score": 0.5})], tmp_path / "out", files="link")
    assert (tmp_path / "out/x.zip/b.mp4").read_bytes() == data
    damaged = bytearray((tmp_path / "set/x.zip").read_bytes())
    part = media_of(b)
    assert isinstance(part, ByteRange)
    damaged[part.start : part.start + part.length] = bytes(part.length)
    (tmp_path / "set/x.zip").write_bytes(damaged)
    if method == "deflated":
        with pytest.raises(DatasetError, match=r"x\.zip has changed .* cannot be inflated"):
            write_subset(found, [SubsetRow(found.clips[1], {})], tmp_path / "out2", files="copy")
        assert not (tmp_path / "out2/x.zip/b.mp4").exists()
    with ClipReader() as decoders, pytest.raises(ClipError, match="unreadable" if method == "stored" else "damaged"):
        decoders.load_clip(b, STANDARD)


def test_no_selection_from_an_archive_that_changed(tmp_path: Path) -> None:
    path = archive(tmp_path / "set/x.zip", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600)])
    found = read_dataset(path)
    archive(path, [("b.mp4", b"B" * 600), ("a.mp4", b"A" * 600)])
    with pytest.raises(DatasetError, match=r"x\.zip has changed .* 600 bytes of b\.mp4 .* index the dataset again"):
        write_subset(found, [SubsetRow(found.clips[1], {})], tmp_path / "out", files="copy")
    assert not list(tmp_path.glob("out/**/*.mp4"))


def test_only_directories_are_read(tmp_path: Path) -> None:
    """Listing an archive touches its directory and headers: a gigabyte of video costs what a byte does."""
    path = archive(tmp_path / "x.zip", [("a.mp4", b"A")])
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    size = 1 << 30
    with path.open("wb") as file:
        file.write(data[:directory])
        file.seek(directory - 1 + size)
        entry = bytearray(data[directory:])
        entry[20:24] = entry[24:28] = size.to_bytes(4, "little")
        end = entry.rindex(b"PK\x05\x06")
        entry[end + 16 : end + 20] = (directory - 1 + size).to_bytes(4, "little")
        file.write(entry)
    before = os.times().system
    assert [member.size for member in zip_members.members(path)] == [size]
    assert os.times().system - before < 0.2
