"""Every op once or more at small ragged sizes: what compute-sanitizer runs over.

    compute-sanitizer --tool memcheck python -m benchmarks.kernels.gpu_small
    python -m benchmarks.kernels.gpu_small --rehearse     # on the CPU, where this only tests the program

The cases come from motive_kernels/ops/<op>/cases.py and reach every CUDA kernel. Results are only tested to be finite:
tests/gpu holds them against float64.
"""

from __future__ import annotations

import argparse
import sys

import torch

from motive_kernels.ops import registry
from motive_kernels.ops.cases import Case, Draw
from motive_kernels.runtime import dispatch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def run(case: Case, impl: str) -> None:
    """One call.

    Raises:
        RuntimeError: a result is not a number. Rows that a filter leaves out score minus infinity.
    """
    results = dispatch.OPS[case.op].functions[impl](*case.arguments)
    for value in (case.arguments[0],) if results is None else results:
        if isinstance(value, torch.Tensor) and (value.isnan() | value.isposinf()).any():
            raise RuntimeError(f"benchmarks: {case.op} gives {value}; run tests/gpu")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="the C++ kernels, on the CPU")
    device, impl = ("cpu", "cpp") if parser.parse_args(arguments).rehearse else ("cuda", "cuda")
    for dtype in DTYPES:
        for name in registry.names():
            for case in registry.cases(name).small(Draw(dtype, device)):
                if impl in dispatch.OPS[case.op].functions:
                    run(case, impl)
    if device == "cuda":
        torch.cuda.synchronize()
    print(f"every {impl} kernel ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
