"""What the stores and the scores say about the run, in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.reporting.text import clean, compact, count, plural

RECORD_ROWS = 200
"""Rows of the table with everything recorded; a large model's projection names thousands of parameters."""


@dataclass(frozen=True)
class Fact:
    """One tile: a name, a value and an optional line beneath it."""

    name: str
    value: str
    detail: str = ""


def dig(record: Any, *paths: str) -> Any:
    """The first of several dotted paths that leads to a value other than None in nested dicts; None without one."""
    for path in paths:
        found = record
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            return found
    return None


def run_facts(
    manifest: Mapping[str, Any], versions: Mapping[str, Any], scoring: Mapping[str, Any], counts: Mapping[str, int]
) -> list[Fact]:
    """The tiles at the top of the page; a fact that nothing records is left out.

    Args:
        manifest: of the clips' store.
        versions: package -> version, from the store's run record; may be empty.
        scoring: metadata of the scores.
        counts: ``clips``, ``failures``, ``queries``, ``queries_shown``.
    """
    shown = counts["queries_shown"]
    scored = "Segments scored" if dig(manifest, "extra.config.segments") else "Clips scored"
    facts = [
        Fact(scored, count(counts["clips"]), f"{count(counts['failures'])} left out"),
        Fact("Queries", count(counts["queries"]), "" if shown == counts["queries"] else f"{count(shown)} shown here"),
        _model(manifest),
        _standard(manifest),
        _draws(manifest),
        _mask(manifest),
        _projection(manifest),
        _scoring(scoring),
        _votes(scoring),
        _versions(manifest, versions),
    ]
    return [fact for fact in facts if fact.value]


def _model(manifest: Mapping[str, Any]) -> Fact:
    name = dig(manifest, "extra.config.model", "identity.gradient.family")
    weights = dig(manifest, "identity.gradient.fingerprints.transformer")
    detail = f"weights {clean(weights, 24)[:12]}" if weights else ""
    return Fact("Model", clean(name, 80), detail)


def _standard(manifest: Mapping[str, Any]) -> Fact:
    standard = dig(manifest, "identity.gradient.standard") or {}
    if not standard:
        return Fact("Clips seen as", "")
    shape = dig(manifest, "identity.gradient.latent_shape") or []
    grid = f", latents {' × '.join(str(side) for side in shape)}" if shape else ""
    size = f"{standard.get('width')} × {standard.get('height')} px"
    rate = f"{_plain(standard.get('fps'))} a second"
    return Fact("Clips seen as", clean(f"{standard.get('frames')} frames", 80), clean(f"{size}, {rate}{grid}", 120))


def _draws(manifest: Mapping[str, Any]) -> Fact:
    draws = dig(manifest, "identity.gradient.draws")
    if not isinstance(draws, Mapping):
        return Fact("Noise draws", _plain(draws))
    seed = f"seed {_plain(draws.get('seed'))}"
    if draws.get("strategy") == "single":
        return Fact("Noise draws", f"1, σ {_plain(draws.get('sigma'))}", seed)
    together = clean(str(draws.get("per_draw") or ""), 40)
    detail = f"{seed}, put together: {together}" if together else seed
    return Fact("Noise draws", f"{_plain(draws.get('count'))}, {_plain(draws.get('strategy'))}", detail)


def _mask(manifest: Mapping[str, Any]) -> Fact:
    mask = dig(manifest, "identity.gradient.mask") or {}
    if not mask:
        return Fact("Motion mask", "")
    value = ", ".join(_plain(mask[name]) for name in ("source", "weighting") if name in mask)
    rest = ", ".join(f"{name} {_plain(mask[name])}" for name in ("camera", "reference", "pooling") if name in mask)
    return Fact("Motion mask", clean(value or "recorded", 80), clean(rest.replace("_", " "), 120))


def _projection(manifest: Mapping[str, Any]) -> Fact:
    projection = dig(manifest, "identity.projection") or {}
    dim, width = projection.get("dim"), manifest.get("dim")
    kind = projection.get("kind") or ""
    seed = projection.get("seed")
    detail = "" if seed is None else f"seed {_plain(seed)}"
    if isinstance(dim, int) and isinstance(width, int) and dim > 0 and width > dim:
        detail += f"; a vector holds {width // dim} of them"
    value = f"{_plain(dim)} dimensions" if dim else ""
    return Fact("Projection", clean(value, 80), clean(f"{kind} {detail}", 80))


def _scoring(scoring: Mapping[str, Any]) -> Fact:
    preconditioner = scoring.get("preconditioner")
    detail = "no preconditioner"
    if preconditioner not in (None, "none"):
        detail = f"{_plain(preconditioner)} preconditioner, damping {_plain(scoring.get('damping'))}"
        if preconditioner == "ridge":
            detail += "; not bounded by 1"
    return Fact("Score", clean(scoring.get("similarity") or "cosine", 40), clean(detail, 80))


def _votes(scoring: Mapping[str, Any]) -> Fact:
    share = scoring.get("vote_share")
    if not isinstance(share, float):
        return Fact("Votes", "")
    detail = f"of each query: {plural(int(scoring.get('vote_count') or 0), 'clip')}, ties aside"
    return Fact("Votes", f"best {compact(100 * share)} %", detail)


def _versions(manifest: Mapping[str, Any], versions: Mapping[str, Any]) -> Fact:
    own = versions.get("motive") or dig(manifest, "package.version")
    others = [f"{name} {versions[name]}" for name in ("torch", "diffusers", "av") if versions.get(name)]
    return Fact("Versions", clean(f"motive {own}", 60) if own else "", clean(", ".join(others), 120))


def read_versions(store: Path) -> Mapping[str, Any]:
    """Package versions from the run record beside a store; empty if there is none that can be read."""
    try:
        record = json.loads((store / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = dig(record, "versions")
    return found if isinstance(found, Mapping) else {}


def flat_record(records: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested records as (dotted name, value) rows, at most RECORD_ROWS of them."""
    leaves = list(_leaves(records, ""))
    rows = [(clean(name, 120), clean(value, 240)) for name, value in leaves[:RECORD_ROWS]]
    if len(leaves) > RECORD_ROWS:
        rows.append(("…", f"{count(len(leaves) - RECORD_ROWS)} more fields in the files themselves"))
    return rows


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and any(isinstance(item, (Mapping, list)) for item in value)
    ):
        for position, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{position}]")
    else:
        yield name, value


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return compact(value) if math.isfinite(value) else "–"
    return clean(value, 80)
