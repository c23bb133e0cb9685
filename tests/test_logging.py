"""Log records of the library, and its silence by default."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from motive.cli.main import main
from motive_kernels.runtime import dispatch

ROOT = Path(__file__).resolve().parent.parent


def test_a_library_user_sees_nothing_by_default() -> None:
    code = (
        "import logging, motive, motive_kernels\n"
        "for name in ('motive', 'motive_kernels'): logging.getLogger(name + '.x').error('said')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_choice_of_a_back_end_is_logged_once_with_what_was_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    functions = {"cpp": print, "torch": repr}
    op = dispatch.Op("logged_op", functions, dtypes=(torch.float16,), absent={"cuda": "a test", "triton": "a test"})
    try:
        with caplog.at_level(logging.DEBUG, logger="motive_kernels"):
            for _ in range(3):
                assert op.choose(None, "cpu", torch.float64) is repr
    finally:
        dispatch.OPS.pop("logged_op")
    said = [record for record in caplog.records if record.getMessage().startswith("logged_op")]
    assert [(record.levelno, record.getMessage()) for record in said] == [
        (logging.INFO, "logged_op on cpu, torch.float64: torch (cpp: cpp takes float16)")
    ]


@pytest.mark.parametrize(("flags", "shown"), [([], False), (["-v"], True), (["-vv"], True)])
def test_verbose_shows_log_lines_on_stderr(
    flags: list[str], shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report() -> object:
        logging.getLogger("motive.indexing.setup").info("model toy on cpu \x1b[2J")
        raise KeyboardInterrupt

    monkeypatch.setattr("motive.cli.job_verbs.doctor", report)
    main(["doctor", *flags])
    error = capsys.readouterr().err
    assert ("motive.indexing.setup: model toy on cpu ?[2J" in error) is shown
