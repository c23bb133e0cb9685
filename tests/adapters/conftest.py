from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_pipelines import build_tiny
from tests.tiny_wan import build_tiny_wan


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny pipeline of that name, made once; not to be changed."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            path = tmp_path_factory.mktemp("models") / "model"
            made[name] = build_tiny_wan(path) if name == "wan" else build_tiny(name, path)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def tiny_wan(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("wan")
