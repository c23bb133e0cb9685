"""Facts about the run from its stores and scores, in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.config import from_json
from motive.gradients.draws import DrawConfig
from motive.masks import MaskConfig
from motive.reporting.text import clean, compact, count, plural
from motive.store import Gradient, Manifest

RECORD_ROWS = 200
"""Rows of the table with everything recorded; a large model's projection names thousands of parameters."""


@dataclass(frozen=True)
class Fact:
    """One tile: a name, a value and an optional line beneath it."""

    name: str
    value: str
    detail: str = ""


def run_facts(
    manifest: Manifest, versions: Mapping[str, Any], scoring: Mapping[str, Any], counts: Mapping[str, int]
) -> list[Fact]:
    """The tiles at the top of the page; a fact that nothing records is left out.

    Args:
        manifest: of the clips' store.
        versions: package -> version, from the store's run record; may be empty.
        scoring: metadata of the scores.
        counts: ``clips``, ``failures``, ``queries``, ``queries_shown``.
    """
    shown = counts["queries_shown"]
    scored = "Segments scored" if manifest.segments else "Clips scored"
    facts = [
        Fact(scored, count(counts["clips"]), f"{count(counts['failures'])} left out"),
        Fact("Queries", count(counts["queries"]), "" if shown == counts["queries"] else f"{count(shown)} shown here"),
        _model(manifest),
        *(_seen(known) if (known := manifest.identity.known) else ()),
        _projection(manifest),
        _scoring(scoring),
        _votes(scoring),
        _versions(manifest, versions),
    ]
    return [fact for fact in facts if fact.value]


def _model(manifest: Manifest) -> Fact:
    name = manifest.origin.model or manifest.identity.family
    weights = manifest.identity.fingerprints.get("transformer")
    return Fact("Model", clean(name, 80), f"weights {clean(weights, 24)[:12]}" if weights else "")


def _seen(known: Gradient) -> list[Fact]:
    """How the clips of a store that motive index made were seen."""
    return [_clip_spec(known), _draws(known), _mask(known)]


def _clip_spec(known: Gradient) -> Fact:
    spec = known.clip_spec
    if known.buckets:
        sizes = ", ".join(shape.size for shape in known.buckets.shapes)
        return Fact(
            "Clips seen as",
            plural(len(known.buckets.shapes), "bucket"),
            clean(f"{_plain(spec.fps)} a second: {sizes}", 200),
        )
    grid = f", latents {' × '.join(str(side) for side in known.latent_shape)}" if known.latent_shape else ""
    detail = f"{spec.width} × {spec.height} px, {_plain(spec.fps)} a second{grid}"
    return Fact("Clips seen as", f"{spec.frames} frames", detail)


def _draws(known: Gradient) -> Fact:
    draws = from_json(DrawConfig, known.draws, "identity.gradient.draws")
    seed = f"seed {draws.seed}"
    if draws.strategy == "single":
        return Fact("Noise draws", f"1, σ {_plain(draws.sigma)}", seed)
    return Fact("Noise draws", f"{draws.count}, {draws.strategy}", f"{seed}, combined by {draws.combine}")


def _mask(known: Gradient) -> Fact:
    mask = from_json(MaskConfig, known.mask, "identity.gradient.mask")
    rest = f"camera {mask.camera}, reference {mask.reference}, pooling {mask.pooling}"
    return Fact("Motion mask", clean(f"{mask.source}, {mask.weighting}", 80), rest.replace("_", " "))


def _projection(manifest: Manifest) -> Fact:
    identity, dim = manifest.identity, manifest.identity.projection_dim
    seed = identity.projection_seed
    detail = "" if seed is None else f"seed {seed}"
    if dim and manifest.dim > dim:
        detail += f"; a vector holds {manifest.dim // dim} of them"
    return Fact("Projection", f"{dim} dimensions" if dim else "", clean(f"{identity.projection_type} {detail}", 80))


def _scoring(scoring: Mapping[str, Any]) -> Fact:
    preconditioner = scoring.get("preconditioner")
    detail = "no preconditioner"
    if preconditioner not in (None, "none"):
        detail = f"{_plain(preconditioner)} preconditioner, damping {_plain(scoring.get('damping'))}"
        if preconditioner == "ridge":
            detail += "; not bounded by 1"
    if scoring.get("bucket_means") == "remove":
        detail += "; buckets on one level"
    return Fact("Score", clean(scoring.get("similarity") or "cosine", 40), clean(detail, 80))


def _votes(scoring: Mapping[str, Any]) -> Fact:
    share = scoring.get("vote_share")
    if not isinstance(share, float):
        return Fact("Votes", "")
    detail = f"of each query: {plural(int(scoring.get('vote_count') or 0), 'clip')}, ties aside"
    return Fact("Votes", f"best {compact(100 * share)} %", detail)


def _versions(manifest: Manifest, versions: Mapping[str, Any]) -> Fact:
    own = versions.get("motive") or manifest.package.version
    others = [f"{name} {versions[name]}" for name in ("torch", "diffusers", "av") if versions.get(name)]
    return Fact("Versions", clean(f"motive {own}", 60) if own else "", clean(", ".join(others), 120))


def read_versions(store: Path) -> Mapping[str, Any]:
    """Package versions from the run record beside a store; empty if there is none that can be read."""
    try:
        record = json.loads((store / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = record.get("versions") if isinstance(record, Mapping) else None
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
