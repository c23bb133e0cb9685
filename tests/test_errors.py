"""Errors cross from one process to another whole."""

from __future__ import annotations

import copy
import pickle

import pytest

from motive.errors import ClipError, IdentityMismatch, MissingExtra, OptionError, StoreError, WorkerLost

ERRORS = [
    ClipError("too_short", "2 frames"),
    IdentityMismatch("query", {"gradient.seed": (1, 2)}),
    MissingExtra("store", "fsspec", "remote"),
    OptionError("a: b must be c, got d; do e"),
    StoreError("a: b must be c, got d; do e"),
    WorkerLost("a: b must be c, got d; do e"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_and_copying(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
