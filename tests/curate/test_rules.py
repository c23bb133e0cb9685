"""Rules of a selection: caps, quotas, unwanted motion, near-duplicates, weights; and a reason for every clip."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motive.curate import SelectConfig, Selection, choose, select, similar
from motive.curate.captions import CaptionClusters
from motive.curate.groups import source_of
from motive.data import DecoderPool, Failure, write_video
from motive.data.video.frame_hash import HASHED, frame_hash
from motive.errors import DatasetError, OptionError
from motive.scores.file import ScoreFile
from motive.scores.selection import read_record, selected_rows
from motive.scoring import ScoreConfig, score
from motive.store import Origin, Source, Store, StoreRow

DIM = 8
IDENTITY = {"projection": {"dim": DIM}, "gradient": {}}
Pool = Callable[..., Path]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """pool(rows) -> scores; clip n ranks n-th for the query ``good``, by a separate cosine."""

    def make(
        count: int = 40,
        columns: Callable[[int], dict[str, str]] = lambda n: {},
        captions: Callable[[int], str] = lambda n: "",
        facts: Callable[[int], dict[str, Any]] = lambda n: {},
        vectors: np.ndarray | None = None,
        config: ScoreConfig | None = None,
    ) -> Path:
        (tmp_path / "data").mkdir()
        angles = np.linspace(0.1, 1.4, count)
        given = np.zeros((count, DIM)) if vectors is None else vectors
        if vectors is None:
            rng = np.random.default_rng(1)
            given[:, 0] = np.cos(angles)
            rest = rng.standard_normal((count, DIM - 1))
            given[:, 1:] = np.sin(angles)[:, None] * rest / np.linalg.norm(rest, axis=1, keepdims=True)
        source = Source(str(tmp_path / "data"), "folder", str(tmp_path / "data"))
        store = Store.create(tmp_path / "store", identity=IDENTITY, origin=Origin(source))
        store.append([
            StoreRow(f"c{n:03d}.mp4", given[n].astype(np.float32), {
                "path": str(tmp_path / f"data/c{n:03d}.mp4"), "caption": captions(n),
                "columns": json.dumps(columns(n)), **facts(n)})
            for n in range(count)
        ])  # fmt: skip
        queries = Store.create(tmp_path / "queries", identity=IDENTITY)
        good, bad = np.eye(DIM, dtype=np.float32)[:2]
        queries.append([StoreRow("good", good), StoreRow("bad", bad)])
        score(store, queries, tmp_path / "scores.parquet", config)
        return tmp_path / "scores.parquet"

    return make


def run(scores: Path, name: str = "out", **options: Any) -> tuple[list[int], dict[str, Any], Selection]:
    """Numbers of the clips taken, the record, and the result."""
    config = SelectConfig(**{"by": "query:good", "format": "list", **options})
    done = select(scores, scores.parent / name, config)
    record = json.loads((scores.parent / name / "selection.json").read_text())
    numbers = [int(clip_id[1:4]) for clip_id in done.clip_ids]
    listed = [int(Path(line).stem[1:]) for line in (scores.parent / name / "clips.txt").read_text().splitlines()]
    assert listed == numbers
    return numbers, record, done


def left(record: dict[str, Any], reason: str) -> dict[int, str]:
    found = [entry["each"] for entry in record["explanation"] if entry["reason"] == reason]
    return {int(clip_id[1:4]): words for each in found for clip_id, words in each.items()}


def test_a_cap_is_kept_for_every_group_and_for_the_missing(pool: Pool) -> None:
    cameras = ["pan", "", "zoom", "pan", "pan"]
    scores = pool(columns=lambda n: {"camera": cameras[n % 5]} if n % 5 != 1 or n % 2 else {"other": "x"})
    taken, record, done = run(scores, top="8", max_per=("camera=2",))
    expected, counts = [], Counter[str]()
    for n in range(40):
        value = cameras[n % 5]
        if len(expected) < 8 and counts[value] < 2:
            counts[value] += 1
            expected.append(n)
    assert taken == expected, "three groups of two: pan, zoom, and those without a camera"
    assert len(taken) == 6
    words = left(record, "cap")
    assert words[4] == "camera pan has its 2 already"
    assert words[11] == "camera (missing) has its 2 already", "no column and an empty cell are one group"
    assert done.unmet == ("the rules leave 6 clips, fewer than the 8 asked for",)
    assert done.unmet[0] in done.lines()


def test_caps_by_index_column_source_and_share(pool: Pool) -> None:
    scores = pool(
        facts=lambda n: {"source_width": 640 if n < 20 else 1280},
        columns=lambda n: {"source_video": f"s{n // 4}"},
    )
    taken, record, _ = run(scores, top="10", max_per=("source_width=50%", "source=1"))
    assert taken == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    assert left(record, "cap")[1] == "source s0 has its 1 already"
    taken, _, _ = run(scores, top="10", max_per=("column:source_video=3",))
    assert taken == [0, 1, 2, 4, 5, 6, 8, 9, 10, 12]


def test_quotas_are_filled_from_below_the_cut(pool: Pool) -> None:
    scores = pool(columns=lambda n: {"camera": "pan" if n % 10 == 9 else "static"})
    taken, record, done = run(scores, top="6", min_per=("camera:pan=50%",))
    assert taken == [0, 1, 2, 9, 19, 29]
    assert record["quotas"] == [{"group": "camera", "value": "pan", "asked": 3, "taken": 3}]
    words = left(record, "quota")
    assert words[29].startswith("rank 30 of 40: query/good ")
    assert words[29].endswith("; counts for the quota of camera pan (3 of 3)")
    assert set(left(record, "reserved")) >= {3, 4, 5}
    assert done.unmet == ()


def test_a_quota_that_cannot_be_met_gives_its_places_back(pool: Pool) -> None:
    scores = pool(columns=lambda n: {"camera": "pan"} if n == 30 else {})
    taken, record, done = run(scores, top="6", min_per=("camera:pan=3", "camera:=2"))
    assert taken == [0, 1, 2, 3, 4, 30]
    assert done.unmet == ("only 1 of the 3 clips whose camera is pan could be taken",)
    assert record["unmet"] == list(done.unmet)
    with pytest.raises(OptionError, match="min_per must fit the 4 clips that are taken, got 5 in all"):
        run(scores, top="4", min_per=("camera:pan=3", "camera:=2"))


def test_a_column_that_no_clip_has_is_refused(pool: Pool) -> None:
    scores = pool()
    with pytest.raises(OptionError, match="must name a column that clips have, got 'kamera'"):
        run(scores, max_per=("kamera=2",))
    assert not (scores.parent / "out").exists()


def test_clips_of_unwanted_motion_are_left_out(pool: Pool) -> None:
    scores = pool(config=ScoreConfig(groups={"bad": "shaky"}))
    bad = np.asarray(ScoreFile(scores, "test").column("query/bad").to_numpy())
    worst = np.argsort(-bad, kind="stable")[:10]
    for against in ("query:bad", "group:shaky"):
        taken, record, _ = run(scores, top="10", against=(against,), against_top="25%")
        assert taken == [n for n in range(40) if n not in set(worst.tolist())][:10]
        words = left(record, "against")
        assert set(words) == {n for n in worst.tolist() if n < taken[-1]}
        first = min(words, key=lambda n: worst.tolist().index(n))
        assert f"for {against}, score {bad[first]:.4g}" in words[first]
    with pytest.raises(OptionError, match=r"against and weight must name a query or group of .*, got 'query:none'"):
        run(scores, against=("query:none",))


def test_a_weighted_ranking(pool: Pool) -> None:
    scores = pool(config=ScoreConfig(groups={"bad": "shaky"}))
    file = ScoreFile(scores, "test")
    good, bad = (np.asarray(file.column(f"query/{q}").to_numpy(), np.float64) for q in ("good", "bad"))
    taken, record, done = run(scores, by="weighted", weight=("query:good=2", "group:shaky=-0.5"), top="7")
    assert taken == np.argsort(-(2 * good - 0.5 * bad), kind="stable")[:7].tolist()
    assert done.by == "weighted"
    assert "group:shaky is counted with weight -0.5" in record["rules"]


def test_the_worst_clips(pool: Pool) -> None:
    scores = pool()
    taken, record, _ = run(scores, bottom="5")
    assert taken == [39, 38, 37, 36, 35]
    assert record["rules"][0].startswith("the 5 worst of 40 clips")
    taken, _, _ = run(scores, by="votes", bottom="10%")
    assert len(taken) == 4


def test_equal_clips_at_the_bottom_are_told_apart_by_id(pool: Pool) -> None:
    scores = pool(12, vectors=np.ones((12, DIM)))
    assert run(scores, bottom="3")[0] == [0, 1, 2]
    assert run(scores, top="3", name="top")[0] == [0, 1, 2]


@pytest.mark.parametrize(("block", "slab"), [(512, 8192), (3, 2)])
def test_near_duplicates_by_vector(pool: Pool, monkeypatch: pytest.MonkeyPatch, block: int, slab: int) -> None:
    """The same clips as a loop over pairs, however the store is cut into blocks."""
    monkeypatch.setattr(choose, "_BLOCK", block)
    monkeypatch.setattr(choose, "_CHUNK", 4 * block)
    monkeypatch.setattr(similar, "_SLAB", slab)
    rng = np.random.default_rng(0)
    base = rng.standard_normal((12, DIM))
    vectors = base[rng.integers(0, 12, 60)] * rng.uniform(0.1, 9, (60, 1)) + 0.15 * rng.standard_normal((60, DIM))
    vectors[7] = 0
    scores = pool(60, vectors=vectors)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    order = np.argsort(-np.asarray(ScoreFile(scores, "test").column("query/good").to_numpy()), kind="stable")
    expected: list[int] = []
    for n in order.tolist():
        if all(units[n] @ units[m] < 0.9 for m in expected) and len(expected) < 20:
            expected.append(n)
    taken, record, _ = run(scores, top="20", max_vector_similarity=0.9)
    assert taken == expected
    words = left(record, "near_vector")
    for n, text in words.items():
        cosine, other = float(text.split()[1]), int(text.split()[-1][1:4])
        assert cosine == pytest.approx(float(units[n] @ units[other]), abs=1e-3)
        assert other in taken


def film(path: Path, seed: int, size: int = 32, noise: int = 0) -> None:
    rng = np.random.default_rng(seed)
    still = rng.integers(0, 255, (8, 9, 3)).repeat(size // 8, 0).repeat(size // 8, 1)[:, : size + size % 2]
    frames = np.clip(still[None] + rng.integers(-noise, noise + 1, (12, 1, 1, 1)), 0, 255).astype(np.uint8)
    write_video(path, frames, fps=8)


def test_near_duplicates_by_pictures(pool: Pool) -> None:
    scores = pool(count=6)
    data = scores.parent / "data"
    for n, (seed, size, noise) in enumerate([(1, 32, 0), (2, 32, 0), (1, 64, 9), (3, 32, 0), (2, 32, 3), (4, 32, 0)]):
        film(data / f"c{n:03d}.mp4", seed, size, noise)
    taken, record, _ = run(scores, top="6", max_frame_similarity=0.85)
    assert taken == [0, 1, 3, 5], "another size and brightness of the same pictures is a duplicate"
    words = left(record, "near_frames")
    assert words[2].endswith("of the bits of its pictures are those of c000.mp4")
    assert words[4].endswith("c001.mp4")
    (data / "c003.mp4").write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"the pictures of .*c003\.mp4 cannot be compared"):
        run(scores, "second", top="6", max_frame_similarity=0.85)


def test_pictures_are_decoded_in_another_process(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ends its decoder ends no selection but with a message."""
    scores = pool(count=3)
    data = scores.parent / "data"
    for n in range(3):
        film(data / f"c{n:03d}.mp4", n)
    here = [frame_hash(data / f"c{n:03d}.mp4", 1.0) for n in range(3)]
    with DecoderPool(HASHED) as decoders:
        there = [frame_hash(data / f"c{n:03d}.mp4", 1.0, decoders.load_clip) for n in range(3)]
        assert decoders.started == 1
    np.testing.assert_array_equal(here, there)

    def in_this_process(*args: object, **kwargs: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("motive.data.video.clips.decode_at", in_this_process)
    assert run(scores, top="3", max_frame_similarity=0.85)[0] == [0, 1, 2]


def test_captions_are_capped_by_cluster(pool: Pool) -> None:
    words = ["a dog runs on the beach", "the dogs run over a beach", "a red car drives in rain", ""]
    scores = pool(captions=lambda n: words[n % 4] if n % 4 in (2, 3) else f"{words[n % 4]} at noon")
    taken, record, _ = run(scores, top="12", max_per=("caption=3",), caption_clusters=2)
    counts = Counter("dog" if n % 4 < 2 else n % 4 for n in taken)
    assert counts == {"dog": 3, 2: 3, 3: 3}, "clips without a caption are a group"
    assert any("(missing)" in text for text in left(record, "cap").values())
    assert any("car" in text for text in left(record, "cap").values()), "a cluster is named by its words"


def test_caption_clusters_do_not_depend_on_batches() -> None:
    rng = np.random.default_rng(3)
    topics = [["dog", "beach", "run"], ["car", "rain", "drive"], ["cook", "pan", "egg"]]
    captions = [" ".join(rng.choice(topics[n % 3], 6)) + f" take {n}" for n in range(90)]
    clusters = CaptionClusters(captions, 3)
    found = clusters.of(captions)
    assert [clusters.of([caption])[0] for caption in captions] == found
    assert len(set(found)) == 3
    for topic in range(3):
        assert Counter(found[topic::3]).most_common(1)[0][1] >= 27, "captions of one topic are mostly together"
    assert clusters.of(["", "!!"]) == ["", ""]
    assert CaptionClusters(["", ""], 5).of(["a"]) == ["cluster 1 ()"]


@pytest.mark.parametrize(
    ("clip_id", "columns", "source"),
    [
        ("x/NjDCwU95uGM-Scene-0013.mp4", {}, "x/NjDCwU95uGM"),
        ("a_clip_3.mp4", {}, "a"),
        ("a_003.mp4", {}, "a"),
        ("a (2).mp4", {}, "a (2)"),
        ("a#b_1.mp4", {}, "a#b"),
        ("day/0001.mp4", {}, "day"),
        ("0001.mp4", {}, "0001"),
        ("a.mp4", {"source": " s "}, "s"),
        ("a.mp4", {"source": "s", "source_video": "v"}, "v"),
        ("a.mp4", {"source_video": ""}, "a"),
    ],
)
def test_the_source_of_a_clip(clip_id: str, columns: dict[str, str], source: str) -> None:
    assert source_of(clip_id, columns) == source


ALL: dict[str, Any] = {
    "by": "votes",
    "top": "12",
    "min_votes": 0,
    "max_per": ("camera=4", "source=9"),
    "min_per": ("camera:zoom=3",),
    "against": ("query:bad",),
    "max_vector_similarity": 0.97,
}


def test_every_clip_has_a_reason(pool: Pool) -> None:
    scores = pool(60, columns=lambda n: {"camera": ["pan", "zoom", "tilt", ""][n * 7 % 4]})
    Store.open(scores.parent / "store").append_failures(
        [Failure("bad.mp4", "/x/bad.mp4", "decode", "truncated", "it ends early")]
    )
    taken, record, _ = run(scores, **ALL)
    entries = record["explanation"]
    assert sum(entry["clips"] for entry in entries) == 60
    assert sum(entry["clips"] for entry in entries if entry["taken"]) == len(taken)
    named = [clip_id for entry in entries for clip_id in entry["each"] or ()]
    assert len(set(named)) == len(named), "each clip has one reason"
    assert all(len(entry["each"]) == entry["clips"] for entry in entries if entry["each"] is not None)
    assert {int(name[1:4]) for entry in entries if entry["taken"] for name in entry["each"]} == set(taken)
    assert all(text for entry in entries for text in (entry["words"], *(entry["each"] or {"": "x"}).values()))
    assert record["failed"]["each"] == {"bad.mp4": "decode: truncated: it ends early"}
    assert len(record["rules"]) == 6
    again, second, _ = run(scores, "again", **ALL)
    assert again == taken
    assert second["explanation"] == entries, "the same every time"


def test_the_rows_of_a_ruled_selection_are_found_again(pool: Pool) -> None:
    scores = pool(60, columns=lambda n: {"camera": str(n % 3)})
    file = ScoreFile(scores, "test")
    for options in ({"max_per": ("camera=2",), "top": "5"}, {"bottom": "4"}, {"top": "4"}, {"by": "mean", "top": "9"}):
        taken, _, _ = run(scores, **options)
        record = read_record(scores.parent / "out", "test")
        rows = selected_rows(record, file)
        assert rows is not None
        assert rows.tolist() == taken
    run(scores, max_per=("camera=2",), top="5")
    record = read_record(scores.parent / "out", "test")
    for wrong in ([1, 1, 2, 3, 4], [0, 1, 2, 3, 60], [-1, 1, 2, 3, 4], [1, 2], "x", [None] * 5):
        assert selected_rows({**record, "rows": wrong}, file) is None


def test_without_rules_the_walk_is_the_head_of_the_ranking(pool: Pool) -> None:
    scores = pool(50)
    for by in ("votes", "mean", "max"):
        for votes in (0, 1):
            taken, record, _ = run(scores, by=by, top="40%", min_votes=votes)
            rows = selected_rows(read_record(scores.parent / "out", "test"), ScoreFile(scores, "test"))
            assert "rows" not in record
            assert rows is not None
            assert rows.tolist() == taken


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"top": "5", "bottom": "5"}, r"top must be left out with bottom 5, got '5'; give one of them"),
        ({"bottom": "5", "min_votes": 1}, "min_votes must be left out with bottom"),
        ({"bottom": "5", "by": "drop_bottom"}, "bottom must be left out with by drop_bottom"),
        ({"bottom": "x"}, "SelectConfig: bottom must be a share"),
        ({"weight": ("query:a=1",)}, "weight must be left out with by votes"),
        ({"by": "weighted"}, "weight must be given with by weighted"),
        ({"by": "weighted", "weight": ("a=1",)}, "weight must be query:ID=NUMBER"),
        ({"by": "weighted", "weight": ("query:a=nan",)}, "weight must be query:ID=NUMBER"),
        ({"by": "weighted", "weight": ("query:a=1", "query:a=2")}, "weight must name each group once"),
        ({"against": ("bad",)}, "against must be query:<clip id> or group:<name>"),
        ({"against_top": "5"}, "against_top must be left out with against none"),
        ({"max_per": ("source",)}, "max_per must be GROUP=AMOUNT"),
        ({"max_per": ("=5",)}, "max_per must be GROUP=AMOUNT"),
        ({"max_per": ("a=5", "a=6")}, "max_per must name each group once"),
        ({"min_per": ("camera=5",)}, "min_per must be GROUP:VALUE=AMOUNT"),
        ({"caption_clusters": 5}, "caption_clusters must be left out with max_per no rule about captions"),
        ({"caption_clusters": 1, "max_per": ("caption=1",)}, "caption_clusters must be 2 to 10000"),
        ({"max_vector_similarity": 0.0}, r"max_vector_similarity must be in \(0, 1\]"),
        ({"max_frame_similarity": 1.5}, r"max_frame_similarity must be in \(0, 1\]"),
    ],
)
def test_wrong_rules_say_what_is_right(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        SelectConfig(**options)


def test_values_with_colons_and_columns_of_reserved_names() -> None:
    (quota,) = SelectConfig(min_per=("column:source:a:b=3",)).quotas
    assert (quota.by.kind, quota.by.column, quota.value) == ("column", "source", "a:b")
    (cap,) = SelectConfig(max_per=("column:caption=2",)).caps
    assert (cap.by.kind, cap.by.column) == ("column", "caption")
