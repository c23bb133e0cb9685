"""Selecting clips by their scores, and writing them as a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from motive.curate.config import SelectConfig
from motive.curate.place import check_target, placed, write_record
from motive.curate.ranking import Cut, Ranking
from motive.curate.source import INDEX_COLUMNS, clips_of, dataset_of
from motive.data import SubsetRow, write_subset
from motive.errors import StoreError
from motive.extras import require
from motive.scoring.cores import CutTies
from motive.store import Store
from motive.store.ids import clip_of
from motive.store.records import package_version, utc_now

_WHERE = "select"


@dataclass(frozen=True)
class Selection:
    """Result of select.

    Attributes:
        path: the folder that holds the selected dataset and selection.json.
        clip_ids: the selected clips, best first.
        total: clips that were scored.
        by: the column that was ranked by first.
        last_score: its value for the last clip taken.
        ties: clips with equal scores that the cut separated; None if min_votes ended the selection before it.
        store_changed: whether clips were added to the store after it was scored (they cannot be selected).
    """

    path: Path
    clip_ids: tuple[str, ...]
    total: int
    by: str
    last_score: float
    ties: CutTies | None
    store_changed: bool

    def lines(self) -> list[str]:
        """The result for people, in a few lines."""
        lines = [f"{self.path}: {len(self.clip_ids)} of {self.total} clips by {self.by}, down to {self.last_score:g}"]
        if self.ties is not None and self.ties.tied:
            tie = self.ties
            lines.append(
                f"ties: {tie.tied} clips have that value, {tie.tied_above} of them selected; "
                f"{tie.undecided} are equal in every key and told apart by their ids"
            )
        if self.store_changed:
            lines.append("the store has grown since it was scored; run motive score again to rank the new clips")
        return lines


def select(
    scores: Path | str, out: Path | str, config: SelectConfig | None = None, *, store: Store | Path | str | None = None
) -> Selection:
    """Write the best clips as a dataset in the form of the one they come from, with their scores as columns.

    Equal clips are told apart by the higher mean, then by the lower clip id, so a selection can be repeated.

    Args:
        scores: what ``motive score`` wrote.
        out: folder for the selection: new, empty, or an earlier selection, which is replaced in one step.
        config: options; None takes the paper's 10 % by votes.
        store: where the clips' store is now; None takes the place recorded in the scores.

    Raises:
        OptionError: an option cannot be met, or out holds other files.
        StoreError: scores or store are missing, damaged, or do not belong together.
        DatasetError: a video file cannot be placed.
    """
    config, scores, out = config or SelectConfig(), Path(scores), Path(out)
    ranking = Ranking(scores, config, _WHERE)
    store = _store(store, ranking)
    cut = ranking.cut(bool(store.segments))
    check_target(out, _WHERE)
    rows, dataset = _subset(ranking, cut, store)
    record = _record(scores, config, ranking, cut, store)
    with placed(out, _WHERE) as folder:
        write_subset(dataset, rows, folder, files=config.files)
        write_record(folder, record, _WHERE)
    return Selection(
        out,
        tuple(row.clip.clip_id for row in rows),
        cut.total,
        cut.key,
        cut.last,
        cut.ties,
        record["store_changed"],
    )


def _store(store: Store | Path | str | None, ranking: Ranking) -> Store:
    if isinstance(store, Store):
        return store
    recorded = ranking.header.get("store")
    path = recorded if store is None else store
    if not isinstance(path, (str, Path)):
        raise StoreError(f"{_WHERE}: the scores must name their store, got {recorded!r}; run motive score again")
    return Store.open(path)


def _subset(ranking: Ranking, cut: Cut, store: Store) -> tuple[list[SubsetRow], Any]:
    """Join the selected clips with the store's index; best first."""
    pa, compute = require("pyarrow", _WHERE, extra="tables"), require("pyarrow.compute", _WHERE, extra="tables")
    wanted = ranking.clip_ids(cut.rows).cast(pa.large_string())
    found = compute.index_in(store.ids.to_arrow(), value_set=wanted)
    places = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    if len(places) < len(wanted):
        lost = wanted.filter(compute.invert(compute.is_in(wanted, value_set=store.ids.to_arrow())))[0].as_py()
        raise StoreError(
            f"{_WHERE}: the store must hold every scored clip, got none for {lost!r} in {store.path}; "
            "give the store that was scored"
        )
    stored = np.empty(len(wanted), np.int64)
    stored[found.drop_null().to_numpy()] = places
    missing = [name for name in INDEX_COLUMNS[1:] if name not in store.manifest["columns"]]
    if missing:
        raise StoreError(
            f"{_WHERE}: the store's index must have column {missing[0]}, got {', '.join(store.manifest['columns'])}; "
            "make the store with motive index"
        )
    clips = clips_of(store.columns(INDEX_COLUMNS, stored), _WHERE)
    shown: list[dict[str, Any]] = [*ranking.shown(cut.rows)]
    if cut.segments:
        clips = [replace(clip, clip_id=clip_of(clip.clip_id)) for clip in clips]
        shown = [{**scores, "motive_segment": name} for scores, name in zip(shown, cut.segments, strict=True)]
    rows = [SubsetRow(clip, scores) for clip, scores in zip(clips, shown, strict=True)]
    return rows, dataset_of(store.manifest, sorted(clips, key=lambda clip: clip.clip_id), _WHERE)


def _record(scores: Path, config: SelectConfig, ranking: Ranking, cut: Cut, store: Store) -> dict[str, Any]:
    """What selection.json says, but for the list of files."""
    scored_version = ranking.header.get("store_version")
    return {
        "created": utc_now(),
        "package": {"name": "motive", "version": package_version()},
        "scores": str(scores.resolve()),
        "store": str(store.path.resolve()),
        "store_version": scored_version,
        "store_changed": scored_version != store.version,
        "config": config.to_json(),
        "clips": {"scored": cut.total, "selected": len(cut.rows)},
        "segmented": bool(cut.segments),
        "ranked_by": ranking.names,
        "last_score": cut.last,
        "ties": None if cut.ties is None else asdict(cut.ties),
    }
