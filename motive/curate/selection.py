"""Selecting clips by their scores, and writing them as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motive.config import to_json
from motive.curate.amounts import CAPTION
from motive.curate.attributed import attributed_of, clip_path, seconds_of
from motive.curate.captions import CaptionClusters
from motive.curate.choose import Choice, Chooser, Sight
from motive.curate.config import SelectConfig
from motive.curate.explain import explained, failed, rules_of
from motive.curate.groups import Groups, shown_value
from motive.curate.place import check_target, placed, write_record
from motive.curate.ranking import Cut, Ranked, Ranking
from motive.curate.rows import SelectedRows
from motive.data import SAME, Training, dataset_format, write_subset
from motive.data.subset import TRAIN
from motive.data.video.frame_hash import HASHED, Load, frame_hash
from motive.data.video.isolated import DecoderPool
from motive.errors import ClipError, DatasetError
from motive.extras import require
from motive.result import Result
from motive.scores.ranking import CutTies
from motive.scores.stores import ScoredStores, StoreLike, place_of
from motive.store.ids import clip_of
from motive.store.records import package_version, utc_now

_WHERE = "select"
_SAMPLE = 20_000
"""Captions that clusters are made from, evenly spaced over the clips."""


@dataclass(frozen=True)
class Selection(Result):
    """Result of select.

    Attributes:
        path: the folder that holds the selected dataset and selection.json.
        clip_ids: the selected clips, best first.
        total: clips that were scored.
        by: the column that was ranked by first.
        last_score: its value for the last clip taken.
        ties: clips with equal scores that the cut separated; None if min_votes ended the selection before it.
        store_changed: whether clips were added to the store after it was scored (they cannot be selected).
        training: the commands that train on the selection; TRAIN.md in its folder has them too. None where they are
            not known.
        unmet: what of the rules could not be had, a sentence each.
    """

    path: Path
    clip_ids: tuple[str, ...]
    total: int
    by: str
    last_score: float
    ties: CutTies | None
    store_changed: bool
    training: Training | None = None
    unmet: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The result for people, in a few lines."""
        lines = [f"{self.path}: {len(self.clip_ids)} of {self.total} clips by {self.by}, down to {self.last_score:g}"]
        if self.ties is not None and self.ties.tied:
            tie = self.ties
            lines.append(
                f"ties: {tie.tied} clips have that value, {tie.tied_above} of them selected; "
                f"{tie.undecided} are equal in every key and ordered by their ids"
            )
        lines += self.unmet
        if self.training is not None:
            lines.append(f"to train on it with {self.training.tool}: {self.path / TRAIN}")
            lines += self.training.losses
        else:
            lines.append(
                "no training command: --format diffsynth, musubi, finetrainers or another writes the clips for a trainer; "
                "with --scores-only these three name the originals"
            )
        if self.store_changed:
            lines.append("the store has grown since it was scored; run motive score again to rank the new clips")
        return lines


def select(
    scores: Path | str,
    out: Path | str,
    config: SelectConfig | None = None,
    *,
    store: StoreLike | Sequence[StoreLike] | None = None,
) -> Selection:
    """Write the best clips as a dataset in the form of the one they come from, or of a trainer, with their scores as
    columns.

    Ties go to the higher mean, then to the lower clip id, so a selection can be repeated.

    Args:
        scores: what ``motive score`` wrote.
        out: folder for the selection: new, empty, or an earlier selection, which is replaced in one step.
        config: options; None takes the paper's 10 % by votes.
        store: where the clips' store is now, or the stores in the order in which they were scored; None takes the
            places recorded in the scores.

    Raises:
        OptionError: an option cannot be met, or out holds other files.
        StoreError: scores or store are missing, damaged, or do not belong together.
        DatasetError: a video file cannot be placed.
    """
    config, scores, out = config or SelectConfig(), Path(scores), Path(out)
    ranking = Ranking(scores, config, _WHERE)
    stores = ScoredStores(ranking.file.metadata, "store", _WHERE, store)
    ranked = ranking.rank(bool(stores.first.segments))
    check_target(out, _WHERE)
    choice = choose(config, ranking, ranked, stores)
    cut = ranking.cut_of(ranked, np.asarray(choice.places, np.int64))
    record = _record(scores, config, ranking, cut, stores) | _reasons(config, ranking, ranked, choice, stores)
    if config.ruled or config.bottom is not None or config.weights:
        record["rows"] = cut.rows.tolist()
    ids = _clip_ids(ranking, cut)
    origin = stores.origin_of(ids)
    if config.format == SAME and config.files is not None:
        config.check_files(dataset_format(origin.require_source(_WHERE).format).writer or SAME)
    with placed(out, _WHERE) as folder, closing(_rows(ranking, cut, stores, folder.parent)) as rows:
        rows[0]  # refuses an index that does not describe clips
        training = write_subset(
            origin.require_source(_WHERE).dataset(()),
            rows,
            folder,
            files=config.placing,
            format=config.format,
            final=out,
            attributed=attributed_of(stores, ids),
            record=record,
        )
        write_record(folder, record, _WHERE)
    return Selection(
        out,
        tuple(clip_of(clip_id) if cut.segments else clip_id for clip_id in ids.to_pylist()),
        cut.total,
        cut.key,
        cut.last,
        cut.ties,
        record["store_changed"],
        training,
        tuple(record["unmet"]),
    )


def choose(config: SelectConfig, ranking: Ranking, ranked: Ranked, stores: ScoredStores) -> Choice:
    """The clips that the rules take from a ranking, with the reason for each.

    Raises:
        OptionError: a rule names a query, group or column that there is not, or cannot be met.
        DatasetError: a video whose pictures are compared cannot be decoded.
    """
    captions = None
    if any(rule.by.kind == CAPTION for rule in (*config.caps, *config.quotas)):
        sample = np.unique(np.linspace(0, ranked.total - 1, min(ranked.total, _SAMPLE)).astype(np.int64))
        table = stores.table(_ids_of(ranking, ranked.of_clip[sample]), ["caption"])[1]
        captions = CaptionClusters([text or "" for text in table.column("caption").to_pylist()], config.clusters)
    pool = DecoderPool(HASHED)
    sight = Sight(
        groups=Groups([rule.by for rule in (*config.caps, *config.quotas)], stores, captions),
        ids=lambda places: _ids_of(ranking, ranked.of_clip[ranked.order[places]]),
        vectors=stores.vectors,
        hash_of=lambda clip_id: _frame_hash(stores, clip_id, pool.load_clip),
        votes=ranked.votes[ranked.order],
        unwanted=[ranking.unwanted(ranked, text) for text in config.against],
        dim=stores.first.dim,
    )
    with pool:
        return Chooser(config, sight, ranked.scope, ranked.taken).run()


def _frame_hash(stores: ScoredStores, clip_id: str, load: Load) -> NDArray[np.uint8]:
    """Hash of a clip's pictures, over the seconds that the clip was attributed at."""
    path, bucket = clip_path(stores, clip_id, _WHERE)
    try:
        return frame_hash(path, seconds_of(stores, bucket), load)
    except ClipError as error:
        raise DatasetError(
            f"{_WHERE}: the pictures of {path} cannot be compared: {error.detail}; restore the file, or leave out "
            "max_frame_similarity"
        ) from error


def _ids_of(ranking: Ranking, rows: NDArray[np.int64]) -> Any:
    pa = require("pyarrow", _WHERE, extra="tables")
    return ranking.file.clip_ids(rows).cast(pa.large_string())


def _reasons(
    config: SelectConfig, ranking: Ranking, ranked: Ranked, choice: Choice, stores: ScoredStores
) -> dict[str, Any]:
    """The part of selection.json that is for people."""

    def ids(places: Sequence[int]) -> list[str]:
        found = _ids_of(ranking, ranked.of_clip[ranked.order[np.asarray(places, np.int64)]]).to_pylist()
        return [clip_of(clip_id) for clip_id in found] if ranked.how is not None else found

    quotas = [
        {"group": quota.by.text, "value": quota.value, "asked": quota.least.of_selection(ranked.taken), "taken": count}
        for quota, count in choice.quotas
    ]
    unmet = [
        f"only {quota['taken']} of the {quota['asked']} clips whose {quota['group']} is {shown_value(quota['value'])} "
        "could be taken"
        for quota in quotas
        if quota["taken"] < quota["asked"]
    ]
    few = len(choice.left.get("few_votes", {}))
    if config.ruled and len(choice.places) < ranked.taken - few:
        unmet.append(f"the rules leave {len(choice.places)} clips, fewer than the {ranked.taken} asked for")
    failures = [failure for store in stores.stores for failure in store.failures()]
    return {
        "rules": rules_of(config, ranked, ranking.names),
        "explanation": explained(ranked, choice, ranking.names, ids),
        "quotas": quotas,
        "unmet": unmet,
        "failed": failed(failures),
    }


def _clip_ids(ranking: Ranking, cut: Cut) -> Any:
    """Ids of the selected rows, best first, as a pyarrow array."""
    pa = require("pyarrow", _WHERE, extra="tables")
    return ranking.file.clip_ids(cut.rows).cast(pa.large_string())


def _rows(ranking: Ranking, cut: Cut, stores: ScoredStores, folder: Path) -> SelectedRows:
    """Join the selected clips with their stores' index; best first."""

    def scores(places: range) -> list[dict[str, Any]]:
        part = slice(places.start, places.stop)
        shown: list[dict[str, Any]] = [*ranking.shown(cut.rows[part])]
        if cut.segments:
            shown = [{**row, "motive_segment": name} for row, name in zip(shown, cut.segments[part], strict=True)]
        if cut.sums is not None:
            sums = cut.sums[part].tolist()
            shown = [{**row, "motive_sum": value} for row, value in zip(shown, sums, strict=True)]
        return shown

    return SelectedRows(stores, _clip_ids(ranking, cut), scores, folder, bool(cut.segments), _WHERE)


def _record(scores: Path, config: SelectConfig, ranking: Ranking, cut: Cut, stores: ScoredStores) -> dict[str, Any]:
    """What selection.json says, but for the list of files."""
    scored_version = ranking.file.metadata.get("store_version")
    return {
        "created": utc_now(),
        "package": {"name": "motive", "version": package_version()},
        "scores": str(scores.resolve()),
        "store": place_of(stores.stores[0]),
        "stores": [place_of(store) for store in stores.stores],
        "store_version": scored_version,
        "store_changed": scored_version != stores.version,
        "config": {**config.to_json(), "segments": cut.how},
        "clips": {"scored": cut.total, "selected": len(cut.rows)},
        "segmented": bool(cut.segments),
        "ranked_by": ranking.names,
        "last_score": cut.last,
        "ties": to_json(cut.ties),
    }
