"""Scoring a store of clips against a store of queries, exactly and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.errors import OptionError, StoreError
from motive.scoring.blocks import read_blocks, refuse_clip
from motive.scoring.config import ScoreConfig
from motive.scoring.cores import CutTies, rank_rows, share_count, ties_at_cut, top_rows, vote_threshold
from motive.scoring.format import (
    FORMAT,
    VERSION,
    columns_of,
    prepare_target,
    row_groups,
    scores_writer,
    summary_path,
    write_summary,
)
from motive.scoring.kernel import Kernel
from motive.scoring.precondition import second_moment
from motive.scoring.scratch import Scratch
from motive.scoring.summary import QuerySummary, ScoreSummary
from motive.store import Store, require_same_identity
from motive.store.records import package_version, utc_now

_WHERE = "score"
_QUERY_TILE = 512
_TOP = 10
_EXAMPLES = 20
_CUTS = (0.01, 0.05, 0.1, 0.2, 0.5)

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


def score(
    store: Store | Path | str,
    queries: Store | Path | str,
    out: Path | str,
    config: ScoreConfig | None = None,
    *,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every clip of a store against every query, and let the queries vote (paper, equations 10, 17, 18).

    The result does not depend, to the bit, on shards, their order, block size or thread count. Memory holds one
    block of vectors and a few numbers a clip; the scores are on disk, beside ``out`` until they are written.

    Args:
        store: the clips.
        queries: the queries, indexed with the same settings.
        out: the scores file, a name that ends in .parquet; earlier scores there are replaced in one step.
        config: options; None takes the paper's.
        progress: told how far it is.

    Raises:
        IdentityMismatch: clips and queries were indexed with different settings; names the fields.
        OptionError: a query is a zero vector, a group names no query, or out cannot be used.
        StoreError: a store is empty or damaged, or out cannot be written.
    """
    config, out = config or ScoreConfig(), Path(out)
    store = store if isinstance(store, Store) else Store.open(store)
    queries = queries if isinstance(queries, Store) else Store.open(queries)
    require_same_identity(store, queries, _WHERE)
    for name, found in (("store", store), ("queries", queries)):
        if len(found) == 0:
            raise StoreError(f"{_WHERE}: {name} must hold at least one clip, got none in {found.path}; index clips")
    prepare_target(out)
    kernel, precondition = _kernel(store, queries, config)
    with Scratch(out.parent, len(queries), len(store)) as scratch:
        run = _Run(store, queries.clip_ids, config, scratch)
        run.score_clips(kernel, progress)
        run.count_votes()
        run.rank()
        return run.write(out, _provenance(store, queries, config, precondition))


def _kernel(store: Store, queries: Store, config: ScoreConfig) -> tuple[Kernel, str | None]:
    """The scoring function of the queries, and what became of the preconditioner's cache."""
    vectors = np.concatenate([block for _, block in read_blocks(queries, len(queries), _WHERE)])
    zero = np.flatnonzero(~vectors.any(axis=1))
    if zero.size:
        raise OptionError(
            f"{_WHERE}: queries must have vectors that are not zero, got zeros for {queries.ids[int(zero[0])]!r} "
            f"({zero.size} in all); choose query clips that move"
        )
    unknown = sorted(set(config.groups) - set(queries.clip_ids))
    if unknown:
        raise OptionError(
            f"{_WHERE}: groups must name queries of {queries.path}, got {unknown[0]!r}; use the queries' clip ids"
        )
    if config.preconditioner == "none":
        return Kernel.of(vectors, config, None), None
    moment = second_moment(store, config.similarity == "cosine", _WHERE)
    return Kernel.of(vectors, config, moment), moment.cache


def _provenance(store: Store, queries: Store, config: ScoreConfig, cache: str | None) -> dict[str, Any]:
    """How the scores were made: the part of the metadata that is known before the first score."""
    options = config.to_json()
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": utc_now(),
        "package": {"name": "motive", "version": package_version()},
        "store": str(store.path.resolve()),
        "queries": str(queries.path.resolve()),
        "store_version": store.version,
        "queries_version": queries.version,
        "identities": {
            "store": store.manifest["identity_digest"],
            "queries": queries.manifest["identity_digest"],
        },
        "similarity": options.pop("similarity"),
        "preconditioner": options.pop("preconditioner"),
        "lambda": options.pop("lambda_") if config.preconditioner != "none" else None,
        "preconditioner_cache": cache,
        **{name: value for name, value in options.items() if name not in ("lambda_", "block_rows")},
    }


@dataclass
class _Groups:
    """Votes and means of one group of queries."""

    queries: list[int]
    votes: NDArray[np.int32]
    mean: NDArray[np.float32]


class _Run:
    """The numbers of one scoring run: a few for each clip, the scores themselves on disk."""

    def __init__(self, store: Store, query_ids: list[str], config: ScoreConfig, scratch: Scratch) -> None:
        self.store, self.query_ids, self.config, self.scratch = store, query_ids, config, scratch
        self.clips = len(store)
        self.vote_count = share_count(config.vote_share, self.clips)
        self.votes = np.zeros(self.clips, np.int32)
        self.mean = np.empty(self.clips, np.float32)
        self.max = np.empty(self.clips, np.float32)
        self.zero: list[int] = []
        self.groups = {
            name: _Groups(
                [q for q, query in enumerate(query_ids) if config.groups.get(query) == name],
                np.zeros(self.clips, np.int32),
                np.empty(self.clips, np.float32),
            )
            for name in sorted(set(config.groups.values()))
        }
        self.summaries: list[QuerySummary] = []
        self.order = np.empty(0, np.int64)

    def score_clips(self, kernel: Kernel, progress: Progress | None) -> None:
        """Fill scratch, mean, max and the groups' means, a block of clips at a time."""
        for start, vectors in read_blocks(self.store, self.config.block_rows, _WHERE):
            clips = kernel.prepare(vectors)
            self.zero.extend((start + np.flatnonzero(clips.norms == 0)).tolist())
            stop = start + len(vectors)
            total = np.zeros(len(vectors))
            high = np.full(len(vectors), -np.inf, np.float32)
            partial = {name: np.zeros(len(vectors)) for name in self.groups}
            for first in range(0, len(self.query_ids), _QUERY_TILE):
                last = min(first + _QUERY_TILE, len(self.query_ids))
                scores = np.ascontiguousarray(kernel.score(clips, first, last).T)
                beyond = np.flatnonzero(~np.isfinite(scores).all(axis=0))
                if beyond.size:
                    row = start + int(beyond[0])
                    refuse_clip(self.store, row, _WHERE, "scores must fit float32, got overflow", "use cosine")
                self.scratch.write(first, start, scores)
                for query, row in enumerate(scores, first):  # one by one: the order of a sum is part of its bits
                    total += row
                    np.maximum(high, row, out=high)
                    group = self.config.groups.get(self.query_ids[query])
                    if group is not None:
                        partial[group] += row
            self.mean[start:stop] = total / len(self.query_ids)
            self.max[start:stop] = high
            for name, group in self.groups.items():
                group.mean[start:stop] = partial[name] / len(group.queries)
            if progress is not None:
                progress(stop, self.clips)

    def count_votes(self) -> None:
        """Each query votes for the clips that reach its threshold."""
        for query, clip_id in enumerate(self.query_ids):
            scores = self.scratch.read(query)
            threshold = vote_threshold(scores, self.vote_count)
            voted = scores >= threshold
            self.votes += voted
            name = self.config.groups.get(clip_id)
            if name is not None:
                self.groups[name].votes += voted
            top = [self.store.ids[int(row)] for row in top_rows(scores, _TOP)]
            self.summaries.append(
                QuerySummary(
                    clip_id,
                    name,
                    float(threshold),
                    int(voted.sum()),
                    int((scores == threshold).sum()),
                    float(scores.min()),
                    float(scores.mean(dtype=np.float64)),
                    float(scores.max()),
                    tuple(top),
                )
            )

    def keys(self) -> list[NDArray]:
        """What clips are ranked by, the first counting most."""
        if self.config.rank_by == "mean":
            return [self.mean]
        return [self.votes if self.config.rank_by == "votes" else self.max, self.mean]

    def rank(self) -> None:
        """Order the clips; equal ones by clip id, which is the order of rows."""
        self.order = rank_rows(self.keys())

    def ties(self) -> dict[str, CutTies]:
        """Ties at the usual cuts of the ranking, and at the share that queries vote for."""
        shares = sorted({*_CUTS, float(self.config.vote_share)})
        return {f"{s:g}": ties_at_cut(self.keys(), self.order, share_count(s, self.clips)) for s in shares}

    def write(self, out: Path, provenance: dict[str, Any]) -> ScoreSummary:
        """Write the table and its summary."""
        rank = np.empty(self.clips, np.int64)
        rank[self.order] = np.arange(1, self.clips + 1)
        ties = self.ties()
        metadata = {
            **provenance,
            "clips": self.clips,
            "vote_count": self.vote_count,
            "thresholds": {query.clip_id: query.threshold for query in self.summaries},
            "ties": {share: asdict(tie) for share, tie in ties.items()},
        }
        columns = columns_of(self.query_ids, list(self.groups))
        with scores_writer(out, columns, metadata) as write:
            for start, stop in row_groups(self.clips, len(columns)):
                write(self._rows(start, stop, rank))
        voted = int(np.count_nonzero(self.votes))
        summary = ScoreSummary(
            path=out,
            summary_path=summary_path(out),
            clips=self.clips,
            queries=tuple(self.summaries),
            vote_count=self.vote_count,
            ties=ties,
            voted_clips=voted,
            voteless_clips=self.clips - voted,
            zero_clips=len(self.zero),
            zero_examples=tuple(self.store.ids[row] for row in self.zero[:_EXAMPLES]),
            metadata=metadata,
        )
        write_summary(out, summary.to_json())
        return summary

    def _rows(self, start: int, stop: int, rank: NDArray[np.int64]) -> list[Any]:
        """Columns of rows start to stop - 1, in the order of the file."""
        here = slice(start, stop)
        percentile = (self.clips + 1 - rank[here]) * (100.0 / self.clips)
        rows = [self.store.ids.slice(start, stop).to_arrow(), self.votes[here], self.mean[here], self.max[here]]
        rows += [rank[here], percentile.astype(np.float32)]
        for group in self.groups.values():
            rows += [group.votes[here], group.mean[here]]
        return rows + [self.scratch.read(query, start, stop) for query in range(len(self.query_ids))]
