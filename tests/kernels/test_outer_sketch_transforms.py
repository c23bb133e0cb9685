"""The factorized route by Fourier transforms on the CPU: sketch widths that are powers of two, sides that are longer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from motive_kernels.ops.outer_sketch import api
from tests.kernels.sketch_data import Tables, outer, tokens

WIDTHS = {128: Tables(130, 200, 128), 256: Tables(300, 257, 256), 512: Tables(512, 600, 512)}
"""Both sides at least as long as the sketch, so that transforms are taken (csrc/cpu/outer_sketch.cpp)."""


def sketch(x: Tensor, dy: Tensor, tables: Tables, lengths: Tensor | None = None) -> Tensor:
    z = torch.zeros(x.shape[0], tables.rows.shape[1])
    api.outer_sketch_into(z, x, dy, tables.rows, tables.columns, lengths=lengths, impl="cpp")
    return z


def sizes(k: int) -> tuple[int, int]:
    _, o, i = WIDTHS[k].shape
    return o, i


@pytest.mark.parametrize("t", [1, 5, 17, 300])
@pytest.mark.parametrize("k", WIDTHS)
def test_every_level_equals_the_matrix(level: str, k: int, t: int) -> None:
    """With massive constant channels, and dy that sums to zero: the terms are 300 times their sum."""
    x, dy = tokens(2, t, *sizes(k))
    wanted = WIDTHS[k].apply(outer(x, dy))
    allowed = 1e-5 * (dy.double().square().sum(-1) * x.double().square().sum(-1)).sum(-1).sqrt()
    error = (sketch(x, dy, WIDTHS[k]).double() - wanted).norm(dim=1)
    assert (error <= allowed).all(), f"{level}: errors {error.tolist()}, allowed {allowed.tolist()}"


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_sides_of_unlike_size_keep_their_accuracy(scale: float) -> None:
    x, dy = tokens(1, 40, *sizes(128))
    small = sketch(x, dy * scale, WIDTHS[128])
    torch.testing.assert_close(small / scale, sketch(x, dy, WIDTHS[128]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_tokens(dtype: torch.dtype) -> None:
    x, dy = (v.to(dtype) for v in tokens(2, 33, *sizes(128)))
    torch.testing.assert_close(
        sketch(x, dy, WIDTHS[128]), sketch(x.float(), dy.float(), WIDTHS[128]), rtol=1e-5, atol=1e-2
    )


def test_ragged_samples_ignore_what_follows_them() -> None:
    lengths = torch.tensor([0, 1, 9, 300, 257])
    x, dy = tokens(5, 300, *sizes(128))
    for s, length in enumerate(lengths.tolist()):
        x[s, length:] = torch.nan
        dy[s, length:] = torch.inf
    together = sketch(x, dy, WIDTHS[128], lengths)
    assert not together[0].any()
    for s, length in enumerate(lengths.tolist()):
        if length:
            alone = sketch(x[s : s + 1, :length], dy[s : s + 1, :length], WIDTHS[128])
            torch.testing.assert_close(together[s : s + 1], alone, rtol=1e-5, atol=1e-2)
    assert not sketch(x, dy, WIDTHS[128], torch.zeros(5, dtype=torch.int64)).any()


def test_a_bad_token_spoils_its_own_sample_and_shows() -> None:
    x, dy = tokens(3, 30, *sizes(128))
    x[1, 17, 3] = torch.nan
    assert torch.isfinite(sketch(x, dy, WIDTHS[128])).all(1).tolist() == [True, False, True]


def test_bits_do_not_depend_on_threads_or_batch(threads: Callable[[int], AbstractContextManager[None]]) -> None:
    x, dy = tokens(3, 700, *sizes(128))
    with threads(1):
        one = sketch(x, dy, WIDTHS[128])
    with threads(3):
        three = sketch(x, dy, WIDTHS[128])
    assert torch.equal(one, three)
    assert torch.equal(one[1:2], sketch(x[1:2], dy[1:2], WIDTHS[128]))
