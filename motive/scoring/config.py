"""Configuration of scoring clips against queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from motive.config import check_choices, to_json
from motive.errors import ConfigError
from motive.scores.ranking import RankBy

_NO_GROUPS: Mapping[str, str] = MappingProxyType({})
_NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})


DAMPING = 3.0
"""Where a preconditioner is used and no damping is given."""
TOP_K = 100
"""Where scores are int8 and no top_k is given."""
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class ScoreConfig:
    """Options of scoring; docs/scoring.md has the equations.

    One rule holds for options that depend on others: None is "not given", and a value that another option leaves
    without effect is refused, whatever the value.

    Attributes:
        similarity: ``cosine`` compares directions (paper, equation 10); ``dot`` keeps the vectors' lengths;
            ``relative`` divides the dot product by the length of the clip's own effect on the model; ``trak`` is dot
            with ridge, the score of TRAK without its loss weights.
        preconditioner: ``none`` is the paper's; ``ridge`` weighs directions by the inverse of the store's second
            moment; ``whiten`` is the cosine after its inverse square root. Default: ridge with trak, else none.
        damping: added to the second moment's eigenvalues, in units of their mean; with ridge and whiten only. Default: 3.
            In trials values from 1 to 3 ranked clips of the same motion best, and 3 to 20 predicted retraining best;
            choose it on queries that are not reported.
        damping_auto: choose the damping under which one half of the clips explains the other best; without damping.
        vote_share: share of the clips that each query votes for (paper, equations 17 and 18).
        rank_by: what clips are ranked by first; ties go to the higher mean, then to the lower clip id.
        groups: query clip id -> name of its group; votes and mean are then also given for each group.
        weights: query clip id -> what the query counts in votes and means, not negative; 1 where none is given.
        model_part: compare the vectors of this part of the model alone, of stores made with --model-parts; empty for
            the whole vector.
        bucket_means: what becomes of the mean score that a query gives the clips of a bucket, where clips have several
            buckets: ``remove`` puts the buckets on one level, ``keep`` leaves the scores as they are. Default: remove.
        filter: condition on the index columns, such as ``source_seconds >= 2 and not static``; only clips that pass
            it are ranked. Their scores are those they would have without it.
        precision: ``float32`` scores every clip for every query exactly and stores all of it; ``int8`` reads int8
            vectors from a cache beside the store, makes no table of all scores, and gives each query's ``top_k`` best
            clips with their float32 scores.
        top_k: clips whose scores are kept for each query; with int8 only. Default: 100.
        devices: GPUs that scan the int8 vectors, such as ``cuda:0``; empty scans on the CPU. With int8 only.
        cache: folder for caches (int8 vectors, preconditioners), for stores that are not on a local disk or may only be
            read; empty keeps them beside the first store.
        block_rows: clips scored at a time; it bounds memory and does not change a bit of the result. With float32 only.
            Default: 4096.
    """

    similarity: Literal["cosine", "dot", "relative", "trak"] = "cosine"
    preconditioner: Literal["none", "ridge", "whiten"] | None = None
    damping: float | None = None
    damping_auto: bool = False
    vote_share: float = 0.10
    rank_by: RankBy = "votes"
    groups: Mapping[str, str] = field(default_factory=lambda: _NO_GROUPS)
    weights: Mapping[str, float] = field(default_factory=lambda: _NO_WEIGHTS)
    model_part: str = ""
    bucket_means: Literal["remove", "keep"] | None = None
    filter: str = ""
    precision: Literal["float32", "int8"] = "float32"
    top_k: int | None = None
    devices: tuple[str, ...] = ()
    cache: str = ""
    block_rows: int | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.damping is not None and not (_is_number(self.damping) and 0 < self.damping < math.inf):
            raise ConfigError(
                "ScoreConfig", f"{{damping}} must be positive and finite, got {self.damping!r}; try {DAMPING:g}"
            )
        if not _is_number(self.vote_share) or not 0 < self.vote_share <= 1:
            raise ConfigError("ScoreConfig", f"{{vote_share}} must be in (0, 1], got {self.vote_share!r}; try 0.1")
        for name, most, usual in (("top_k", 1 << 32, TOP_K), ("block_rows", 1 << 20, BLOCK_ROWS)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most):
                raise ConfigError(
                    "ScoreConfig", f"{{{name}}} must be an integer from 1 to {most}, got {value!r}; try {usual}"
                )
        self._check_combinations()
        self._check_without_effect()
        self._check_mappings()

    def _check_combinations(self) -> None:
        if self.similarity == "trak" and self.preconditioner == "none":
            raise ConfigError(
                "ScoreConfig",
                "{preconditioner} must be ridge with {similarity} trak, which is defined by it, got 'none'; "
                "leave it out, or take {similarity} dot",
            )
        if self.similarity != "cosine" and self.preconditioner == "whiten":
            raise ConfigError(
                "ScoreConfig",
                f"{{preconditioner}} must be none or ridge with {{similarity}} {self.similarity}, got whiten; "
                "take ridge, which is the dot product of whitened vectors",
            )
        if self.precision == "int8" and (self.preconditioner == "whiten" or self.similarity == "relative"):
            raise ConfigError(
                "ScoreConfig",
                "{precision} must be float32 with whiten and relative, whose factor on a clip needs its "
                "float32 vector, got int8; take float32, or ridge",
            )

    def _check_without_effect(self) -> None:
        """Refuse each given option that another one leaves without effect."""
        plain = self.applied_preconditioner == "none"
        for name, is_idle, where, remedy in (
            ("damping", plain, "without a {preconditioner}", "add {preconditioner} ridge or whiten"),
            ("damping_auto", plain, "without a {preconditioner}", "add {preconditioner} ridge or whiten"),
            ("damping", self.damping_auto, "with {damping_auto}, which chooses it", "give one of the two"),
            ("top_k", self.precision != "int8", "with {precision} float32, which keeps every score", "take int8"),
            ("devices", self.precision != "int8", "with {precision} float32, which scans on the CPU", "take int8"),
            ("block_rows", self.precision == "int8", "with {precision} int8, which makes no blocks", "take float32"),
        ):
            value = getattr(self, name)
            is_given = bool(value) if isinstance(value, (bool, list, tuple)) else value is not None
            if is_idle and is_given:
                raise ConfigError("ScoreConfig", f"{{{name}}} must be left out {where}, got {value}; {remedy}")

    @property
    def applied_preconditioner(self) -> str:
        """The preconditioner that is used: the given one, or the default of the similarity."""
        return self.preconditioner or ("ridge" if self.similarity == "trak" else "none")

    @property
    def applied_damping(self) -> float | None:
        """The damping that is used; None without a preconditioner."""
        return None if self.applied_preconditioner == "none" else DAMPING if self.damping is None else self.damping

    @property
    def applied_top_k(self) -> int | None:
        """Clips whose scores are kept for each query; None for all of them."""
        return None if self.precision != "int8" else TOP_K if self.top_k is None else self.top_k

    def _check_mappings(self) -> None:
        for name, wanted in (("groups", "group name"), ("weights", "number >= 0")):
            if not isinstance(getattr(self, name), Mapping):
                got = type(getattr(self, name)).__name__
                raise ConfigError("ScoreConfig", f"{{{name}}} must be clip id -> {wanted}, got {got}; give a mapping")
        for query, group in self.groups.items():
            if not isinstance(query, str) or not isinstance(group, str) or not group:
                raise ConfigError(
                    "ScoreConfig", f"{{groups}} must be clip id -> group name, got {query!r}: {group!r}; give text"
                )
        for query, weight in self.weights.items():
            if not isinstance(query, str) or not _is_number(weight) or not 0 <= weight < math.inf:
                raise ConfigError(
                    "ScoreConfig",
                    f"{{weights}} must be clip id -> number >= 0, got {query!r}: {weight!r}; give numbers",
                )

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values, each as it is applied; ``damping`` as given with ``damping_auto``."""
        values = {
            **to_json(self),
            "preconditioner": self.applied_preconditioner,
            "damping": None if self.damping_auto else self.applied_damping,
            "top_k": self.applied_top_k,
        }
        return {name: values[name] for name in type(self).__dataclass_fields__ if name != "block_rows"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
