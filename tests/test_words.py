"""Words: turns of phrase and old terms that must not come back, in code, messages, comments, tests and pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("benchmarks", "csrc", "docs", "examples", "motive", "motive_kernels", "tests")
SUFFIXES = {".cpp", ".css", ".cu", ".cuh", ".h", ".j2", ".js", ".md", ".py", ".toml"}


class Turn(NamedTuple):
    """A turn of phrase, or a term, that is not used.

    Attributes:
        pattern: regular expression; a space in it stands for any space, also where a sentence is wrapped.
        instead: the plain words.
        example: a text that the pattern matches.
        files: regular expression of the files that it holds for.
    """

    pattern: str
    instead: str
    example: str
    files: str = ".*"


TURNS = [
    # Turns of phrase.
    Turn(r"\bgot (?:none|nothing|others?|another|more of it|that)\b", "say what is there", "a name, got none"),
    Turn(r"(?i)\bso many\b", "this many, a number of, at most N", "a gap of so many bytes"),
    Turn(r"(?i)\b(?:go|goes|going|gone|went) on\b", "continue, resume", "the run goes on"),
    Turn(r"(?i)\bbegun\b", "started, created", "a store begun with 4 workers"),
    Turn(r"(?i)\bmend(?:s|ed|ing)?\b", "fix, repair, correct", "mend the file"),
    Turn(r"(?i)\bputs? (?:it |them )?right\b", "fix, repair", "repair puts it right"),
    Turn(r"(?i)\bof (?:its|their|our|your|one's) own\b", "its own X, a separate X", "a process of its own"),
    Turn(r"(?i)\btold\b", "report, say, distinguish, be given", "equal clips are told apart"),
    Turn(r"(?i)\bwhat (?:it|they) comes? to\b", "the total, the result", "says what it comes to"),
    Turn(r"(?i)\bby how much (?:it|they|(?:the|a) \w+) moves?\b", "by motion", "weighted by how much it moves"),
    Turn(
        r"(?i)\bbeside\b",
        "compared with, relative to; next to",
        "a figure beside its baseline",
        files=r"benchmarks/.*|docs/(?:performance|gpu)\.md",
    ),
    Turn(
        r'\A(?:"""|// )(?:Being|How|What|When|Where|Whether|Which|Who|Why)\b',
        "say what the file is or does",
        '"""What a run does."""',
        files=r".*\.(?:py|h|cpp|cu|cuh)",
    ),
    # Terms.
    Turn(r"(?i)\b(?:flat|token)[\s_-]routes?\b", "materialized, factorized", "the token route"),
    Turn(r"(?i)\b(?:clips|draws)[\s_-]per[\s_-](?:pass|draw)\b", "batch size, micro-batch, combine", "draws_per_pass"),
    Turn(r"\bper_draw\b", "combine", "draws.per_draw"),
    Turn(r'--lambda\b|\blambdas?_\w+|[`"]lambdas?[`"]', "damping", "--lambda 3"),
    Turn(r"(?i)\bprojection kinds?\b|\bkinds? of projections?\b", "projection type", "a projection kind"),
    Turn(r"(?i)\bcrews?\b", "worker, pool, supervisor", "the crew"),
    Turn(r"(?i)\btaps?\b", "hook", "a tap on a layer"),
    Turn(r"(?i)\bstretch(?:es)? of (?:a |the )?(?:bytes|files?)\b", "byte range", "a stretch of bytes"),
    Turn(r"--standard-|\bstandard-(?:fps|frames|height|width)\b", "--clip-", "--standard-fps"),
    Turn(r"(?i)\bshare of (?:the )?(?:same|best|top)\b", "precision@k", "the share of same-motion clips"),
]

VERSION_1 = "names in stores and scores of version 1"
ALLOWED = {
    "docs/formats/scores.md": (VERSION_1, {"`lambda`", "`lambdas`", "lambda_auto"}),
    "docs/formats/store.md": (VERSION_1, {"per_draw", "clips_per_pass", "draws_per_pass"}),
    "motive/indexing/config.py": (VERSION_1, {"clips_per_pass", "draws_per_pass"}),
    "motive/scores/format.py": (VERSION_1, {'"lambda"', '"lambdas"', "lambda_auto"}),
    "motive/store/manifest.py": (VERSION_1, {"per_draw"}),
    "tests/indexing/test_config.py": (VERSION_1, {"per_draw", "clips_per_pass", "draws_per_pass"}),
    "tests/scores/test_stores.py": (VERSION_1, {"per_draw"}),
    "tests/scoring/test_score.py": (VERSION_1, {'"lambda"', '"lambdas"', "lambda_auto"}),
    "tests/store/test_format.py": (VERSION_1, {"per_draw", "clips_per_pass"}),
}
"""File -> why it may use words of the table, and which."""


def sources() -> Iterator[Path]:
    """Every file that a person writes, but this table."""
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES)
    top = (path for path in sorted(ROOT.iterdir()) if path.is_file())
    yield from (path for path in top if path.suffix in SUFFIXES or path.name == "Makefile")


def unwrapped(text: str) -> str:
    """The same length and lines, without the quotes and comment signs between the lines of a sentence."""
    return re.sub(r'"?\n[ \t]*(?://+|#+|[fr]*"(?!""))?', lambda match: "\n".rjust(len(match[0])), text)


def uses(turn: Turn, text: str) -> Iterator[tuple[int, str]]:
    """(line, words) of each use of a turn in an unwrapped text."""
    for match in re.finditer(turn.pattern.replace(" ", r"\s+") if "// " not in turn.pattern else turn.pattern, text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split())


def test_plain_words() -> None:
    problems, unused = [], {(name, words) for name, (_, allowed) in ALLOWED.items() for words in allowed}
    for path in sources():
        name, text = path.relative_to(ROOT).as_posix(), unwrapped(path.read_text(encoding="utf-8"))
        if path == Path(__file__).resolve():
            continue
        for turn in TURNS:
            for line, words in uses(turn, text) if re.fullmatch(turn.files, name) else ():
                if words in ALLOWED.get(name, ("", set()))[1]:
                    unused.discard((name, words))
                else:
                    problems.append(f"{name}:{line}: {words!r}; say instead: {turn.instead}")
    assert not problems, "\n".join(problems)
    assert not unused, f"words that are allowed and not used; remove them from ALLOWED: {sorted(unused)}"


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.example)
def test_each_pattern_finds_its_example(turn: Turn) -> None:
    assert list(uses(turn, turn.example))
    assert not list(uses(turn, turn.instead)), "the replacement has the fault itself"


@pytest.mark.parametrize(
    "text",
    ["# one that goes\n# on", '"the run goes "\n    f"on until"', "    // it goes\n    // on", "it goes\n  on"],
    ids=["comment", "strings", "C++", "text"],
)
def test_wrapped_sentences_are_read_as_one(text: str) -> None:
    turn = next(turn for turn in TURNS if turn.example == "the run goes on")
    assert [line for line, _ in uses(turn, unwrapped(text))] == [1]


def test_values_that_are_none_may_be_shown() -> None:
    for turn in TURNS:
        assert not list(uses(turn, "suite must be text, got None; sorted by its own key, next to a spec of 4 kinds"))
