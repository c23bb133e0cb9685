"""Compiling Triton kernels for a GPU that is not there, and reading what the machine code uses."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kernels.pinned import require_package


@dataclass(frozen=True)
class Compiled:
    """A kernel compiled for sm_90.

    Attributes:
        asm: stage name (ttir, ttgir, llir, ptx, cubin) -> text or bytes.
        metadata: Triton's own record.
        registers: per thread.
        stack_bytes: per thread; more than zero means that registers spilled or an array is indexed at run time.
    """

    asm: Mapping[str, Any]
    metadata: Any
    registers: int
    stack_bytes: int

    def sass(self) -> str:
        """The machine code as text."""
        return _tool("cuobjdump", "-sass", self.asm["cubin"])


def compile_sm90(kernel: Any, signature: Mapping[str, str], constexprs: Mapping[str, Any], **options: Any) -> Compiled:
    """Compile a ``@triton.jit`` function for compute capability 9.0 without a GPU.

    Args:
        kernel: the function.
        signature: argument name -> Triton type ("*fp32", "i32", "fp32", ...), for all but the constexprs. Pointers and
            the integers marked as "i32:16" are taken to be multiples of 16, as a launch would find out.
        constexprs: argument name -> value.
        options: of the launch, e.g. num_warps.

    The test is skipped after compiling where Triton is not the pinned version.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: signature[name].partition(":")[0] if name in signature else "constexpr" for name in kernel.arg_names}
    divisible = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(kernel.arg_names)
        if signature.get(name, "").startswith("*") or signature.get(name, "").endswith(":16")
    }
    source = ASTSource(fn=kernel, signature=types, constexprs=dict(constexprs), attrs=divisible)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    require_package("triton")
    usage = _tool("cuobjdump", "--dump-resource-usage", compiled.asm["cubin"])
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, f"cuobjdump says nothing about registers:\n{usage}"
    return Compiled(compiled.asm, compiled.metadata, int(found[1]), int(found[2]))


def _tool(name: str, flag: str, cubin: bytes) -> str:
    """Run one of the CUDA tools that come with Triton on a cubin."""
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([program, flag, file.name], check=True, capture_output=True, text=True).stdout
