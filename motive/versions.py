"""Versions behind a result: those of packages, and the commit of a source tree."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "motive",
    "torch",
    "numpy",
    "safetensors",
    "triton",
    "diffusers",
    "transformers",
    "av",
    "opencv-python-headless",
    "pyarrow",
)


def versions() -> dict[str, str | None]:
    """Version of each package that can change a result; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_commit() -> str | None:
    """Commit of the source tree this package runs from, or None outside one."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # else it is a repository around site-packages
        return git("rev-parse", "HEAD") or None
    except (OSError, subprocess.SubprocessError):
        return None
