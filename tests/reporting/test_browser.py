"""The page in a real browser: it loads from disk without a complaint, and its films play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motive.evaluate import EvaluationResult, LabelCount, MethodResult, save
from motive.reporting.config import ReportConfig
from tests.reporting.browser import CHROMIUM, Browser
from tests.reporting.world import World, make_world

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is absent; install the chromium package")

_SETTLED = """
new Promise((done) => {
  const films = [...document.querySelectorAll('#query-1 video')];
  const wait = (tries) => {
    const ready = films.filter((f) => f.readyState >= 2).length;
    if (ready === films.length || tries === 0) done([ready, films.length]);
    else setTimeout(() => wait(tries - 1), 100);
  };
  document.getElementById('query-1').scrollIntoView({behavior: 'instant'});
  wait(200);
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    folder = tmp_path_factory.mktemp("world")
    world = make_world(folder, caption="<script>document.title = 'taken over'</script>" * 5)
    world.gone = {"3.mp4"}
    row = MethodResult("gradients", "attribution", 0.4, 0.3, 0.5, 1.6, 0.0, 0.0, 0.0, {"roll": 0.4})
    labels = (LabelCount("roll", 8, 1, 0.25),)
    save(
        EvaluationResult("motion", 10, 30, 0, 4, 0, 0, 0.25, 0.95, 1000, 0, labels, (row,)), folder / "evaluation.json"
    )
    config = ReportConfig(top=2, bottom=2, evaluation=folder / "evaluation.json")
    world.build(folder / "out", config, enlarge=True)
    return world, (folder / "out" / "index.html").as_uri()


def test_page_loads_from_disk_without_a_complaint(browser: Browser, built: tuple[World, str]) -> None:
    browser.problems.clear()
    browser.requested.clear()
    browser.emulate(width=1400, height=1000)
    browser.open(built[1])
    ready, films = browser.evaluate(_SETTLED)
    assert ready == films > 0, f"{ready} of {films} films can play"
    assert browser.problems == []
    assert browser.evaluate("document.title") == "Motion influence report"
    # The data: pictures are those of the browser's own film controls.
    elsewhere = [url for url in browser.requested if not url.startswith(("file:///", "data:"))]
    assert elsewhere == [], "the page must not ask the network for anything"


def test_films_have_frames_and_play(browser: Browser, built: tuple[World, str]) -> None:
    browser.emulate(width=1400, height=1000)
    browser.open(built[1])
    browser.evaluate(_SETTLED)
    durations, sizes, moving = browser.evaluate(
        """new Promise((done) => setTimeout(() => {
             const films = [...document.querySelectorAll('#query-1 video')];
             const playing = films.filter((f) => !f.paused).length;
             done([films.map((f) => f.duration), films.map((f) => f.videoWidth), playing]);
           }, 300))"""
    )
    assert all(abs(duration - 9 / 16) < 0.01 for duration in durations), durations
    assert all(width == 256 for width in sizes), sizes
    assert moving == len(durations), "films in view play by themselves, muted"


def test_both_toggles_switch_films(browser: Browser, built: tuple[World, str]) -> None:
    browser.emulate(width=1400, height=1000)
    browser.open(built[1])
    browser.evaluate(_SETTLED)
    shown = "document.querySelector('#query-1 .card video').getAttribute('src')"
    swap = "document.querySelector('#query-1 .card [data-swap]')"
    assert not browser.evaluate(shown).endswith("-motion.mp4")
    browser.evaluate(f"{swap}.focus()")
    browser.call(
        "Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
    )
    browser.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)
    assert browser.evaluate(shown).endswith("-motion.mp4"), "the card's button works by keyboard"
    assert browser.evaluate(f"{swap}.getAttribute('aria-pressed')") == "true"
    browser.evaluate("document.querySelector('[data-mode=original]').click()")
    assert not browser.evaluate(shown).endswith("-motion.mp4")
    browser.evaluate("document.querySelector('[data-mode=overlay]').click()")
    sources = browser.evaluate(
        "[...document.querySelectorAll('.card video')].map((f) => f.getAttribute('src') || f.dataset.parked)"
    )
    assert all(source.endswith("-motion.mp4") for source in sources), "films out of view switch too"
    assert browser.problems == []


def test_people_who_prefer_no_motion_get_none(browser: Browser, built: tuple[World, str]) -> None:
    browser.emulate(width=1400, height=1000, reduced_motion=True)
    browser.open(built[1])
    browser.evaluate(_SETTLED)
    playing = browser.evaluate("[...document.querySelectorAll('video')].filter((f) => !f.paused).length")
    assert playing == 0
    assert browser.evaluate("document.querySelector('#query-1 video').controls") is True
    assert browser.evaluate("document.querySelector('[data-pause]').textContent") == "Play all"


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False), (390, True)])
def test_nothing_is_wider_than_the_window(
    browser: Browser, built: tuple[World, str], tmp_path: Path, width: int, dark: bool
) -> None:
    browser.emulate(width=width, height=900, dark=dark)
    browser.open(built[1])
    browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    bright = browser.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    )
    assert (max(bright) < 60) == dark, "the page follows the system's colour scheme"
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
