"""How clips are scored against queries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from motive.errors import OptionError

_NO_GROUPS: Mapping[str, str] = MappingProxyType({})
_NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})
_CHOICES = {
    "similarity": ("cosine", "dot", "relative", "trak"),
    "preconditioner": ("none", "ridge", "whiten"),
    "rank_by": ("votes", "mean", "max"),
    "precision": ("float32", "int8"),
}


@dataclass(frozen=True)
class ScoreConfig:
    """Options of scoring; docs/scoring.md has the equations.

    Attributes:
        similarity: ``cosine`` compares directions (paper, equation 10); ``dot`` keeps the vectors' lengths;
            ``relative`` divides the dot product by the length of the clip's own effect on the model; ``trak`` is dot
            with ridge, the score of TRAK without its loss weights.
        preconditioner: ``none`` is the paper's; ``ridge`` weighs directions by the inverse of the store's second
            moment; ``whiten`` is the cosine after its inverse square root.
        lambda_: what is added to the second moment's eigenvalues, in units of their mean; used by ridge and
            whiten. In trials values from 1 to 3 ranked clips of the same motion best, and 3 to 20 predicted
            retraining best; choose it on queries that are not reported.
        lambda_auto: choose lambda so that one half of the clips explains the other best, in place of lambda_.
        vote_share: share of the clips that each query votes for (paper, equations 17 and 18).
        rank_by: what clips are ranked by first; ties go to the higher mean, then to the lower clip id.
        groups: query clip id -> name of its group; votes and mean are then also given for each group.
        weights: query clip id -> what the query counts in votes and means, not negative; 1 where none is given.
        model_part: compare the vectors of this part of the model alone, of stores made with --model-parts; empty for
            the whole vector.
        filter: condition on the index columns, such as ``source_seconds >= 2 and not static``; only clips that pass
            it are ranked. Their scores are those they would have without it.
        precision: ``float32`` scores every clip for every query exactly and stores all of it; ``int8`` reads the
            vectors as bytes from a cache beside the store, makes no table of all scores, and gives each query's
            ``listed`` best clips with their float32 scores.
        listed: with int8, how many best clips a query lists.
        devices: with int8, the GPUs that scan, such as ``cuda:0``; none scans on the CPU.
        cache: folder for caches (bytes, preconditioners), for stores that are not on a local disk or may only be
            read; empty keeps them beside the first store.
        block_rows: clips scored at a time; it bounds memory and does not change a bit of the result.
    """

    similarity: Literal["cosine", "dot", "relative", "trak"] = "cosine"
    preconditioner: Literal["none", "ridge", "whiten"] = "none"
    lambda_: float = 3.0
    lambda_auto: bool = False
    vote_share: float = 0.10
    rank_by: Literal["votes", "mean", "max"] = "votes"
    groups: Mapping[str, str] = field(default_factory=lambda: _NO_GROUPS)
    weights: Mapping[str, float] = field(default_factory=lambda: _NO_WEIGHTS)
    model_part: str = ""
    filter: str = ""
    precision: Literal["float32", "int8"] = "float32"
    listed: int = 100
    devices: tuple[str, ...] = ()
    cache: str = ""
    block_rows: int = 4096

    def __post_init__(self) -> None:
        for name, values in _CHOICES.items():
            if getattr(self, name) not in values:
                raise OptionError(
                    f"ScoreConfig: {name} must be one of {', '.join(values)}, got {getattr(self, name)!r}; choose one"
                )
        if not _is_number(self.lambda_) or not 0 < self.lambda_ < math.inf:
            raise OptionError(f"ScoreConfig: lambda_ must be positive and finite, got {self.lambda_!r}; try 3")
        if not _is_number(self.vote_share) or not 0 < self.vote_share <= 1:
            raise OptionError(f"ScoreConfig: vote_share must be in (0, 1], got {self.vote_share!r}; try 0.1")
        if not isinstance(self.block_rows, int) or not 1 <= self.block_rows <= 1 << 20:
            raise OptionError(f"ScoreConfig: block_rows must be 1 to 1048576, got {self.block_rows!r}; try 4096")
        if self.similarity == "trak" and self.preconditioner == "none":
            object.__setattr__(self, "preconditioner", "ridge")
        if self.preconditioner == "none" and self.lambda_ != type(self).lambda_:
            raise OptionError(
                f"ScoreConfig: lambda_ must be left out without a preconditioner, got {self.lambda_}; "
                "add preconditioner ridge or whiten"
            )
        if self.preconditioner == "none" and self.lambda_auto:
            raise OptionError(
                "ScoreConfig: lambda_auto must be left out without a preconditioner, got True; "
                "add preconditioner ridge or whiten"
            )
        if self.similarity != "cosine" and self.preconditioner == "whiten":
            raise OptionError(
                f"ScoreConfig: preconditioner must be none or ridge with similarity {self.similarity}, got whiten; "
                "take ridge, which is the dot product of whitened vectors"
            )
        if self.precision == "int8" and (self.preconditioner == "whiten" or self.similarity == "relative"):
            raise OptionError(
                "ScoreConfig: precision must be float32 with whiten and relative, whose factor on a clip needs its "
                "float32 vector, got int8; take float32, or ridge"
            )
        if self.precision != "int8" and self.devices:
            raise OptionError(
                f"ScoreConfig: devices must be empty with precision float32, got {self.devices}; take int8"
            )
        if not isinstance(self.listed, int) or self.listed < 1:
            raise OptionError(f"ScoreConfig: listed must be a positive integer, got {self.listed!r}; try 100")
        self._check_mappings()

    def _check_mappings(self) -> None:
        for name, wanted in (("groups", "group name"), ("weights", "number >= 0")):
            if not isinstance(getattr(self, name), Mapping):
                got = type(getattr(self, name)).__name__
                raise OptionError(f"ScoreConfig: {name} must be clip id -> {wanted}, got {got}; give a mapping")
        for query, group in self.groups.items():
            if not isinstance(query, str) or not isinstance(group, str) or not group:
                raise OptionError(
                    f"ScoreConfig: groups must be clip id -> group name, got {query!r}: {group!r}; give text"
                )
        for query, weight in self.weights.items():
            if not isinstance(query, str) or not _is_number(weight) or not 0 <= weight < math.inf:
                raise OptionError(
                    f"ScoreConfig: weights must be clip id -> number >= 0, got {query!r}: {weight!r}; give numbers"
                )

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        values = {**self.__dict__, "groups": dict(self.groups), "weights": dict(self.weights)}
        return {name: values[name] for name in type(self).__dataclass_fields__}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
