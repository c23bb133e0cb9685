from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_wan import build_tiny_wan


@pytest.fixture(scope="session")
def tiny_wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_wan(tmp_path_factory.mktemp("models") / "tiny-wan")
