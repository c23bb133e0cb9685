"""``motive data check``: every row of its table, on a dataset with one of each fault."""

from __future__ import annotations

import csv
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import motive
from motive.cli.main import main
from motive.data import ClipSpec, read_dataset
from motive.data.check.duplicates import fingerprint, near_duplicates
from motive.data.check.fit import fit_of
from motive.data.check.result import DatasetCheck, Finding
from motive.data.check.shapes import Shape, Shapes, from_columns, ratio_name
from motive.data.check.survey import HEADERS_UP_TO, Look, survey
from motive.data.video.buckets import ClipSpecs
from motive.errors import OptionError
from tests.data.clipmaker import encode

SPEC = ClipSpec(fps=16, frames=17, height=48, width=96)
COLUMNS = ("file_name", "text", "fps", "num_frames", "height", "width")


def scene(seed: int, frames: int = 48, height: int = 48, width: int = 96) -> np.ndarray:
    """Coloured squares that slide to the right."""
    chosen = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = chosen.repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(picture, at, axis=1) for at in range(frames)])


def write_table(folder: Path, rows: Sequence[Sequence[object]]) -> Path:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VideoFolder with one clip of each fault."""
    folder = tmp_path_factory.mktemp("faulty")
    encode(folder / "a.mp4", scene(0))
    encode(folder / "again.mp4", scene(0), options={"crf": "38"})
    encode(folder / "slow.mp4", scene(1, 24), fps=8)
    encode(folder / "short.mp4", scene(2, 8))
    encode(folder / "tall.mp4", scene(3, 48, 96, 48))
    encode(folder / "stray.mp4", scene(4, 20))
    shutil.copy(folder / "slow.mp4", folder / "twin.mp4")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "junk.mp4").write_bytes(b"no video at all")
    whole = encode(folder / "cut.mp4", scene(5)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    captions = {"a": "A red  ball", "again": "a red ball", "slow": "slow", "tall": "", "gone": "gone"}
    names = ["a", "again", "slow", "short", "tall", "twin", "empty", "junk", "cut", "gone"]
    rows = [[f"{name}.mp4", captions.get(name, name), 16, 48, 48, 96] for name in names]
    return write_table(folder, [*rows, ["a.mp4", "once more", 16, 48, 48, 96]])


def check(folder: Path, headers: bool | None = None, decode: bool = False, spec: ClipSpec = SPEC) -> DatasetCheck:
    return survey(read_dataset(folder), ClipSpecs(spec), Look(headers, decode))


def findings(found: DatasetCheck) -> Mapping[str, Finding]:
    assert len({finding.name for finding in found.findings}) == len(found.findings)
    return {finding.name: finding for finding in found.findings}


def counts(found: DatasetCheck) -> dict[str, int]:
    return {name: finding.count for name, finding in findings(found).items() if finding.count}


TABLE = {
    "missing_file": 1, "duplicate_id": 1, "empty_caption": 1, "shared_caption": 2, "same_bytes": 2,
    "file_without_row": 1, "empty_file": 1,
}  # fmt: skip


def test_without_opening_a_video(faulty: Path) -> None:
    found = check(faulty, headers=False)
    assert counts(found) == TABLE
    assert (found.rows, found.clips, found.opened, found.looked) == (11, 9, 0, "table")
    assert found.bytes == sum((faulty / clip.clip_id).stat().st_size for clip in read_dataset(faulty).clips)
    assert found.fps.common == {"16": 8}, "from the table, but for the file without bytes"
    assert (found.seconds.least, found.seconds.most) == (3.0, 3.0)
    assert found.sizes.common == {"96x48": 8}
    assert found.sizes.ratios == {"2:1": 8}
    assert not findings(found)["near_duplicate"].looked
    assert not findings(found)["table_differs"].looked


def test_lengths_that_are_not_known_are_not_counted_as_long_enough(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        encode(tmp_path / f"{name}.mp4", scene(0, 8))
    unknown = findings(check(tmp_path, headers=False))["too_short"]
    assert (unknown.looked, unknown.title.endswith("--headers reads their lengths")) == (False, True)
    known = findings(check(tmp_path))["too_short"]
    assert (known.looked, known.count) == (True, 3)
    (tmp_path / "d.mp4").write_bytes(b"no video")
    assert findings(check(tmp_path))["too_short"].title.endswith("(the lengths of 1 are not known)")


def test_with_headers(faulty: Path) -> None:
    found = check(faulty)
    assert found.looked == "headers", "without being asked, since the dataset is small"
    assert found.opened == 8
    # An MP4 file that was cut has lost its index, which lies at its end.
    assert counts(found) == {**TABLE, "unreadable": 1, "truncated": 1, "table_differs": 4, "too_short": 1}
    assert found.fps.common == {"16": 4, "8": 2}
    assert found.sizes.common == {"96x48": 5, "48x96": 1}
    assert found.sizes.ratios == {"2:1": 5, "1:2": 1}
    assert (found.seconds.least, found.seconds.most) == (0.5, 3.0)
    differs = findings(found)["table_differs"].examples
    assert differs[0] == "short.mp4: 16 fps, 3 s, 96x48 in the table, 16 fps, 0.5 s, 96x48 in the file"
    assert [text.partition(":")[0] for text in differs] == ["short.mp4", "slow.mp4", "tall.mp4", "twin.mp4"]
    assert findings(found)["too_short"].examples == ("short.mp4: 0.5 s",)


def test_with_frames(faulty: Path) -> None:
    found = check(faulty, decode=True)
    wanted = {**TABLE, "unreadable": 1, "truncated": 1, "table_differs": 4, "too_short": 1, "near_duplicate": 4}
    assert counts(found) == wanted
    assert findings(found)["near_duplicate"].examples == ("a.mp4 = again.mp4", "slow.mp4 = twin.mp4")


def test_what_decoding_alone_finds(tmp_path: Path) -> None:
    """A file whose header is whole and whose frames are not, and notes."""
    path = encode(tmp_path / "a.mkv", scene(0, 60))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    encode(tmp_path / "b.mp4", scene(1), rotate=10)
    headers, frames = check(tmp_path), check(tmp_path, decode=True, spec=ClipSpec(16, 49, 48, 96))
    assert not {"truncated", "damaged"} & set(counts(headers))
    assert {"truncated", "damaged"} & set(counts(frames))


def test_examples_are_five_at_most_and_in_order(tmp_path: Path) -> None:
    rows = [[f"{at}.mp4", "x", "", "", "", ""] for at in range(9)]
    (tmp_path / "kept.mp4").write_bytes(b"video")
    found = check(write_table(tmp_path, [*rows, ["kept.mp4", "y", "", "", "", ""]]), headers=False)
    gone = findings(found)["missing_file"]
    assert gone.count == 9
    assert [text.partition(":")[0] for text in gone.examples] == [f"{at}.mp4" for at in range(5)]


def test_missing_and_empty_captions_are_two_things(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    (tmp_path / "a.txt").write_text("a ball")
    (tmp_path / "b.txt").write_text(" \n")
    found = findings(check(tmp_path, headers=False))
    assert found["missing_caption"].examples == ("c.mp4", "d.mp4")
    assert found["empty_caption"].examples == ("b.mp4",)
    rows = [{"video": "a.mp4", "prompt": ""}, {"video": "b.mp4", "prompt": None}, {"video": "c.mp4"}]
    (tmp_path / "metadata.json").write_text(json.dumps([*rows, {"video": "d.mp4", "prompt": "x"}]))
    found = findings(check(tmp_path, headers=False))
    assert found["empty_caption"].examples == ("a.mp4",)
    assert found["missing_caption"].examples == ("b.mp4", "c.mp4")


def test_two_rows_of_one_file_and_links_to_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(200_000))
    os.link(tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(bytes(200_000))
    (tmp_path / "d.mp4").write_bytes(bytes(199_999) + b"x")  # the same up to its last byte
    rows = [("1", "a.mp4"), ("2", "a.mp4"), ("3", "b.mp4"), ("4", "c.mp4"), ("5", "d.mp4")]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps({"id": i, "path": p}) + "\n" for i, p in rows))
    found = findings(check(tmp_path, headers=False))
    assert found["same_file"].examples == ("1 = 2",)
    assert (found["same_bytes"].count, found["same_bytes"].examples) == (4, ("1 = 2 = 3 = ...",))
    assert not found["file_without_row"].count


def test_videos_in_archives_are_compared_too(tmp_path: Path) -> None:
    video = encode(tmp_path / "v.mp4", scene(0)).read_bytes()
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.mp4", "b.mp4"):
            archive.writestr(name, video)
        archive.writestr("c.mp4", video[:-1] + b"?")
    found = check(tmp_path / "set.zip")
    assert findings(found)["same_bytes"].examples == ("set.zip/a.mp4 = set.zip/b.mp4",)
    assert found.sizes.common == {"96x48": 3}


def test_a_file_that_may_not_be_read_does_not_end_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root
    found = check(tmp_path)
    assert findings(found)["unreadable"].examples == ("a.mp4: a.mp4 may not be read: no permission",)


def test_large_datasets_are_not_opened_without_being_asked() -> None:
    assert Look().depth(HEADERS_UP_TO) == "headers"
    assert Look().depth(HEADERS_UP_TO + 1) == "table"
    assert Look(headers=True).depth(HEADERS_UP_TO + 1) == "headers"
    assert Look(decode=True).depth(10**6) == "frames"


def columns_of(tmp_path: Path, row: Mapping[str, object]) -> list[float]:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "clips.jsonl").write_text(json.dumps({"path": "a.mp4", **row}))
    shapes = from_columns(read_dataset(tmp_path / "clips.jsonl").clips)
    return [float(value[0]) for value in (shapes.fps, shapes.seconds, shapes.height, shapes.width)]


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ({"fps": 24, "num_frames": 48, "height": 480, "width": 832, "resolution": 399360}, [24, 2, 480, 832]),
        ({"fps": 30.0, "frame": 60, "seconds": 2.5}, [30, 2.5, None, None]),
        ({"fps": 24, "duration": 3, "resolution": {"width": 640, "height": 360}}, [24, 3, 360, 640]),
        ({"framerate_source": 25, "duration_span": [1.5, 4], "height_source": 9, "width_source": 16}, [25, 2.5, 9, 16]),
        ({"resolution": "1280x720"}, [None, None, 720, 1280]),
        ({"fps": "many", "height": -1, "width": None, "seconds": "NaN", "duration": "[1"}, [None] * 4),
    ],
    ids=["Open-Sora", "OpenVid", "FastVideo", "Cosmos", "text", "nonsense"],
)
def test_numbers_of_a_table(tmp_path: Path, row: Mapping[str, object], known: Sequence[float | None]) -> None:
    assert columns_of(tmp_path, row) == pytest.approx(
        [np.nan if value is None else value for value in known], nan_ok=True
    )


def test_what_a_clip_spec_does() -> None:
    wide, square, tall = (108, 192), (100, 100), (192, 108)
    shapes = Shapes.of([Shape(30, 10, *wide), Shape(12, 1.0, *square), Shape(16, 0.99, *tall), Shape()])
    spec = ClipSpec(fps=16, frames=17, height=54, width=96)
    fit = fit_of(shapes, spec)
    assert (fit.timed, fit.short, fit.dropped, fit.longer) == (3, 1, 1, 1), "one second is just long enough"
    assert fit.cut_share == pytest.approx((10 - 17 / 16) / 11)
    assert (fit.sized, fit.cropped, fit.half_lost) == (3, 2, 1)
    assert fit.cropped_share == pytest.approx(((1 - 9 / 16) + (1 - (9 / 16) ** 2)) / 2)
    assert (fit.rated, fit.slower, fit.enlarged) == (3, 1, 0)
    assert fit_of(shapes, ClipSpec(16, 17, 54, 96, short="loop")).dropped == 0
    stretched = fit_of(shapes, ClipSpec(16, 17, 400, 100, fit="stretch"))
    assert (stretched.cropped, stretched.stretched, stretched.enlarged) == (0, 3, 3)
    assert fit_of(Shapes.of([Shape()]), spec).lines() == ["lengths are not known", "sizes are not known"]
    assert "drops 1 of 3 clips (33.3%)" in fit.lines()[0]
    assert "crops 2 of 3 clips (66.7%): 56.1% of their picture on average" in fit.lines()[2]


@pytest.mark.parametrize(("ratio", "name"), [(1.7778, "16:9"), (0.5625, "9:16"), (1.76, "16:9"), (1.4142, "1.41:1")])
def test_names_of_ratios(ratio: float, name: str) -> None:
    assert ratio_name(ratio) == name


def test_near_duplicates_are_complete() -> None:
    """The bands find every pair that comparing all with all finds."""
    random = np.random.default_rng(1)
    prints = [random.random(189) < 0.5 for _ in range(40)]
    for at in range(40):
        other = prints[at].copy()
        other[random.choice(189, at, replace=False)] ^= True  # at bits differ
        prints.append(other)
    groups = near_duplicates([*prints, None, None], limit=18)
    assert groups == [[at, 40 + at] for at in range(19)]


def test_many_clips_with_nearly_one_fingerprint() -> None:
    base = np.zeros(189, bool)
    prints = []
    for at in range(189):
        one = base.copy()
        one[at] = True
        prints.append(one)
    assert near_duplicates(prints) == [list(range(189))]


def test_fingerprints_survive_scaling_and_noise_and_not_other_content() -> None:
    frames = scene(0, 20, 32, 32)
    noise = np.random.default_rng(0).integers(-9, 10, frames.shape)
    first, again = fingerprint(frames), fingerprint((frames + noise).clip(0, 255).astype(np.uint8))
    other = fingerprint(scene(1, 20, 32, 32))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first != again).sum() <= 18 < (first != other).sum()
    assert fingerprint(np.full((20, 32, 32, 3), 80, np.uint8)) is None


def test_the_function_and_its_settings(faulty: Path) -> None:
    config = motive.CheckConfig(clip_spec=SPEC, headers=False)
    found = motive.check_dataset(faulty, config=config)
    assert found == check(faulty, headers=False)
    plain = motive.check_dataset(faulty, config=motive.CheckConfig(headers=False)).clip_spec
    toy = motive.check_dataset(faulty, config=motive.CheckConfig(model="toy", headers=False)).clip_spec
    assert plain is not None
    assert toy is not None
    assert plain.clip_spec == ClipSpec() != toy.clip_spec
    with pytest.raises(OptionError, match="frames"):
        motive.check_dataset(faulty, config=motive.CheckConfig(model="toy", clip_spec=ClipSpec(frames=18)))
    with pytest.raises(OptionError, match="headers"):
        motive.CheckConfig(headers=False, decode=True)


def test_command_line(faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "check", str(faulty), "--no-headers", "--quiet"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "rows         11: 9 clips, 2 without a usable file" in text
    assert "         1  rows without a file\n               gone.mp4: 'gone.mp4' does not exist\n" in text
    assert "drops 0 of 8 clips (0.0%), shorter than the 5 s" not in text, "the table says 3 s"
    assert "drops 8 of 8 clips (100.0%), shorter than the 5 s that 81 frames at 16 fps need" in text
    assert "problems: rows without a file (1)" in text
    assert main([*command, "--strict"]) == 3
    assert main([*command, "--json", "--clip-frames", "17"]) == 0
    data = json.loads(capsys.readouterr().out.partition("problems")[2].partition("\n")[2])
    assert data["rows"] == 11
    assert data["clip_spec"]["clip_spec"]["frames"] == 17
    assert {item["name"]: item["count"] for item in data["findings"] if item["count"]} == TABLE
    good = tmp_path / "good"
    good.mkdir()
    encode(good / "a.mp4", scene(0))
    (good / "a.txt").write_text("a ball")
    assert main(["data", "check", str(good), "--strict", "--quiet", "--clip-frames", "17"]) == 0
    assert "no problems found" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    with pytest.raises(SystemExit):
        main(["data"])
