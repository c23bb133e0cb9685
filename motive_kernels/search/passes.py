"""The passes by name, each imported when it is first used."""

from __future__ import annotations

from collections.abc import Mapping

from motive_kernels.search.base import Found, Pass, Queries, Rows, Wanted


def cpp(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
    """The C++ pass."""
    from motive_kernels.search import cpp

    return cpp.scan(queries, rows, wanted)


def triton(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
    """The Triton pass."""
    from motive_kernels.search import triton

    return triton.scan(queries, rows, wanted)


BY_NAME: Mapping[str, Pass] = {"cpp": cpp, "triton": triton}
