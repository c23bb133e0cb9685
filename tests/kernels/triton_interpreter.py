"""Running Triton kernels on the CPU: for tests in a separate process, since Triton reads the variable at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def interpreted() -> bool:
    """Whether this process runs Triton kernels in the interpreter."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def run_interpreted(file: str) -> None:
    """Run a test file again in a process that interprets Triton, and fail with its output if it fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{file} fails in the Triton interpreter:\n{done.stdout}\n{done.stderr}"


def repair() -> None:
    """Let loop bounds be values of the kernel with NumPy >= 2.4 (triton-lang/triton issue 9171)."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched
