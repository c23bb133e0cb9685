"""Vectors on disk: a folder of checksummed shards that many writers add to and readers see as one list."""

from __future__ import annotations

from motive.store.compact import Compaction, compact
from motive.store.identity import (
    BucketList,
    BucketShape,
    Gradient,
    Identity,
    ModelParts,
    compare_identities,
    require_comparable,
    require_same_identity,
)
from motive.store.ids import ClipIds
from motive.store.info import StoreInfo, store_info
from motive.store.manifest import Code, Manifest, Origin, PlanConfig
from motive.store.merge import Merge, merge_stores
from motive.store.repair import RepairReport, repair_store
from motive.store.source import Source
from motive.store.store import Store
from motive.store.tables import INDEX_COLUMNS
from motive.store.verify import Finding, VerifyReport, verify_store
from motive.store.writer import StoreRow

__all__ = [
    "INDEX_COLUMNS",
    "BucketList",
    "BucketShape",
    "ClipIds",
    "Code",
    "Compaction",
    "Finding",
    "Gradient",
    "Identity",
    "Manifest",
    "Merge",
    "ModelParts",
    "Origin",
    "PlanConfig",
    "RepairReport",
    "Source",
    "Store",
    "StoreInfo",
    "StoreRow",
    "VerifyReport",
    "compact",
    "compare_identities",
    "merge_stores",
    "repair_store",
    "require_comparable",
    "require_same_identity",
    "store_info",
    "verify_store",
]
