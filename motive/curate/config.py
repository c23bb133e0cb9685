"""Configuration of a selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from motive.config import check_choices, to_json
from motive.curate.amounts import (
    CAPTION,
    GROUP_BY,
    QUERY_BY,
    Amount,
    Cap,
    Quota,
    Weight,
    is_scored,
    parse_amount,
    parse_cap,
    parse_quota,
    parse_weight,
)
from motive.data import SAME, Files, selection_writer
from motive.data.media import Placement
from motive.errors import ConfigError
from motive.scores.ranking import RankBy

T = TypeVar("T")
DROP_BOTTOM = "drop_bottom"
WEIGHTED = "weighted"
_PLAIN_BY = (*get_args(RankBy), WEIGHTED, DROP_BOTTOM)
_DEFAULT = "10%"
_CLUSTERS = 50


def _repeated() -> Any:
    """A field of texts whose flag is given once for each."""
    return field(default=(), metadata={"repeated": True})


@dataclass(frozen=True)
class SelectConfig:
    """Options of a selection.

    Attributes:
        top: how many of the best clips to take, ``10%`` or ``500``; None is 10%. Not with bottom or drop_bottom.
        bottom: how many of the worst clips to take instead, worst first, to look at or to leave out elsewhere.
        by: what the clips are ranked by: ``votes`` (the paper's), ``mean`` or ``max`` over the queries,
            ``query:<clip id>`` for one query, ``group:<name>`` for the votes of one group of queries,
            ``weighted`` for a sum of scores by weight, or ``drop_bottom`` for everything but the clips of lowest mean.
        weight: ``query:<clip id>=2`` or ``group:<name>=-0.5``, each score's weight in the sum; of a group it is the mean
            that counts. May be repeated; with weighted only.
        drop: how many clips drop_bottom leaves out, ``10%`` or ``500``; None is 10%. With drop_bottom only.
        min_votes: leave out clips with fewer votes, even if the selection gets smaller than ``top``.
        against: ``query:<clip id>`` or ``group:<name>`` of a motion that is not wanted: clips that are among its best
            are left out. May be repeated.
        against_top: how many of the best clips of each of these are left out, ``10%`` or ``500``; None is 10%.
        max_per: ``source=5`` or ``camera=20%``: at most this many clips, or that share of the selection, from any one
            source video, caption cluster (``caption``) or value of a column. May be repeated.
        min_per: ``camera:pan=20%``: at least this many clips, or that share of the selection, with that value; an empty
            value stands for a missing one. May be repeated.
        caption_clusters: number of clusters that captions are brought to for ``caption``; None is 50.
        max_vector_similarity: leave out a clip whose vector has at least this cosine with that of a better one.
        max_frame_similarity: leave out a clip whose pictures share at least this part of their 256 bits of hash with
            those of a better one, 0.95 say; decodes four frames of every clip that is looked at.
        segments: of scores of segments, what a clip counts by: its ``best`` segment, or the ``sum`` over its segments; None is
            best. Not with scores of whole clips.
        format: what to write: ``same``, the form of the dataset that was read, or that of a trainer: ``diffsynth``,
            ``diffusion-pipe``, ``fastvideo``, ``finetrainers``, ``folder``, ``hf``, ``jsonl``, ``list``, ``musubi``,
            ``webdataset``, or one that an installed package adds.
        files: ``link`` places links to the video files, ``copy`` copies; None is link. Not with scores_only, nor with
            format list, which places none; webdataset copies alone.
        scores_only: leave the videos where they are and write the tables alone, with the scores as columns.
    """

    top: str | None = None
    bottom: str | None = None
    by: str = "votes"
    weight: tuple[str, ...] = _repeated()
    drop: str | None = None
    min_votes: int = 0
    against: tuple[str, ...] = _repeated()
    against_top: str | None = None
    max_per: tuple[str, ...] = _repeated()
    min_per: tuple[str, ...] = _repeated()
    caption_clusters: int | None = None
    max_vector_similarity: float | None = None
    max_frame_similarity: float | None = None
    segments: Literal["best", "sum"] | None = None
    format: str = SAME
    files: Placement | None = None
    scores_only: bool = False

    def __post_init__(self) -> None:
        if self.by not in _PLAIN_BY and not (isinstance(self.by, str) and is_scored(self.by)):
            raise ConfigError(
                "SelectConfig",
                f"{{by}} must be one of {', '.join(_PLAIN_BY)}, {QUERY_BY}<clip id>, {GROUP_BY}<name>, "
                f"got {self.by!r}; choose one",
            )
        check_choices(self)
        if isinstance(self.min_votes, bool) or not isinstance(self.min_votes, int) or self.min_votes < 0:
            raise ConfigError(
                "SelectConfig", f"{{min_votes}} must be an integer from 0, got {self.min_votes!r}; 0 leaves nothing out"
            )
        if self.format != SAME:
            selection_writer(self.format)
        self._check_numbers()
        self._check_texts()
        self._check_together()

    def _check_numbers(self) -> None:
        for name in ("max_vector_similarity", "max_frame_similarity"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ConfigError("SelectConfig", f"{{{name}}} must be in (0, 1], got {value!r}; try 0.95")
        clusters = self.caption_clusters
        if clusters is not None and (isinstance(clusters, bool) or not 2 <= clusters <= 10_000):
            raise ConfigError("SelectConfig", f"{{caption_clusters}} must be 2 to 10000, got {clusters!r}; try 50")

    def _check_texts(self) -> None:
        for text in self.against:
            if not is_scored(text):
                raise ConfigError(
                    "SelectConfig", f"{{against}} must be query:<clip id> or group:<name>, got {text!r}; give one"
                )
        rules = (self.weights, self.caps, self.quotas)
        parse_amount(self.amount, f"SelectConfig: {self._amount_name}")
        parse_amount(self.against_top or _DEFAULT, "SelectConfig: against_top")
        for name, found in zip(("weight", "max_per", "min_per"), rules, strict=True):
            keys = [rule.of if isinstance(rule, Weight) else (rule.by, getattr(rule, "value", "")) for rule in found]
            if len(set(keys)) < len(keys):
                raise ConfigError("SelectConfig", f"{{{name}}} must name each group once, got one twice; drop one")

    def _check_together(self) -> None:
        """Refuse options that leave another without effect."""
        dropping, caption = self.by == DROP_BOTTOM, any(r.by.kind == CAPTION for r in (*self.caps, *self.quotas))
        for name, other, wrong, why in (
            ("drop", "by", not dropping and self.drop is not None, f"{self.by}; give {{top}} instead"),
            ("top", "by", dropping and self.top is not None, f"{self.by}; give {{drop}} instead"),
            ("bottom", "by", dropping and self.bottom is not None, f"{self.by}; give {{drop}} instead"),
            ("top", "bottom", self.bottom is not None and self.top is not None, f"{self.bottom}; give one of them"),
            ("min_votes", "bottom", self.bottom is not None and self.min_votes > 0, f"{self.bottom}; leave one out"),
            ("weight", "by", bool(self.weight) and self.by != WEIGHTED, f"{self.by}; pass {{by}} {WEIGHTED}"),
            ("files", "scores_only", self.scores_only and self.files is not None, "True; nothing is placed then"),
            ("against_top", "against", self.against_top is not None and not self.against, "none; give {against} too"),
            ("caption_clusters", "max_per", self.caption_clusters is not None and not caption,
             "no rule about captions; give {max_per} caption=AMOUNT"),
        ):  # fmt: skip
            if wrong:
                given = getattr(self, name)
                raise ConfigError(
                    "SelectConfig", f"{{{name}}} must be left out with {{{other}}} {why.partition(';')[0]}, got "
                    f"{given!r};{why.partition(';')[2]}",
                )  # fmt: skip
        if self.by == WEIGHTED and not self.weight:
            raise ConfigError("SelectConfig", f"{{weight}} must be given with {{by}} {WEIGHTED}; give some")
        self.check_files(self.format)

    def check_files(self, layout: str) -> None:
        """Refuse a way to place videos that a layout does not have; ``same`` is looked at when the dataset is known.

        Raises:
            ConfigError: files was given.
        """
        held = ("link", "copy") if layout == SAME else selection_writer(layout).placements
        if self.files is None or self.files in held:
            return
        why = "packs the videos into shards" if held else "names the videos where they are, and places none"
        raise ConfigError(
            "SelectConfig",
            f"{{files}} must be {held[0] if held else 'left out'} with {{format}} {layout}, got {self.files!r}: that format "
            f"{why}; " + ("leave {files} out" if held else "choose another {format} to have the files"),
        )

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The weights of a weighted ranking."""
        return self._parsed(self.weight, parse_weight, "weight")

    @property
    def caps(self) -> tuple[Cap, ...]:
        """The most of any one group."""
        return self._parsed(self.max_per, parse_cap, "max_per")

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """The least of some groups."""
        return self._parsed(self.min_per, parse_quota, "min_per")

    @staticmethod
    def _parsed(texts: Sequence[str], parse: Callable[[str, str], T], name: str) -> tuple[T, ...]:
        return tuple(parse(text, f"SelectConfig: {name}") for text in texts)

    @property
    def clusters(self) -> int:
        """How many clusters captions are brought to."""
        return self.caption_clusters or _CLUSTERS

    @property
    def ruled(self) -> bool:
        """Whether the selection is more than the head of the ranking."""
        filters = (self.against, self.max_per, self.min_per)
        return any(filters) or self.max_vector_similarity is not None or self.max_frame_similarity is not None

    @property
    def against_amount(self) -> Amount:
        """How many clips each unwanted query or group leaves out."""
        return parse_amount(self.against_top or _DEFAULT, "select: against_top")

    @property
    def placing(self) -> Files:
        """What happens to the videos."""
        return "none" if self.scores_only else self.files or "link"

    @property
    def amount(self) -> str:
        """What was given as top, bottom or drop, or its default."""
        given = getattr(self, self._amount_name)
        return _DEFAULT if given is None else given

    @property
    def _amount_name(self) -> str:
        return "drop" if self.by == DROP_BOTTOM else "top" if self.bottom is None else "bottom"

    def take(self, total: int) -> int:
        """How many clips of ``total`` the ranking's head has.

        Raises:
            OptionError: more are asked for than there are.
        """
        if self.by != DROP_BOTTOM:
            where = f"select: {self._amount_name}"
            return parse_amount(self.amount, where).of(total, where)
        amount = parse_amount(self.amount, "select: drop")
        return total - (int(amount.share * total) if amount.share is not None else amount.of(total, "select: drop"))

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {**to_json(self), "amount": str(self.amount)}
