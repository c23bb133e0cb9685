"""The documents list what the code can say."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from motive.data.formats.folder import VIDEO_SUFFIXES
from motive.data.formats.metadata import TableFormat
from motive.data.formats.registry import dataset_formats
from motive.masks import MaskConfig

ROOT = Path(__file__).resolve().parents[2]
DATASETS = (ROOT / "docs/formats/datasets.md").read_text(encoding="utf-8")
LATENTS = (ROOT / "docs/latents.md").read_text(encoding="utf-8")
MASKS = (ROOT / "docs/masks.md").read_text(encoding="utf-8")


def test_every_reason_is_listed_and_exists() -> None:
    rooms = ("data", "masks", "gradients", "indexing", "adapters")
    sources = [path for room in rooms for path in (ROOT / "motive" / room).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    listed = set(re.findall(r"^\| `([a-z_]+)` \| (?:read|decode|mask|encode|gradient)", DATASETS, re.MULTILINE))
    latents = set(re.findall(r"`([a-z_]+)`", LATENTS))
    raised = set(re.findall(r'ClipError\(\s*"([a-z_]+)"', code))
    missing = sorted(raised - listed - latents)
    assert not missing, f"in neither docs/formats/datasets.md nor docs/latents.md: {missing}"
    quoted = set(re.findall(r'"([a-z_]+)"', code)) | {"static"}  # the caller raises that one
    assert listed <= quoted, f"listed, but nothing says it: {sorted(listed - quoted)}"


def test_formats_and_columns_are_listed() -> None:
    for reader in dataset_formats().values():
        assert f"| `{reader.name}` |" in DATASETS
        if isinstance(reader, TableFormat):
            for column in (*reader.path_columns, *reader.caption_columns, *reader.suffixes):
                assert f"`{column}`" in DATASETS, f"{reader.name}: {column}"
    for suffix in VIDEO_SUFFIXES:
        assert re.search(rf"{re.escape(suffix)}[\s`]", DATASETS), suffix


def test_mask_options_and_defaults_are_listed() -> None:
    for field in fields(MaskConfig):
        default = field.default if isinstance(field.default, float) else f"`{field.default}`"
        assert f"| `{field.name}` | {default} |" in MASKS, f"docs/masks.md: {field.name} {default}"


def test_the_table_of_formats_is_in_the_order_of_trying() -> None:
    head = DATASETS.index("| format | recognised by |")
    rows = DATASETS[head : DATASETS.index("\n\n", head)].splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(dataset_formats())
