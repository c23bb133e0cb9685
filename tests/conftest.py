"""Shared by every test: seeds that do not depend on the order, no clocks, and a mark for tests that take long."""

from __future__ import annotations

import atexit
import importlib.util
import os
import random
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; no result depends on it

if "MOTIVE_TEST_HOME" not in os.environ:  # what the user's home holds (measured speeds, models) changes no test
    os.environ.setdefault("TRITON_CACHE_DIR", str(Path(__file__).resolve().parent.parent / "build" / "triton"))
    os.environ["HOME"] = tempfile.mkdtemp(prefix="motive-home-")
    atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)

if importlib.util.find_spec("hypothesis"):  # a GPU machine that runs a few folders may lack it
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "suite", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("suite")  # no limit on time, no folder in the current one, the same examples everywhere


def _seed(name: str) -> None:
    """Seed every global generator from a name, so that data do not depend on which tests ran before."""
    number = zlib.crc32(name.encode())
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    _seed(f"fixture {fixturedef.argname}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    _seed(pyfuncitem.nodeid)
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that `make test` leaves out says why."""
    for item in items:
        mark = item.get_closest_marker("long")
        if mark is not None and not (mark.args and isinstance(mark.args[0], str)):
            raise pytest.UsageError(f"{item.nodeid}: mark.long must give a reason, got {mark}; say what takes the time")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seed = config.getoption("randomly_seed", None)
    if isinstance(seed, int):
        terminalreporter.write_line(f"random order {seed}; repeat it with --randomly-seed={seed}")
