"""Selections read by the tools' own loaders: python -m tests.readers.run --python ENV/bin/python --sources DIR

A dataset of small videos with difficult captions is read, a selection of it is written in each format, and load.py reads
that with the tool's own code in an environment of its readers. Datasets of the tools' own formats (tests/data/samples.py)
follow, with selections in the same format. Files, captions, and columns where the layout has them, must be those of the
selected clips. `make test-readers` sets all of it up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from motive.data import Attributed, Dataset, SubsetRow, read_dataset, write_subset, write_video
from motive.data.media import media_of
from tests.data.sample import CAPTIONS as CAPTIONS_OF_SAMPLES
from tests.data.samples import SAMPLES

HERE = Path(__file__).parent
CAPTIONS = ('says "hi", then; goes', "caf\u00e9 \u732b \u2603", "None", "", "=1+1", "two\nlines", "1")
SHAPES = Attributed(shapes=((32, 32, 9),))


@dataclass(frozen=True)
class Reader:
    """How a tool reads a selection.

    Attributes:
        tool: name in load.py.
        source: entry of tools.json, or line of requirements.txt.
        format: what the selection is written as.
        columns: whether its rows have the columns and the scores.
        one_line: whether a line end of a caption becomes a space.
    """

    tool: str
    source: str
    format: str
    columns: bool = False
    one_line: bool = False


READERS = (
    Reader("hub_videofolder", "datasets", "hf", columns=True),
    Reader("hub_webdataset", "datasets", "webdataset", columns=True),
    Reader("webdataset", "webdataset", "webdataset", columns=True),
    Reader("musubi", "musubi-tuner", "musubi", columns=True),
    Reader("diffsynth", "DiffSynth-Studio", "diffsynth", columns=True),
    Reader("diffusion_pipe", "diffusion-pipe", "diffusion-pipe"),
    Reader("finetrainers", "finetrainers", "finetrainers", one_line=True),
)


@dataclass(frozen=True)
class Own:
    """A selection in the format of its dataset, and how a tool reads it.

    Attributes:
        sample: name in tests/data/samples.py.
        tool, source: as in Reader.
        columns: those that the tool reads as the dataset has them.
    """

    sample: str
    tool: str
    source: str
    columns: tuple[str, ...] = ()


PLAIN = ("note", "n", "x")
TYPED = (*PLAIN, "big", "flag", "none", "tags", "deep")
OWN = (
    Own("videofolder-csv", "hub_videofolder", "datasets", PLAIN),
    Own("videofolder-jsonl", "hub_videofolder", "datasets", TYPED),
    Own("videofolder-parquet", "hub_videofolder", "datasets", TYPED),
    Own("hf_datasets-parquet", "hub_videofolder", "datasets", TYPED),
    Own("hf_datasets-arrow", "hub_videofolder", "datasets", TYPED),
    Own("jsonl-jsonl", "hub_json", "datasets", TYPED),
    Own("webdataset", "hub_webdataset", "datasets", TYPED),
    Own("webdataset", "webdataset", "webdataset", TYPED),
    Own("musubi-table", "musubi", "musubi-tuner", TYPED),
    Own("musubi-folders", "musubi", "musubi-tuner"),
    Own("diffsynth-csv", "diffsynth", "DiffSynth-Studio", PLAIN),
    Own("diffsynth-json", "diffsynth", "DiffSynth-Studio", TYPED),
    Own("diffsynth-jsonl", "diffsynth", "DiffSynth-Studio", TYPED),
    Own("diffusion-pipe-texts", "diffusion_pipe", "diffusion-pipe"),
    Own("diffusion-pipe-json", "diffusion_pipe", "diffusion-pipe"),
    Own("finetrainers", "finetrainers", "finetrainers"),
    Own("finetrainers-config", "finetrainers", "finetrainers"),
)
WHOLE = ("hub_videofolder", "hub_webdataset", "webdataset")
"""Tools that are given the selection's folder, whatever motive reads of it."""


def make_dataset(folder: Path) -> Dataset:
    """A table of clips in two folders, with columns of text and numbers, and one row whose file is missing."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number, caption in enumerate(CAPTIONS):
        name = f"{number % 2}/clip {number // 2}.mp4"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, rng.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8), fps=16)
        rows.append({"path": name, "caption": caption, "n": number, "x": number / 4, "note": f"007 \u00fc {number}"})
    rows.append({"path": "gone.mp4", "caption": "no file", "n": 99, "x": 0.5, "note": ""})
    with open(folder / "clips.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    dataset = read_dataset(folder / "clips.jsonl")
    if [failure.reason for failure in dataset.failures] != ["missing_file"]:
        raise SystemExit("the row without a file must be listed as missing_file")
    return dataset


def check(reader: Reader, found: Sequence[Any], rows: Sequence[SubsetRow], out: Path) -> None:
    """Compare what a tool read with the selected clips.

    Raises:
        SystemExit: they differ.
    """

    def caption(text: str) -> str:
        return " ".join(text.splitlines()) if reader.one_line else text

    wanted = {caption(row.clip.caption): row for row in rows}
    if sorted(text for _, text, _ in found) != sorted(wanted):
        raise SystemExit(f"{reader.tool}: captions {sorted(text for _, text, _ in found)} are not {sorted(wanted)}")
    for name, text, columns in found:
        row = wanted[text]
        path = next((out / at / name for at in ("", "videos") if (out / at / name).is_file()), None)
        if path is not None and path.read_bytes() != row.clip.path.read_bytes():
            raise SystemExit(f"{reader.tool}: {name} is not the video of {row.clip.clip_id}")
        if path is None and reader.format != "webdataset":
            raise SystemExit(f"{reader.tool}: {name} is no file")
        if reader.columns:
            check_columns(reader, columns, row)


def check_columns(reader: Reader, columns: Mapping[str, Any], row: SubsetRow) -> None:
    """Compare the columns of one clip.

    Raises:
        SystemExit: they differ.
    """
    own = row.clip.columns
    expected = {
        "n": int(own["n"]),
        "x": float(own["x"]),
        "note": own["note"],
        "clip_id": row.clip.clip_id,
        **row.scores,
    }
    wrong = {name: columns.get(name) for name, value in expected.items() if columns.get(name) != value}
    if wrong:
        raise SystemExit(f"{reader.tool}: columns of {row.clip.clip_id} are {wrong}, must be {expected}")


def clone(sources: Path) -> None:
    """Bring every tool's pinned commit into a folder of its name."""
    for name, tool in json.loads((HERE / "tools.json").read_text()).items():
        folder = sources / name
        if not folder.is_dir():
            git = ["git", "-C", str(folder)]
            subprocess.run(["git", "init", "-q", str(folder)], check=True)
            subprocess.run([*git, "fetch", "-q", "--depth", "1", tool["url"], tool["commit"]], check=True)
            subprocess.run([*git, "checkout", "-q", "FETCH_HEAD"], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the selections, have each read, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="of the readers' environment")
    parser.add_argument("--sources", type=Path, required=True, help="folder of the tools' clones")
    parser.add_argument("--clone", action="store_true", help="fetch the pinned commits that are not there")
    parser.add_argument("--only", nargs="+", default=[*dict.fromkeys(reader.tool for reader in (*READERS, *OWN))])
    options = parser.parse_args(arguments)
    tools = json.loads((HERE / "tools.json").read_text())
    versions = {name: f"{name} at {tool['commit'][:7]}" for name, tool in tools.items()}
    pinned = [line.strip() for line in (HERE / "requirements.txt").read_text().splitlines() if "==" in line]
    versions |= {line.partition("==")[0]: line.replace("==", " ") for line in pinned}
    if options.clone:
        clone(options.sources)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = make_dataset(folder / "data")
        rows = [SubsetRow(clip, {"motive_rank": n}) for n, clip in enumerate(reversed(dataset.clips), 1)]
        for reader in (reader for reader in READERS if reader.tool in options.only):
            out = folder / reader.tool
            write_subset(dataset, rows, out, files="copy", format=reader.format, attributed=SHAPES)
            check(reader, found_by(reader.tool, out, options), rows, out)
            print(
                f"{reader.tool}: {len(rows)} clips of --format {reader.format} read by {versions[reader.source]}",
                flush=True,
            )
        videos = [clip.path.read_bytes() for clip in dataset.clips[:3]]
        for number, own in enumerate(own for own in OWN if own.tool in options.only):
            count = check_own(own, folder / f"own {number}", videos, options)
            print(
                f"{own.tool}: {count} clips of a selection from {own.sample} read by {versions[own.source]}", flush=True
            )
    return 0


def found_by(tool: str, selection: Path, options: argparse.Namespace) -> list[Any]:
    """[file, caption, columns] of every clip, as a tool reads them.

    Raises:
        SystemExit: it cannot.
    """
    command = [options.python.absolute(), HERE / "load.py", tool, selection, options.sources.absolute()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=selection.parent)
    if done.returncode:
        raise SystemExit(f"{tool} cannot read {selection}:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def check_own(own: Own, folder: Path, videos: Sequence[bytes], options: argparse.Namespace) -> int:
    """A dataset of a tool's format, a selection in the same format, and what the tool reads of that; the clips' number.

    Raises:
        SystemExit: it is not what the dataset has.
    """
    sample = next(sample for sample in SAMPLES if sample.name == own.sample)
    root, out = folder / "data", folder / "selection"
    root.mkdir(parents=True)
    path = sample.make(root, videos)
    dataset = read_dataset(path)
    clips = [clip for clip in dataset.clips if clip.caption in CAPTIONS_OF_SAMPLES]
    rows = [SubsetRow(clip, {"motive_rank": n}) for n, clip in enumerate(reversed(clips), 1)]
    write_subset(dataset, rows, out, files="copy", attributed=SHAPES)
    found = found_by(own.tool, out if own.tool in WHOLE else out / sample.inside, options)
    wanted = {row.clip.caption: row for row in rows}
    if sorted(text for _, text, _ in found) != sorted(wanted):
        raise SystemExit(f"{own.tool}: captions {sorted(text for _, text, _ in found)} are not {sorted(wanted)}")
    given = sample.values(path if path.is_file() else root) if sample.values is not None else {}
    for name, text, columns in found:
        place = next((out / at / name for at in ("", "videos") if (out / at / name).is_file()), None)
        if place is None and own.sample != "webdataset":
            raise SystemExit(f"{own.tool}: {name} is no file")
        with media_of(wanted[text].clip.path).open() as video:
            if place is not None and place.read_bytes() != video.read():
                raise SystemExit(f"{own.tool}: {name} is not the video of {wanted[text].clip.clip_id}")
        note = wanted[text].clip.columns.get("note", "")
        expected = {key: given[note][key] for key in own.columns}
        numbers = {key: float(value) for key, value in expected.items() if key in ("n", "x")}  # CSV has no numbers
        expected |= {} if "flag" in own.columns else numbers
        expected |= {"motive_rank": wanted[text].scores["motive_rank"]} if own.columns else {}
        wrong = {key: columns.get(key) for key, value in expected.items() if columns.get(key) != value}
        if wrong:
            raise SystemExit(f"{own.tool}: columns of {name} are {wrong}, must be {expected}")
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
