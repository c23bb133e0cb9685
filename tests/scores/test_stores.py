"""The way back from scores to their stores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from motive.config import to_json
from motive.data import ClipSpec
from motive.errors import StoreError
from motive.scores.file import ScoreFile
from motive.scores.stores import ScoredStores
from motive.scoring import score
from motive.store import Store, StoreRow
from motive.store.fingerprint import digest_json

PROJECTION = {"kind": "tensor_sketch", "dim": 3}
GRADIENT = {
    "loss": "x/1", "family": "toy", "fingerprints": {}, "settings": {}, "mask": {}, "motion_source": {},
    "standard": to_json(ClipSpec()), "draws": {"per_draw": "sum"}, "latent_shape": [4, 1, 2, 2],
}  # fmt: skip


def store_of_version_1(folder: Path) -> Store:
    """An empty store whose manifest has the names of version 1."""
    identity = {"projection": PROJECTION, "gradient": GRADIENT}
    record = {
        "format": "motive.store", "version": 1, "created": "", "package": {"name": "motive", "version": "0.1.0"},
        "identity": identity, "identity_digest": {name: digest_json(part) for name, part in identity.items()},
        "dim": 3, "columns": {}, "extra": {},
    }  # fmt: skip
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({**record, "digest": digest_json(record)}))
    return Store.open(folder)


def test_stores_of_both_versions_are_found_again(tmp_path: Path) -> None:
    """Equal identities have other digests in version 1, whose fields have other names."""
    old = store_of_version_1(tmp_path / "old")
    new = Store.create(tmp_path / "new", identity=old.identity.to_json())
    other = Store.create(tmp_path / "other", identity={"projection": PROJECTION, "gradient": {"weights": "12"}})
    for number, store in enumerate((old, new, other)):
        store.append([StoreRow(f"clip-{number}", np.eye(3, dtype=np.float32)[number])])
    for order in ((old, new), (new, old)):
        scores = score([store.path for store in order], new.path, tmp_path / "s.parquet").path
        header = ScoreFile(scores, "test").metadata
        found = ScoredStores(header, "store", "test")
        assert [store.location for store in found.stores] == [store.location for store in order]
        with pytest.raises(StoreError, match="with other settings"):
            ScoredStores(header, "store", "test", [order[0], other])
        with pytest.raises(StoreError, match="with other settings"):
            ScoredStores(header, "store", "test", [other, other])
