"""Every op, found by its folder, on a GPU: CUDA and Triton against the reference in float64 on the CPU."""

from __future__ import annotations

import pytest
import torch

from motive_kernels.runtime import dispatch
from tests.kernels.every_op import DTYPES, compare, folders, small


@pytest.mark.parametrize(("name", "impl"), [(name, impl) for impl in ("cuda", "triton") for name in folders(impl)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gpu_is_the_reference(name: str, impl: str, dtype: torch.dtype) -> None:
    if (reason := dispatch.unavailable(impl)) is not None:
        pytest.skip(reason)
    for case in small(name, dtype, impl):
        if impl == "triton" and case.op == "tensor_sketch_into" and case.arguments[0].shape[1] > 4096:
            continue  # interpreted tables: minutes of compilation for one width that CUDA covers
        compare(case, impl, "cuda")
