"""Contents of the page, and its references."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from motive.data.base import Failure
from motive.errors import OptionError, StoreError
from motive.reporting.config import ReportConfig
from tests.reporting.markup import Markup
from tests.reporting.world import World, make_world


def sources(page: Markup) -> set[str]:
    found = set()
    for video in page.all("video"):
        found |= {value for name in ("src", "data-original", "data-overlay") if (value := video.get(name))}
    return found


def test_everything_is_local_and_there(world: World, tmp_path: Path) -> None:
    html = world.build(tmp_path / "out")
    page = Markup.of(html)
    assert not re.search(r"https?:|//[a-z]", re.sub(r"// [A-Z].*", "", html)), "the page names a network address"
    assert page.tags().isdisjoint({"link", "img", "iframe", "object", "embed", "form", "base"})
    files = {f"media/{path.name}" for path in (tmp_path / "out" / "media").iterdir()}
    assert sources(page) == files, "every film on the page exists, and every film is on the page"
    assert all(re.fullmatch(r"media/[0-9a-f]{20}(-motion)?\.mp4", name) for name in files)
    anchors = {a["href"] for a in page.all("a")}
    ids = {f"#{e.attributes['id']}" for e in page.elements if "id" in e.attributes}
    assert anchors <= ids, f"links without a target: {anchors - ids}"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"index.html", "media"}


def test_the_policy_lets_in_the_pages_own_style_and_script_only(world: World, tmp_path: Path) -> None:
    page = Markup.of(world.build(tmp_path / "out"))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["media-src"] == "'self'"
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'", f"the {kind} and its hash differ: it would not run"
    assert "style" not in page.attribute_names(), "the policy ignores style attributes"


def test_cards_hold_the_best_and_worst_clips_in_order(world: World, tmp_path: Path) -> None:
    html = world.build(tmp_path / "out", ReportConfig(top=3, bottom=2, label="motion"))
    for q, name in enumerate(world.query_ids):
        section = html.split(f'id="query-{q + 1}"', 1)[1].split("</section>")[0]
        order = np.argsort(-world.values[:, q], kind="stable")
        expected = [world.clip_ids[row] for row in [*order[:3], order[-1], order[-2]]]
        assert re.findall(r'class="id"><bdi>([^<]*)<', section) == expected, f"clips of {name}"
        ranks = re.findall(r'class="rank">([^<]*)<', section)
        assert ranks == ["1", "2", "3", "30", "29"]
        scores = [float(s.replace("−", "-")) for s in re.findall(r'class="score [a-z]*">([^<]*)<', section)]
        np.testing.assert_allclose(scores, world.values[[*order[:3], order[-1], order[-2]], q], atol=6e-4)


def test_each_clip_is_decoded_once(world: World, tmp_path: Path) -> None:
    world.build(tmp_path / "out")
    assert len(world.read) == len(set(world.read)), "a clip in several rows was read more than once"


def test_a_clip_that_is_gone_leaves_a_card_that_says_so(world: World, tmp_path: Path) -> None:
    best = int(np.argmax(world.values[:, 0]))
    world.gone = {f"{best}.mp4"}
    page = Markup.of(world.build(tmp_path / "out"))
    placeholders = [e for e in page.all("div") if e.get("class") == "gone"]
    assert placeholders
    assert all("no longer where indexing found it" in (e["aria-label"] or "") for e in placeholders)
    assert "No film" in page.text


def test_a_query_that_is_gone_leaves_a_placeholder(world: World, tmp_path: Path) -> None:
    world.gone = {"0.mp4"}  # the first clip and the first query
    page = Markup.of(world.build(tmp_path / "out"))
    assert any("gone" in (e.attributes.get("class") or "") for e in page.elements)


@pytest.mark.parametrize(("clips", "queries"), [(1, 1), (2, 1), (3, 5), (40, 1)])
def test_small_stores_make_whole_pages(tmp_path: Path, clips: int, queries: int) -> None:
    world = make_world(tmp_path, clips=clips, queries=queries)
    page = Markup.of(world.build(tmp_path / "out"))
    cards = [e for e in page.all("li") if e.get("class") == "card"]
    shown = min(5, (clips + 1) // 2) + min(5, clips // 2)
    assert len(cards) == queries * shown, "with few clips each is shown once, at the end it is nearer to"
    assert "nan" not in page.text.lower()


def test_no_failures_and_many(tmp_path: Path) -> None:
    page = Markup.of(make_world(tmp_path / "none").build(tmp_path / "none" / "out"))
    assert "Every clip of the dataset has a score." in page.text
    failures = [Failure(f"bad-{n}", f"bad-{n}.mp4", "decode", "damaged", "no frame") for n in range(150)]
    failures += [Failure(f"still-{n}", f"still-{n}.mp4", "mask", "static", "nothing moves") for n in range(30)]
    many = make_world(tmp_path / "many", failures=failures)
    page = Markup.of(many.build(tmp_path / "many" / "out", ReportConfig(max_failures=20)))
    assert "without a score: 180. The first 20 are listed" in page.text
    assert "decode: damaged 150" in page.text
    assert "mask: static 30" in page.text
    assert sum(piece.startswith("bad-") for piece in page.pieces) == 20


def test_clips_without_a_finite_score_are_counted_not_shown(tmp_path: Path) -> None:
    from tests.reporting.world import write_scores

    world = make_world(tmp_path)
    values = world.values.copy()
    values[3:7, 1] = np.nan
    write_scores(
        world.scores, values, world.clip_ids, world.query_ids, world.folder / "clips", world.folder / "queries"
    )
    html = world.build(tmp_path / "out")
    section = html.split('id="query-2"', 1)[1].split("</section>")[0]
    assert "Without a score: 4 clips." in section
    listed = re.findall(r'class="id"><bdi>([^<]*)<', section)
    assert not set(listed) & set(world.clip_ids[3:7])
    assert re.findall(r'class="rank">([^<]*)<', section)[5] == "26"


def test_a_store_that_grew_and_moved_still_reports(world: World, tmp_path: Path) -> None:
    from motive.store import Store, StoreRow

    moved = tmp_path / "elsewhere"
    (world.folder / "clips").rename(moved)
    store = Store.open(moved)
    store.append([StoreRow("clips/00000a.mp4", np.ones(8, np.float32), {"path": "/new.mp4", "caption": "new"})])
    with pytest.raises(StoreError, match="store"):
        world.build(tmp_path / "out")
    page = Markup.of(world.build(tmp_path / "out", ReportConfig(store=moved)))
    assert "30" in page.text
    assert "new.mp4" not in {path.name for path in world.read}


def test_a_store_of_other_settings_is_refused(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path / "other", gradient={"draws": {"strategy": "single", "sigma": 0.5}})
    with pytest.raises(StoreError, match="store must be the store that was scored"):
        world.build(tmp_path / "out", ReportConfig(store=other.folder / "clips"))


def test_many_queries_are_seen_from_end_to_end(tmp_path: Path) -> None:
    world = make_world(tmp_path, queries=9)
    page = Markup.of(world.build(tmp_path / "out", ReportConfig(max_queries=3)))
    names = [name for name in world.query_ids if any(name == piece for piece in page.pieces)]
    assert names == [world.query_ids[i] for i in (1, 4, 7)]
    assert "3 shown here" in page.text


def test_a_report_replaces_an_earlier_one_and_nothing_else(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world.build(out, ReportConfig(top=5))
    before = set((out / "media").iterdir())
    (out / "media" / "stale.mp4").write_bytes(b"stale")
    (out / "notes.txt").write_text("mine")
    world.build(out, ReportConfig(top=1, bottom=0))
    assert (out / "notes.txt").read_text() == "mine"
    assert set((out / "media").iterdir()) < before
    assert {p.name for p in out.iterdir()} == {"index.html", "media", "notes.txt"}


def test_other_folders_are_refused(world: World, tmp_path: Path) -> None:
    out = tmp_path / "full"
    out.mkdir()
    (out / "index.html").write_text("<title>someone's page</title>")
    with pytest.raises(OptionError, match="out must be a new or empty folder"):
        world.build(out)
    assert (out / "index.html").read_text() == "<title>someone's page</title>"
    with pytest.raises(OptionError, match="which is a file"):
        world.build(world.scores)


def test_a_failed_report_leaves_the_earlier_one(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = world.build(out)
    media = sorted(p.name for p in (out / "media").iterdir())

    def broken(path: Path, recipe: object) -> None:
        raise MemoryError

    world.source = broken  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        world.build(out)
    assert (out / "index.html").read_text("utf-8") == first
    assert sorted(p.name for p in (out / "media").iterdir()) == media
    assert {p.name for p in out.iterdir()} == {"index.html", "media"}


def test_wrong_inputs_are_named(world: World, tmp_path: Path) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("no scores")
    for scores, error in ((tmp_path / "absent.parquet", OptionError), (text, StoreError)):
        world.scores = scores
        with pytest.raises(error, match="scores must be a file written by motive score"):
            world.build(tmp_path / "out")
    with pytest.raises(OptionError, match="top must be an integer"):
        ReportConfig(top=0)
    with pytest.raises(OptionError, match="min_height_px must be at most"):
        ReportConfig(min_height_px=300)


def test_the_same_inputs_give_the_same_page(world: World, tmp_path: Path) -> None:
    assert world.build(tmp_path / "a") == world.build(tmp_path / "b")
    for path in (tmp_path / "a" / "media").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "media" / path.name).read_bytes(), path.name
