"""WebDataset shards: clips are read where they lie, and a tar that was made to harm costs its own members only."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.data import ClipReader, ClipSpec, Dataset, SubsetRow, load_clip, read_dataset, write_subset, write_video
from motive.data.formats.tar import members
from motive.data.media import ByteRange, Media, media_of
from motive.data.writers.webdataset import WebDatasetWriter
from motive.errors import ClipError, DatasetError
from motive.indexing.encode import content_hash
from motive.store.source import Source

Entry = tuple[str, bytes]
STANDARD = ClipSpec(fps=12.0, frames=5, height=32, width=32, short="hold")


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def shard(path: Path, entries: Sequence[Entry], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in entries:
            add(archive, name, data)
    return path


def reasons(dataset: Dataset) -> dict[str, str]:
    return {failure.clip_id: failure.reason for failure in dataset.failures}


def content(dataset: Dataset) -> list[bytes]:
    found = []
    for clip in dataset.clips:
        with media_of(clip.path).open() as file:
            found.append(file.read())
    return found


def test_shards_of_a_folder(tmp_path: Path) -> None:
    shard(tmp_path / "s-1.tar", [("a.mp4", b"A"), ("a.txt", " a c\u00e1t\n".encode()), ("d/b.webm", b"BB")])
    fields = {"caption": "from json", "fps": 24, "tags": ["x"], "none": None}
    shard(tmp_path / "s-0.tar", [("c.json", json.dumps(fields).encode()), ("c.mp4", b"CCC"), ("c.jpg", b"x")])
    found = read_dataset(tmp_path)
    assert (found.format, found.root, found.source, found.failures) == ("webdataset", tmp_path, None, ())
    assert [clip.clip_id for clip in found.clips] == ["s-0.tar/c.mp4", "s-1.tar/a.mp4", "s-1.tar/d/b.webm"]
    assert [clip.caption for clip in found.clips] == ["from json", "a c\u00e1t", ""]
    assert found.clips[0].columns == {"caption": "from json", "fps": "24", "tags": '["x"]', "none": ""}
    assert content(found) == [b"CCC", b"A", b"BB"]
    assert [clip.path.name for clip in found.clips] == ["c.mp4", "a.mp4", "b.webm"]
    one = read_dataset(tmp_path / "s-1.tar")
    assert one.clips == found.clips[1:], "a shard that is read alone has the same clips"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar(tmp_path: Path, format: int) -> None:
    long = "folder/" * 12 + "n" * 80
    shard(tmp_path / "x.tar", [(f"{long}.mp4", b"V" * 700), (f"{long}.txt", b"caption")], format)
    (clip,) = read_dataset(tmp_path).clips
    assert (clip.clip_id, clip.caption) == (f"x.tar/{long}.mp4", "caption")
    with media_of(clip.path).open() as file:
        assert file.read() == b"V" * 700


def test_captions_by_the_key_and_by_the_whole_stem(tmp_path: Path) -> None:
    entries = [("k.front.mp4", b"1"), ("k.back.mp4", b"2"), ("k.txt", b"shared"), ("k.back.txt", b"its own")]
    shard(tmp_path / "x.tar", entries)
    found = {clip.clip_id: clip.caption for clip in read_dataset(tmp_path).clips}
    assert found == {"x.tar/k.front.mp4": "shared", "x.tar/k.back.mp4": "its own"}


def test_captions_in_members_with_capitals(tmp_path: Path) -> None:
    entries = [("a.MP4", b"1"), ("a.TXT", b"A"), ("b.mp4", b"2"), ("b.Json", b'{"caption": "B"}')]
    shard(tmp_path / "x.tar", entries)
    assert [clip.caption for clip in read_dataset(tmp_path).clips] == ["A", "B"]


CHANGES = {
    "cut": lambda path: os.truncate(path, 512 + 1024 + 512 + 100),
    "another name": lambda path: shard(path, [("a.mp4", b"A" * 600), ("c.mp4", b"B" * 600)]),
    "another size": lambda path: shard(path, [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 601)]),
    "another place": lambda path: shard(path, [("b.mp4", b"B" * 600), ("a.mp4", b"A" * 600)]),
    "no tar": lambda path: path.write_bytes(b"noise" * 1000),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_selection_from_a_shard_that_changed(tmp_path: Path, change: str) -> None:
    (tmp_path / "set").mkdir()
    path = shard(tmp_path / "set/x.tar", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600)])
    found = read_dataset(path)
    CHANGES[change](path)
    with pytest.raises(DatasetError, match=r"x\.tar has changed .* 600 bytes of b\.mp4 .* index the dataset again"):
        write_subset(found, [SubsetRow(found.clips[1], {})], tmp_path / "out", files="copy")
    assert not list(tmp_path.glob("out/**/*.mp4"))


def test_a_shard_that_is_cut_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    path = shard(tmp_path / "set/x.tar", [("a.mp4", b"A" * 600)])
    found = read_dataset(path)
    write = WebDatasetWriter.write
    monkeypatch.setattr(WebDatasetWriter, "write", lambda self, export: [os.truncate(path, 1000), write(self, export)])
    with pytest.raises(DatasetError, match=r"held 600 bytes of a\.mp4 at byte 512, now only 488 bytes"):
        write_subset(found, [SubsetRow(found.clips[0], {})], tmp_path / "out", files="copy")
    assert not list(tmp_path.glob("out/**/*.mp4"))


def test_ids_of_the_dataset_itself(tmp_path: Path) -> None:
    shard(tmp_path / "x.tar", [("a.mp4", b"1"), ("a.json", b'{"id": 7}'), ("b.mp4", b"2"), ("b.json", b'{"id": 7}')])
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips] == ["7"]
    assert reasons(found) == {"x.tar/b.mp4": "duplicate_id"}


def test_members_that_are_no_files_or_lead_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "good.mp4", b"G")
        for kind in ("LNKTYPE", "SYMTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "DIRTYPE"):
            add(archive, f"{kind}.mp4", type=getattr(tarfile, kind), linkname="/etc/passwd")
        for name in ("../out.mp4", "/etc/abs.mp4", "a/../../up.mp4", "line\nend.mp4", "\udcff.mp4"):
            add(archive, name, b"x")
        add(archive, "good.mp4", b"another")
        add(archive, "./good.mp4", b"another")
        add(archive, "linked.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "linked.mp4", b"x")
        add(archive, "latin.mp4", b"x")
        add(archive, "latin.txt", b"\xe9")
        add(archive, "nul.mp4", b"x")
        add(archive, "nul.txt", b"a\0b")
        add(archive, "list.mp4", b"x")
        add(archive, "list.json", b"[" * 100_000)
        add(archive, "long.mp4", b"x")
        add(archive, "long.txt", b"x" * ((1 << 20) + 1))
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips] == ["x.tar/good.mp4"]
    assert content(found) == [b"G"], "the first of a name counts"
    assert reasons(found) == {
        **{f"x.tar/{kind}TYPE.mp4": "not_a_file" for kind in ("LNK", "SYM", "CHR", "BLK", "FIFO", "DIR")},
        **{f"x.tar/{name}": "path_escapes_root" for name in ("../out.mp4", "/etc/abs.mp4", "a/../../up.mp4")},
        "x.tar/line?end.mp4": "bad_id", "x.tar/?.mp4": "bad_path", "x.tar/./good.mp4": "duplicate_id",
        "x.tar/good.mp4": "duplicate_id", "x.tar/linked.mp4": "not_a_file", "x.tar/latin.mp4": "bad_text",
        "x.tar/nul.mp4": "bad_text", "x.tar/list.mp4": "bad_row", "x.tar/long.mp4": "bad_text",
    }  # fmt: skip


def pax(records: bytes, after: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header with these records before some other blocks."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + after


def record(keyword: bytes, value: bytes) -> bytes:
    size = len(keyword) + len(value) + 3
    size += len(str(size + len(str(size))))
    return b"%d %s=%s\n" % (size, keyword, value)


def plain(name: str, data: bytes = b"x") -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


GOOD = plain("good.mp4")
END = bytes(1024)
HOSTILE = {
    "a size that leads back to its own header": pax(record(b"size", b"-1536"), plain("x.mp4")),
    "a size that leads before the file": pax(record(b"size", b"-4096"), plain("x.mp4")),
    "a size past the end": pax(record(b"size", b"%d" % 2**62), plain("x.mp4")),
    "a size of a thousand digits": pax(record(b"size", b"9" * 1000), plain("x.mp4")),
    "digits without end": pax(b"1" * 60_000, plain("x.mp4")),
    "a header of a gigabyte": pax(b"", b"")[:124] + b"%011o" % (1 << 30) + pax(b"", b"")[135:],
    "a thousand headers in a row": pax(record(b"a", b"b"), b"") * 1000 + plain("x.mp4"),
    "a length of 5,000 digits": pax(b"9" * 250 + b" path=x\n", plain("x.mp4")),
    "a sparse map without an end": pax(
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"), plain("x.mp4", b"999999999\n" + b"1" * 500)
    ),
    "a sparse file": pax(record(b"GNU.sparse.map", b"0,1") + record(b"GNU.sparse.size", b"1"), plain("x.mp4")),
    "noise": bytes(range(256)) * 8,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_headers_that_are_made_to_confuse(tmp_path: Path, name: str) -> None:
    data = bytearray(HOSTILE[name])
    if name == "a header of a gigabyte":  # its checksum, which the tar library would otherwise refuse it by
        data[148:156] = b"        "
        data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "x.tar").write_bytes(GOOD + bytes(data) + END)
    shard(tmp_path / "y.tar", [("next.mp4", b"x")])
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips if clip.clip_id != "x.tar/x.mp4"] == [
        "x.tar/good.mp4",
        "y.tar/next.mp4",
    ], "what lies before the place, and in other shards, is read"
    assert found.failures, "what is lost is said"
    for clip in found.clips:
        assert content(replace(found, clips=(clip,))) == [b"x"]


def test_a_shard_that_is_cut_or_damaged_says_so(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600), ("c.mp4", b"C")])
    whole = path.read_bytes()
    for length, ids, reason in (
        (512 + 700, ["x.tar/a.mp4"], "truncated"),
        (512 + 1024 + 512 + 100, ["x.tar/a.mp4"], "truncated"),
        (2 * (512 + 1024), ["x.tar/a.mp4", "x.tar/b.mp4"], "truncated"),
        (100, [], "damaged"),
        (0, [], "damaged"),
    ):
        path.write_bytes(whole[:length])
        found = read_dataset(tmp_path)
        assert [clip.clip_id for clip in found.clips] == ids, f"cut to {length}"
        assert reason in reasons(found).values(), f"cut to {length}"
    damaged = bytearray(whole)
    damaged[512 + 1024 + 5] ^= 1  # of the header of b
    path.write_bytes(damaged)
    found = read_dataset(tmp_path)
    assert [clip.clip_id for clip in found.clips] == ["x.tar/a.mp4"]
    assert reasons(found) == {"x.tar": "damaged"}, "clips after a damaged header must not be lost in silence"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_no_flipped_byte_gives_other_bytes_in_silence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    path = shard(folder / "x.tar", [("a.mp4", b"A" * 600), ("b.mp4", b"B" * 600)], tarfile.USTAR_FORMAT)
    changed = bytearray(path.read_bytes())
    header = data.draw(st.sampled_from([0, 512 + 1024]))
    changed[header + data.draw(st.integers(0, 511))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    found = read_dataset(folder)
    assert found.failures or [set(bytes(read)) for read in content(found)] == [{65}, {66}]


def test_what_is_not_a_shard(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"plain \.tar files, got x\.tar\.gz"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"plain \.tar"):
        read_dataset(tmp_path / "x.tar.gz")
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert read_dataset(tmp_path).format == "folder"
    shard(tmp_path / "y.tar", [("b.mp4", b"x")])
    with pytest.raises(DatasetError, match="holds both"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path, "webdataset").clips) == 1
    assert len(read_dataset(tmp_path, "folder").clips) == 1
    (tmp_path / "sub").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.tar files"):
        read_dataset(tmp_path / "sub", "webdataset")


def test_a_shard_that_is_a_link_out_of_the_folder(tmp_path: Path) -> None:
    shard(tmp_path / "secret.tar", [("a.mp4", b"x")])
    (tmp_path / "set").mkdir()
    (tmp_path / "set/x.tar").symlink_to(tmp_path / "secret.tar")
    (tmp_path / "set/p.tar").mkdir()
    shard(tmp_path / "set/y.tar", [("b.mp4", b"x")])
    found = read_dataset(tmp_path / "set")
    assert [clip.clip_id for clip in found.clips] == ["y.tar/b.mp4"]
    assert reasons(found) == {"p.tar": "not_a_file", "x.tar": "path_escapes_root"}
    assert len(read_dataset(tmp_path / "set", follow_links=True).clips) == 2


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 40), st.integers(0, 40), st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 2)), max_size=8))
def test_a_byte_range_reads_as_a_file(
    tmp_path_factory: pytest.TempPathFactory, start: int, size: int, seeks: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("range") / "x.tar"
    path.write_bytes(bytes(range(60)))
    part = ByteRange(path, "dir/v.mp4", start, size)
    assert media_of(part.path) == part
    same = io.BytesIO(bytes(range(60))[start : start + size])
    with part.open() as file:
        for offset, whence in seeks:
            try:
                place = file.seek(offset, whence)
            except OSError:
                continue
            assert place == same.seek(max(offset, 0) if whence == 0 else offset, whence)
            assert file.read(3) == same.read(3), f"at {place}"


def test_paths_of_files_are_no_byte_ranges(tmp_path: Path) -> None:
    (tmp_path / "y.tar/1+2").mkdir(parents=True)
    for path in (tmp_path / "y.tar/1+2/v.mp4", tmp_path / "none.tar/1+2/v.mp4", Path("v.mp4"), tmp_path / "y.tar"):
        assert media_of(path) == Media(path)


@pytest.fixture
def films(tmp_path: Path) -> tuple[Path, Path]:
    """A video file, and a folder with a shard that holds it between others."""
    file = tmp_path / "film.mp4"
    write_video(file, np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8), 12.0)
    data, folder = file.read_bytes(), tmp_path / "set"
    folder.mkdir()
    shard(folder / "x.tar", [("a.mp4", b"no video"), ("b.mp4", data), ("b.txt", b"=moves"), ("c.mp4", data[:900])])
    with (folder / "x.tar").open("rb+") as archive:
        assert archive.seek(0, os.SEEK_END) > len(data)
    return file, folder


def test_decoding_in_place_gives_the_frames_of_the_file(films: tuple[Path, Path]) -> None:
    file, folder = films
    a, b, c = (clip.path for clip in read_dataset(folder).clips)
    right = load_clip(file, STANDARD)
    with ClipReader() as decoders:
        for found in (load_clip(b, STANDARD), decoders.load_clip(b, STANDARD)):
            np.testing.assert_array_equal(found.frames, right.frames)
            assert (found.source_fps, found.source_frames) == (right.source_fps, right.source_frames)
        for path, reason in ((a, "unreadable"), (c, "truncated")):
            with pytest.raises(ClipError, match=reason):
                decoders.load_clip(path, STANDARD)
    assert content_hash(b) == content_hash(file), "a clip has the same cache entries wherever it lies"
    with (folder / "x.tar").open("rb+") as archive:
        archive.truncate(2048)
    with pytest.raises(ClipError, match="truncated"):
        load_clip(b, STANDARD)


def test_a_selection_is_shards(films: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = films
    found = read_dataset(folder)
    stored = Source.of(found).dataset(found.clips)
    clip = found.clips[1]
    write_subset(stored, [SubsetRow(clip, {"score": 0.5})], tmp_path / "out", files="link")
    again = read_dataset(tmp_path / "out/shards")
    assert [(c.clip_id, c.caption, c.columns["score"]) for c in again.clips] == [("x.tar/b.mp4", "=moves", "0.5")]
    with media_of(again.clips[0].path).open() as video:
        assert video.read() == file.read_bytes()
    table = (tmp_path / "out/clips.csv").read_text().splitlines()
    assert table == ["file,clip_id,caption,score", "x_tar__b.mp4,x.tar/b.mp4,'=moves,0.5"]
    needed = (tmp_path / "out/needed.csv").read_text().splitlines()
    size, shard = file.stat().st_size, (folder / "x.tar").stat().st_size
    assert needed == ["file,file_bytes,clips,clip_bytes", f"x.tar,{shard},1,{size}"]


def test_a_selection_can_be_files(films: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = films
    found = read_dataset(folder)
    rows = [SubsetRow(found.clips[1], {"score": 0.5})]
    write_subset(found, rows, tmp_path / "out", files="link", format="folder")
    written = tmp_path / "out/videos/x_tar__b.mp4"
    assert written.read_bytes() == file.read_bytes()
    assert written.with_suffix(".txt").read_text() == "=moves", "a trainer reads the caption unchanged"


def test_headers_are_read_and_not_data(tmp_path: Path) -> None:
    """Listing a shard touches its headers: a gigabyte of video costs what a byte does."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.mp4")
    info = tarfile.TarInfo("big.mp4")
    info.size = 1 << 30
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf())
        file.seek((1 << 30) + 512)
        file.write(END)
    read = os.times().system
    assert [member.size for member in members(tmp_path / "x.tar")] == [1 << 30]
    assert os.times().system - read < 0.2
