"""The command line says what verbs there are before it loads a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-verb"]], ids=" ".join)
def test_help_loads_no_library(arguments: list[str]) -> None:
    """Of what takes a second to import; each verb is loaded when it is asked for."""
    code = (
        "import sys\n"
        "from motive.cli.main import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'torch', 'numpy', 'pyarrow', 'av', 'diffusers'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.splitlines()[-1] == "[]", answer.stdout
