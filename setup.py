"""Builds the compiled extensions with ninja; everything else is in pyproject.toml.

MOTIVE_CUDA=auto (default) builds motive_kernels._cuda if nvcc is found, 1 requires it, 0 leaves it out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent / "csrc"))
import build as native

CPU, CUDA = "motive_kernels._cpu", "motive_kernels._cuda"
NO_CUDA_REASON = native.ROOT / "motive_kernels" / "_cuda_missing.txt"
"""Why a build that looked for CUDA has none: packaged, and shown by motive_kernels.implementations()."""


class BuildExtensions(build_ext):
    """Runs ninja and puts its results where setuptools expects them."""

    def build_extensions(self) -> None:
        choice = os.environ.get("MOTIVE_CUDA", "auto")
        if choice not in ("auto", "1", "0"):
            sys.exit(f"setup.py: MOTIVE_CUDA must be auto, 1 or 0, got {choice!r}; set one of them")
        reason = self._build(choice)
        self._place(CPU)
        if reason is None:
            NO_CUDA_REASON.unlink(missing_ok=True)
            self._place(CUDA)
        else:
            self.extensions = [extension for extension in self.extensions if extension.name != CUDA]
            self._remove_stale(CUDA)
            NO_CUDA_REASON.write_text(reason + "\n")
            print(f"setup.py: built without CUDA: {reason}", file=sys.stderr)

    def _build(self, choice: str) -> str | None:
        """Build what is wanted; None if that is everything, else the reason why CUDA is not in it."""
        nvcc = None if choice == "0" else native.find_nvcc()
        if choice == "1" and nvcc is None:
            sys.exit("setup.py: MOTIVE_CUDA=1 needs nvcc, which is not on PATH; install the CUDA toolkit")
        if nvcc is not None:
            try:
                native.run_ninja(["cuda", "cpu", "libmotive.a"], nvcc)  # one queue: its long steps come first
            except subprocess.CalledProcessError:
                if choice == "1":
                    sys.exit(
                        "setup.py: the CUDA build failed and MOTIVE_CUDA=1 requires it; the compiler's output is above"
                    )
            else:
                return None
        native.run_ninja(["cpu", "libmotive.a"], nvcc)
        if nvcc is not None:
            return f"the CUDA build with {nvcc} failed; do build with MOTIVE_CUDA=1 to see why"
        return "it was built with MOTIVE_CUDA=0" if choice == "0" else "no nvcc was found when it was built"

    def _place(self, name: str) -> None:
        target = Path(self.get_ext_fullpath(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".new")
        shutil.copyfile(native.extension_path(name.rpartition("_")[2]), temporary)
        temporary.chmod(0o755)
        temporary.replace(target)  # A process that has the old file mapped keeps it.

    def _remove_stale(self, name: str) -> None:
        Path(self.get_ext_fullpath(name)).unlink(missing_ok=True)


setup(ext_modules=[Extension(CPU, sources=[]), Extension(CUDA, sources=[])], cmdclass={"build_ext": BuildExtensions})
