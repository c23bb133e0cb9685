"""Errors cross from one process to another whole."""

from __future__ import annotations

import copy
import pickle

import pytest

from motive.errors import ClipError, ConfigError, IdentityMismatch, MissingExtra, OptionError, StoreError, WorkerLost

ERRORS = [
    ClipError("too_short", "2 frames"),
    ConfigError("DrawConfig", "{low} must be below {high}, got 1"),
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


def test_a_config_error_speaks_of_parameters_in_python_and_of_flags_on_the_command_line() -> None:
    error = ConfigError("index", "{draws.low} must be below {draws.high}, got 1")
    assert str(error) == "index: draws.low must be below draws.high, got 1"
    flags = error.with_flags(lambda name: "--" + name.replace(".", "-"))
    assert str(flags) == "--draws-low must be below --draws-high, got 1"
