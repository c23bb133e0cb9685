"""From a scores file to a folder with a page that opens anywhere."""

from __future__ import annotations

import base64
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from motive.data import ClipReader
from motive.errors import OptionError
from motive.extras import require
from motive.publish import TEMPORARY_PREFIX, published, put_in_place
from motive.reporting.config import ReportConfig
from motive.reporting.gallery import FOLDER, Gallery, MediaSource
from motive.reporting.inputs import read_inputs
from motive.reporting.media import clip_media
from motive.reporting.page import Page, assemble
from motive.result import Result

_WHERE = "motive.reporting"
_TEMPLATES = Path(__file__).parent / "templates"
_GENERATOR = "motive report 1"
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Report(Result):
    """Result of report. It stands for the page wherever a path is taken: ``open(done)``, ``Path(done)``.

    Attributes:
        path: the page, index.html.
        clips: clips scored; segments, where the scores are those of segments.
        queries: queries scored.
        shown: queries with a section on the page.
    """

    path: Path
    clips: int
    queries: int
    shown: int

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> list[str]:
        """The page, and what is on it."""
        return [str(self.path), f"{self.shown} of {self.queries} queries shown"]


def report(scores: Path, out: Path, config: ReportConfig | None = None) -> Report:
    """Write a static page about a scores file: queries, the clips that help them most and least, and the figures.

    The page and its media folder need no network and no server. It appears whole or not at all, replaces an
    earlier report in the same folder, and touches nothing else there.

    Args:
        scores: file that ``motive score`` wrote.
        out: folder for the page; new, empty, or holding an earlier report.
        config: what to show and how much; None takes the defaults.

    Returns:
        Where the page is; it can be used as a path.

    Raises:
        OptionError: no such scores, or ``out`` holds something else.
        StoreError: the scores or a store cannot be read.
    """
    with ClipReader() as decoders:
        source = partial(clip_media, decoders=decoders)
        return build_report(Path(scores), Path(out), config or ReportConfig(), source)


def build_report(scores: Path, out: Path, config: ReportConfig, source: MediaSource) -> Report:
    """As :func:`report`, with the reader of clips given.

    Args:
        source: (path, recipe) -> frames and mask; ClipError becomes a card that says so.
    """
    jinja2 = require("jinja2", _WHERE, extra="report")
    _check_out(out)
    inputs = read_inputs(scores, config)
    with _workspace(out) as work:
        page = assemble(inputs, Gallery(work / FOLDER, config, source), config)
        with published(out / "index.html") as temporary:
            temporary.write_text(render(page, jinja2), encoding="utf-8")
            put_in_place(work / FOLDER, out / FOLDER, work / "replaced")
    return Report(out / "index.html", inputs.tally.rows, inputs.queries, len(page.queries))


def render(page: Page, jinja2: Any) -> str:
    """The page as HTML.

    Every value is escaped by the template engine. The policy in the page's head lets it load nothing but the
    media beside it, and run nothing but the one script whose hash it names, even if an escape were missed.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = require("markupsafe", _WHERE, extra="report").Markup
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = "; ".join(
        (
            "default-src 'none'",
            "media-src 'self'",
            f"style-src 'sha256-{_hash(style)}'",
            f"script-src 'sha256-{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return environment.get_template("page.html.j2").render(
        page=page, policy=policy, generator=_GENERATOR, style=markup(style), script=markup(script)
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _check_out(out: Path) -> None:
    problem = f"{_WHERE}: out must be a new or empty folder or hold an earlier report, got {out}"
    if out.exists() and not out.is_dir():
        raise OptionError(f"{problem}, which is a file; choose another place")
    index = out / "index.html"
    if not out.is_dir() or all(entry.name.startswith((_PARTIAL, TEMPORARY_PREFIX)) for entry in out.iterdir()):
        return
    if not index.is_file() or _GENERATOR.rsplit(" ", 1)[0] not in index.read_text("utf-8", "replace")[:4000]:
        raise OptionError(f"{problem}, which holds other files; choose another place")


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` for what is being written, gone afterwards."""
    work = out / f"{_PARTIAL}{secrets.token_hex(4)}"
    (work / FOLDER).mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
