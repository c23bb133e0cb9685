"""Vectors on disk: a folder of checksummed shards that many writers add to and readers see as one list."""

from __future__ import annotations

from motive.store.identity import compare_identities, require_same_identity
from motive.store.ids import ClipIds
from motive.store.store import Store
from motive.store.tables import INDEX_COLUMNS
from motive.store.verify import Finding, VerifyReport, verify_store
from motive.store.writer import StoreRow, Writer

__all__ = [
    "INDEX_COLUMNS",
    "ClipIds",
    "Finding",
    "Store",
    "StoreRow",
    "VerifyReport",
    "Writer",
    "compare_identities",
    "require_same_identity",
    "verify_store",
]
