"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Thirty clips and four queries."""
    return make_world(tmp_path)
