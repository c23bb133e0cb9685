"""Every op with a Triton form, found by its folder, against the reference, in Triton's interpreter on the CPU."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from tests.kernels import triton_interpreter
from tests.kernels.every_op import compare, folders, small

pytest.importorskip("triton", reason="the package triton is not installed")
if not triton_interpreter.interpreted():

    def test_in_the_interpreter() -> None:
        """Everything else in this file, in a separate process."""
        triton_interpreter.run_interpreted(__file__)

else:
    triton_interpreter.repair()

    @pytest.mark.parametrize("name", folders("triton"))
    def test_triton_is_the_reference(name: str) -> None:
        """The first case: larger ones take the interpreter minutes."""
        for case in islice(small(name, torch.float32, "triton"), 1):
            compare(case, "triton")
