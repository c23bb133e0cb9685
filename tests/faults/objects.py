"""An S3 server that fails while stores are written and read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from motive.store import Store, StoreRow, compact, repair_store
from tests.faults.rows import Row, check_equal, require
from tests.faults.s3 import Faults, s3_server
from tests.faults.synthetic import Synthetic, SyntheticJob


def run(quick: bool, folder: Path) -> list[Row]:
    """Write, append, compact and read stores until enough requests have failed; nothing where moto is absent."""
    if not all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask_cors")):
        return []
    wanted, faults = 8 if quick else 120, Faults(seed=0)
    stores = 0
    with s3_server(faults) as bucket:
        while sum(faults.seen.values()) < wanted:
            job, location = SyntheticJob(36, work=Synthetic(dim=16)), f"{bucket}/store-{stores}"
            expected = job.expected()
            faults.share = 0.25
            store = job.begin(location)
            for part in range(2):
                ids = sorted(expected)[part::2]
                for start in range(0, len(ids), 6):
                    shard = ids[start : start + 6]
                    store.append([StoreRow(c, expected[c], {"path": c, "loss": 1.0}) for c in shard])
            if stores % 2:
                compact(location)
            read = Store.open(location)
            same = read.vectors().tobytes() == np.stack([expected[c] for c in sorted(expected)]).tobytes()
            require(read.clip_ids == sorted(expected) and same, "read through faults: other content")
            faults.share = 0.0
            repair_store(location, sweep=True)
            check_equal(location, expected, "S3 faults")
            stores += 1
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(faults.seen.items()))
    note = f"{stores} stores, {faults.requests} requests; {kinds} (moto's server; a quarter of the requests fail)"
    return [Row("S3 faults", sum(faults.seen.values()), "stores verify and equal an undisturbed run's", note)]
