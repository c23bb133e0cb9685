"""Large public sets in their published layouts: archives beside a table, or unpacked, with the same ids."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from motive.data import ClipSpec, Dataset, SubsetRow, read_dataset, write_subset
from motive.data.check.survey import Look, survey
from motive.data.media import media_of
from motive.data.video.buckets import ClipSpecs
from motive.errors import DatasetError
from motive.testing import Entry, FormatContract, place_videos

OPENVID = ("video", "caption", "aesthetic score", "motion score", "temporal consistency score", "camera motion", "frame",
           "fps", "seconds")  # fmt: skip


def pack(path: Path, videos: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in videos.items():
            file.writestr(name, data)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def openvid_row(video: str, caption: str | None) -> dict[str, object]:
    return dict(zip(OPENVID, (video, caption, 5.5, 12.25, 0.9, "pan_left", 121, 24.0, 5.04), strict=True))


def reasons(dataset: Dataset) -> dict[str, str]:
    return {failure.clip_id: failure.reason for failure in dataset.failures}


def unread_of(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.why for item in dataset.unread}


def videos_of(dataset: Dataset) -> dict[str, bytes]:
    found = {}
    for clip in dataset.clips:
        with media_of(clip.path).open() as file:
            found[clip.clip_id] = file.read()
    return found


class TestVidGen(FormatContract):
    format = "vidgen"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        rows = [{"vid": entry.path.removesuffix(".mp4"), "caption": entry.caption} for entry in entries]
        (folder / "VidGen_1M_video_caption.json").write_text(json.dumps(rows), encoding="utf-8")
        return folder


class TestVidGenInArchives(TestVidGen):
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        rows = [{"vid": entry.path.removesuffix(".mp4"), "caption": entry.caption} for entry in entries]
        (folder / "VidGen_1M_video_caption.json").write_text(json.dumps(rows), encoding="utf-8")
        pack(folder / "VidGen_video_0.zip", {entry.path: entry.data or b"" for entry in entries})
        return folder


class TestOpenVid(FormatContract):
    format = "openvid"

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        place_videos(folder, entries)
        write_csv(folder / "OpenVid-1M.csv", [openvid_row(entry.path, entry.caption) for entry in entries])
        return folder


class TestOpenVidInArchives(TestOpenVid):
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        write_csv(folder / "data/train/OpenVid-1M.csv", [openvid_row(entry.path, entry.caption) for entry in entries])
        pack(folder / "OpenVid_part0.zip", {entry.path: entry.data or b"" for entry in entries}, zipfile.ZIP_STORED)
        return folder


class TestFourNex(FormatContract):
    format = "4dnex"
    has_paths = False

    def write_dataset(self, folder: Path, entries: Sequence[Entry]) -> Path:
        raw = folder / "raw/dynamic/dynamic_1"
        raw.mkdir(parents=True, exist_ok=True)
        for number, entry in enumerate(entries):
            (raw / f"{number:08d}.mp4").write_bytes(entry.data or b"")
        rows = [{"number": number, "caption": entry.caption} for number, entry in enumerate(entries)]
        write_csv(folder / "caption/dynamic_1_with_caption_upload.csv", rows)
        return folder


def test_vidgen_as_it_is_downloaded(tmp_path: Path) -> None:
    """Two of 2,048 archives, one of them already unpacked to a folder, and captions for all."""
    vids = ["Eep9uvenxAo-Scene-0030", "NjDCwU95uGM-Scene-0013", "--abc_DEF12-Scene-0001", "not-here-Scene-0000"]
    rows = [{"vid": vid, "caption": f"about {vid}"} for vid in vids]
    (tmp_path / "VidGen_1M_video_caption.json").write_text(json.dumps(rows))
    pack(
        tmp_path / "VidGen_video_0.zip", {f"VidGen_video_0/{vids[0]}.mp4": b"0", f"VidGen_video_0/{vids[2]}.mp4": b"2"}
    )
    (tmp_path / "unpacked").mkdir()
    (tmp_path / f"unpacked/{vids[1]}.mp4").write_bytes(b"1")
    (tmp_path / "unpacked/stray.mp4").write_bytes(b"x")
    found = read_dataset(tmp_path)
    assert (found.format, found.root, found.source) == ("vidgen", tmp_path, tmp_path / "VidGen_1M_video_caption.json")
    held = videos_of(found)
    assert held == {vids[2]: b"2", vids[0]: b"0", vids[1]: b"1"}
    assert [clip.caption for clip in found.clips] == [f"about {vid}" for vid in (vids[2], vids[0], vids[1])]
    assert reasons(found) == {vids[3]: "missing_file"}
    assert "in 1 archive" in found.failures[0].detail, "the message says where it was looked for"
    assert unread_of(found) == {"1 videos": "no row names them, unpacked/stray.mp4 for one"}
    with zipfile.ZipFile(tmp_path / "VidGen_video_0.zip") as file:
        file.extractall(tmp_path)
    os.unlink(tmp_path / "VidGen_video_0.zip")
    assert videos_of(read_dataset(tmp_path)) == held, "unpacking changes no id"


def test_openvid_as_its_script_downloads_it(tmp_path: Path) -> None:
    """download/ keeps the archives that video/ was unpacked from; the tables lie in data/train."""
    names = ["---_iRTHryQ_13_0to241.mp4", "---agFLYkbY_7_0to303.mp4", "--0ETtekpw0_2_18to486.mp4"]
    table = write_csv(tmp_path / "data/train/OpenVid-1M.csv", [openvid_row(name, f"of {name}") for name in names])
    write_csv(tmp_path / "data/train/OpenVidHD.csv", [openvid_row(names[0], "hd")])
    pack(tmp_path / "download/OpenVid_part0.zip", {f"video/{name}": name.encode() for name in names[:2]})
    (tmp_path / "video").mkdir()
    (tmp_path / f"video/{names[0]}").write_bytes(names[0].encode())
    (tmp_path / "download/OpenVid_part183_partaa").write_bytes(b"half")
    found = read_dataset(tmp_path)
    assert (found.format, found.root, found.source) == ("openvid", tmp_path, table)
    assert videos_of(found) == {name: name.encode() for name in names[:2]}
    assert found.clips[0].path == tmp_path / "video" / names[0], "what is unpacked comes first"
    assert found.clips[0].columns["aesthetic score"] == "5.5"
    assert found.clips[0].columns["camera motion"] == "pan_left"
    assert reasons(found) == {names[2]: "missing_file"}
    unread = unread_of(found)
    assert unread["data/train/OpenVidHD.csv"].startswith("OpenVid-1M.csv is read")
    assert "join the parts with cat" in unread["1 compressed or split archives"]
    hd = read_dataset(tmp_path / "data/train/OpenVidHD.csv")
    assert (hd.root, [clip.caption for clip in hd.clips]) == (tmp_path, ["hd"])


def test_a_selection_from_archives_has_the_input_form(tmp_path: Path) -> None:
    names = ["a_0to9.mp4", "b_0to9.mp4"]
    write_csv(tmp_path / "set/OpenVid-1M.csv", [openvid_row(name, f"of {name}") for name in names])
    pack(tmp_path / "set/OpenVid_part0.zip", {name: name.encode() for name in names})
    found = read_dataset(tmp_path / "set")
    write_subset(found, [SubsetRow(found.clips[1], {"influence": 0.5})], tmp_path / "out", files="link")
    with (tmp_path / "out/OpenVid-1M.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [*OPENVID, "clip_id", "influence"], "spaces in names and unknown columns stay"
    assert (row["video"], row["motion score"], row["influence"]) == ("OpenVid_part0.zip/b_0to9.mp4", "12.25", "0.5")
    assert (tmp_path / "out" / row["video"]).read_bytes() == b"b_0to9.mp4"
    pack(tmp_path / "set/OpenVid_part0.zip", {name: name.encode() for name in reversed(names)})
    with pytest.raises(DatasetError, match="has changed"):
        write_subset(found, [SubsetRow(found.clips[1], {})], tmp_path / "out2", files="link")


def test_one_name_in_two_places(tmp_path: Path) -> None:
    write_csv(tmp_path / "OpenVid-1M.csv", [openvid_row(f"{name}.mp4", name) for name in ("twice", "same", "top")])
    for folder, data in (("one", b"1"), ("two", b"22")):
        pack(tmp_path / f"{folder}.zip", {"twice.mp4": data, "same.mp4": b"same"})
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "top.mp4").write_bytes(data)
    (tmp_path / "top.mp4").write_bytes(b"top")
    found = read_dataset(tmp_path)
    assert videos_of(found) == {"same.mp4": b"same", "top.mp4": b"top"}, "a copy of equal size is the same video"
    assert reasons(found) == {"twice.mp4": "ambiguous_path"}
    assert "one.zip/twice.mp4' and 'two.zip/twice.mp4" in found.failures[0].detail


def test_archives_that_are_cut_or_lead_out(tmp_path: Path) -> None:
    write_csv(tmp_path / "set/OpenVid-1M.csv", [openvid_row(f"{name}.mp4", name) for name in ("a", "out", "link")])
    with zipfile.ZipFile(tmp_path / "set/part.zip", "w") as file:
        file.writestr("a.mp4", b"A")
        file.writestr("../out.mp4", b"x")
    pack(tmp_path / "secret.zip", {"link.mp4": b"secret"})
    (tmp_path / "set/linked.zip").symlink_to(tmp_path / "secret.zip")
    (tmp_path / "set/cut.zip").write_bytes((tmp_path / "set/part.zip").read_bytes()[:50])
    (tmp_path / "set/x.tar.gz").write_bytes(b"x")
    found = read_dataset(tmp_path / "set")
    assert videos_of(found) == {"a.mp4": b"A"}
    assert reasons(found) == {
        "cut.zip": "truncated", "linked.zip": "path_escapes_root", "out.mp4": "path_escapes_root",
        "link.mp4": "missing_file",
    }  # fmt: skip
    assert "1 compressed or split archives" in unread_of(found)


def test_several_roots(tmp_path: Path) -> None:
    """--root says where the archives and videos lie, when the table lies elsewhere."""
    table = write_csv(tmp_path / "tables/OpenVid-1M.csv", [openvid_row(f"{name}.mp4", name) for name in "ab"])
    pack(tmp_path / "disk1/part.zip", {"a.mp4": b"A"})
    (tmp_path / "disk2").mkdir()
    (tmp_path / "disk2/b.mp4").write_bytes(b"B")
    found = read_dataset(table, root=[tmp_path / "disk1", tmp_path / "disk2"])
    assert videos_of(found) == {"a.mp4": b"A", "b.mp4": b"B"}


def test_4dnex_with_sets_unpacked_and_packed(tmp_path: Path) -> None:
    write_csv(tmp_path / "caption/dynamic_1_with_caption_upload.csv", [{"number": 7, "caption": "one"}])
    rows = [{"number": 7, "caption": "two"}, {"number": "x", "caption": ""}, {"number": 8, "caption": ""}]
    write_csv(tmp_path / "caption/dynamic_2_with_caption_upload.csv", rows)
    (tmp_path / "raw/dynamic/dynamic_1").mkdir(parents=True)
    (tmp_path / "raw/dynamic/dynamic_1/00000007.mp4").write_bytes(b"1")
    (tmp_path / "dynamic/dynamic_1/00000007/clip_0-80").mkdir(parents=True)
    with tarfile.open(tmp_path / "raw/dynamic_2.tar", "w") as archive:
        archive.add(tmp_path / "raw/dynamic/dynamic_1/00000007.mp4", "dynamic_2/00000007.mp4")
    found = read_dataset(tmp_path)
    assert (found.format, found.source) == ("4dnex", None)
    assert videos_of(found) == {"dynamic_1/7": b"1", "dynamic_2/7": b"1"}
    assert [clip.caption for clip in found.clips] == ["one", "two"]
    assert reasons(found) == {"dynamic_2_with_caption_upload.csv:3": "bad_row", "dynamic_2/8": "missing_file"}
    assert unread_of(found)["dynamic/"] == "camera paths, depth and masks are not read"
    write_subset(found, [SubsetRow(clip, {"s": 1}) for clip in found.clips], tmp_path / "../out4", files="copy")
    again = read_dataset(tmp_path / "../out4", "4dnex")
    assert videos_of(again) == videos_of(found)
    assert (tmp_path / "../out4/caption/dynamic_1_with_caption_upload.csv").read_text() == "number,caption,s\n7,one,1\n"
    with pytest.raises(DatasetError, match="caption/dynamic_1"):
        read_dataset(tmp_path / "raw", "4dnex")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archive_members_without_a_row(tmp_path: Path, suffix: str) -> None:
    """As for files: how many there are, and five of them, those of archives by their archive."""
    extra = [f"extra-{number}.mp4" for number in range(6)]
    write_csv(tmp_path / "OpenVid-1M.csv", [openvid_row("kept.mp4", "x")])
    videos = {f"video/{name}": name.encode() for name in ["kept.mp4", *extra]}
    if suffix == ".zip":
        pack(tmp_path / "OpenVid_part0.zip", videos)
    else:
        with tarfile.open(tmp_path / "OpenVid_part0.tar", "w") as archive:
            for name, data in videos.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    (tmp_path / "stray.mp4").write_bytes(b"x")
    found = survey(read_dataset(tmp_path), ClipSpecs(ClipSpec()), Look(headers=False))
    (finding,) = (item for item in found.findings if item.name == "file_without_row")
    assert (finding.count, finding.problem) == (7, True)
    names = [f"OpenVid_part0{suffix}/video/{name}" for name in extra]
    assert finding.examples == tuple(names[:5])
    lines = "\n".join(found.lines())
    assert lines.count(names[0]) == 1, "said once"
    assert "videos that no row names (7)" in lines
