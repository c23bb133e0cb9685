"""The pages of tools name formats and flags that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from motive.cli.main import _parser
from motive.data import dataset_formats, selection_writers

FOLDER = Path(__file__).resolve().parents[2] / "docs/tools"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_page_is_on_the_index() -> None:
    assert sorted(re.findall(r"\]\(([a-z-]+\.md)\)", INDEX)) == [path.name for path in PAGES]
    assert len(PAGES) == 12


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_three_commands_that_parse(path: Path) -> None:
    block = path.read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
    commands = [line.split() for line in block.splitlines() if line.strip()]
    assert len(commands) == 3, "index, select, train"
    assert [words[:2] for words in commands[:2]] == [["motive", "index"], ["motive", "select"]]
    for words in commands:
        if words[0] == "motive":
            _parser().parse_args(words[1:])


def test_formats_are_known() -> None:
    known = {*selection_writers(), *dataset_formats(), "NAME"}
    for path in [*PAGES, FOLDER / "README.md", FOLDER.parent / "selecting.md"]:
        for name in re.findall(r"--format ([a-z-]+)", path.read_text(encoding="utf-8")):
            assert name in known, f"{path.name}: {name}"
    listed = (FOLDER.parent / "formats/datasets.md").read_text(encoding="utf-8")
    for name in selection_writers():
        assert f"| `{name}` |" in listed, f"docs/formats/datasets.md does not list --format {name}"
