"""Captions, ids, labels and reasons are text that anyone may have written; on the page they stay text."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from motive.data.base import Failure
from motive.reporting.config import ReportConfig
from motive.reporting.text import MAX_CHARACTERS, clean
from motive.scores.stores import label_in
from tests.reporting.markup import Markup
from tests.reporting.world import make_world

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)><a href='javascript:alert(1)'>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}${7*7}<!--",
    "&lt;b&gt; &amp;amp; &#x3c;i&#x3e;",
    "\u202egnp.exe\u2066abc\u2069\u200f",
    "bell\x07 escape\x1b[31m nul\x00 delete\x7f c1\x9b",
    "line one\nline two\r\n\u2028para\u2029end",
    "\ud800 lone surrogate",
    "tag\U000e0041\U000e007f characters",
    "http://evil.example/track.gif https://evil.example",
)


def build_hostile(folder: Path, text: str) -> tuple[Markup, str]:
    """A report in which every string that comes from outside is the hostile text."""
    storable = text.encode("utf-8", "replace").decode("utf-8")  # stores hold UTF-8
    world = make_world(
        folder,
        caption=storable,
        clip_ids=[f"{n}{storable}" for n in range(6)],
        query_ids=[f"{n}{storable}" for n in range(2)],
        failures=[Failure(f"f{storable}", storable, "decode", "damaged", storable)],
    )
    world.gone = {"0.mp4"}
    config = ReportConfig(title=text, label="motion", top=2, bottom=1, min_height_px=16, overlap_top=1)
    html = world.build(folder / "out", config)
    return Markup.of(html), html


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Markup:
    return build_hostile(tmp_path_factory.mktemp("plain"), "harmless")[0]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(tmp_path: Path, plain: Markup, text: str) -> None:
    page, html = build_hostile(tmp_path, text)
    assert page.tags() <= plain.tags(), "an element appeared that a harmless page does not have"
    assert page.attribute_names() <= plain.attribute_names(), "an attribute appeared"
    assert len(page.elements) == len(plain.elements), "the number of elements changed"
    assert page.raw == plain.raw, "the style or script changed"
    assert "49" not in re.findall(r"<title>([^<]*)</title>", html)[0] or "49" in text, "a template in text was run"
    for attributes in (element.attributes for element in page.elements):
        for name, value in attributes.items():
            assert not name.startswith("on"), f"event handler {name}={value}"
    invisible = {c for c in html if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}
    assert not invisible, f"characters {[hex(ord(c)) for c in invisible]} are in the page"


def test_a_reader_sees_the_caption_as_it_was_written(tmp_path: Path) -> None:
    caption = 'a <b>bold</b> ball & "quotes" {{ braces }} नमस्ते 家族 👩‍👩‍👧 ‮'
    page, _ = build_hostile(tmp_path, caption)
    assert 'a <b>bold</b> ball & "quotes" {{ braces }} नमस्ते 家族 👩‍👩‍👧' in page.text


def test_long_captions_are_cut_and_stay_closed(tmp_path: Path) -> None:
    world = make_world(tmp_path, caption="word " * 2048)
    page = Markup.of(world.build(tmp_path / "out"))
    longest = max(len(piece) for piece in page.pieces)
    assert longest < MAX_CHARACTERS + 40
    summaries = [e for e in page.elements if e.tag == "details" and "long" in (e.attributes.get("class") or "")]
    assert summaries, "a long caption must be folded"
    assert all("open" not in e.attributes for e in summaries)
    assert "… (10 240 characters)" in page.text


def test_labels_that_are_no_json_are_no_labels() -> None:
    for text in (None, "", "{", "[1]", "null", '{"motion": null}', '"motion"', '{"other": "x"}', "[" * 100_000):
        assert label_in(text, "motion") == ""
    assert label_in(json.dumps({"motion": 3}), "motion") == "3"
    assert label_in('{"motion": "roll"}', None) == ""


def test_clean_keeps_what_can_be_read() -> None:
    assert clean("  a\t b\n c ") == "a b c"
    assert clean(None) == ""
    assert clean("\u202eabc\u202c") == "abc"
    assert clean("\x1b[31mred") == "[31mred"
    assert clean("\ud800").encode("utf-8").decode() == "\ufffd"
    assert clean("x" * 50, 10) == "xxxxxxxxxx … (50 characters)"
    assert clean("می‌خواهم") == "می‌خواهم", "a joiner that spelling needs was dropped"


def test_cleaning_is_bounded_work() -> None:
    assert clean("\u202e" * 10_000_000 + "end", 100).endswith("characters)")
