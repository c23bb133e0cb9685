"""docs/projection.md, followed to the letter in plain Python, gives the matrices that the package uses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import motive_kernels as mk

Words = tuple[int, int, int, int]
Draw = Callable[..., Words]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c[0], c[1], c[2], c[3]


def draws(identifier: str) -> Draw:
    digest = hashlib.md5(identifier.encode(), usedforsecurity=False).digest()
    key = (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))
    return lambda c0, c1, role=0, term=0: philox((c0, c1, role, term), key)


def listed(draw: Draw, j: int, role: int, term: int = 0) -> Words:
    return draw(j % 2**32, j // 2**32, role, term)


def sign_entry(draw: Draw, row: int, column: int, role: int = 0) -> int:
    bit = column % 128
    return 1 if draw(column // 128, row, role)[bit // 32] >> (bit % 32) & 1 else -1


def normal_entry(draw: Draw, row: int, column: int, role: int = 0) -> float:
    words = draw(column // 4, row, role)
    a, b = words[column % 4 // 2 * 2], words[column % 4 // 2 * 2 + 1]
    # ln u through the exact complement of u, so that nothing cancels near u = 1
    minus_log = -math.log1p(-float(1 - Fraction(2 * a + 1, 2**33)))
    wave = math.sin if column % 2 else math.cos
    return math.sqrt(2 * minus_log) * wave(2 * math.pi * b / 2**32)


def table(draw: Draw, length: int, run: int, role: int, term: int = 0) -> tuple[list[int], list[int]]:
    """Ranks within runs, and signs."""
    words = [listed(draw, j, role, term) for j in range(-(-length // run) * run)]
    keys = [x[0] + (x[1] << 32) for x in words]
    ranks = []
    for j in range(length):
        first = j // run * run
        ranks.append(sum((keys[m], m) < (keys[j], j) for m in range(first, first + run)))
    return ranks, [1 if words[j][2] & 1 else -1 for j in range(length)]


def tensor_sketch(draw: Draw, shape: tuple[int, ...], k: int, options: dict[str, Any]) -> np.ndarray:
    p = np.zeros((k, math.prod(shape)))
    scale = 1 / math.sqrt(options["terms"])
    for term in range(options["terms"]):
        if len(shape) == 1:
            h, s = table(draw, shape[0], k, 2, term)
            for j in range(shape[0]):
                p[h[j], j] += scale * s[j]
            continue
        columns = math.prod(shape[1:])
        ho, so = table(draw, shape[0], k, 0, term)
        hi, si = table(draw, columns, k, 1, term)
        for a in range(shape[0]):
            for b in range(columns):
                p[(ho[a] + hi[b]) % k, a * columns + b] += scale * so[a] * si[b]
    return p


def dense(entry: Callable[..., float]) -> Callable[..., np.ndarray]:
    def matrix(draw: Draw, shape: tuple[int, ...], k: int, options: dict[str, Any]) -> np.ndarray:
        d = math.prod(shape)
        return np.array([[entry(draw, r, j) for j in range(d)] for r in range(k)]) / math.sqrt(k)

    return matrix


def sjlt(draw: Draw, shape: tuple[int, ...], k: int, options: dict[str, Any]) -> np.ndarray:
    s, d = options["s"], math.prod(shape)
    p = np.zeros((k, d))
    for j in range(d):
        for c in range(s):
            t = j * s + c
            word = listed(draw, t // 4, 0)[t % 4]
            low, high = c * k // s, (c + 1) * k // s
            p[low + (word >> 1) * (high - low) // 2**31, j] += (1 if word & 1 else -1) / math.sqrt(s)
    return p


def hadamard(n: int) -> np.ndarray:
    return np.array([[(-1) ** bin(p & q).count("1") for q in range(n)] for p in range(n)], dtype=float)


def fastfood(draw: Draw, shape: tuple[int, ...], k: int, options: dict[str, Any]) -> np.ndarray:
    tile, d = options["tile"], math.prod(shape)
    ranks, _ = table(draw, tile, tile, 2)
    fold = np.zeros((k, tile))
    fold[np.array(ranks) % k, np.arange(tile)] = 1
    blocks = []
    for tau in range(-(-d // tile)):
        signs = np.diag([sign_entry(draw, tau, j, 0) for j in range(tile)])
        factors = np.diag([normal_entry(draw, tau, j, 1) for j in range(tile)])
        blocks.append(hadamard(k) @ fold @ factors @ hadamard(tile) @ signs / math.sqrt(k * tile))
    return np.concatenate(blocks, axis=1)[:, :d]


def kronecker(draw: Draw, shape: tuple[int, ...], k: int, options: dict[str, Any]) -> np.ndarray:
    entry = normal_entry if options["factors"] == "gaussian" else sign_entry
    if len(shape) == 1:
        return np.array([[entry(draw, r, j, 2) for j in range(shape[0])] for r in range(k)]) / math.sqrt(k)
    ko, columns = options["rows"], math.prod(shape[1:])
    left = np.array([[entry(draw, r, a, 0) for a in range(shape[0])] for r in range(ko)])
    right = np.array([[entry(draw, r, b, 1) for b in range(columns)] for r in range(k // ko)])
    return np.kron(left, right) / math.sqrt(k)


TYPES: dict[str, Callable[..., np.ndarray]] = {
    "tensor_sketch": tensor_sketch,
    "rademacher": dense(sign_entry),
    "gaussian": dense(normal_entry),
    "sjlt": sjlt,
    "fastfood": fastfood,
    "kronecker": kronecker,
}


def test_generator_gives_the_published_known_answers() -> None:
    """Random123's kat_vectors for philox4x32-10."""
    ones, pi = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    for counter, key, want in (
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones, ones, ones, ones), (ones, ones), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (pi, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ):
        assert philox(counter, key) == want


@pytest.mark.parametrize(
    ("type_name", "dim", "options"),
    [
        ("tensor_sketch", 6, {}),
        ("tensor_sketch", 16, {"terms": 3}),
        ("rademacher", 5, {}),
        ("gaussian", 5, {}),
        ("sjlt", 7, {}),
        ("sjlt", 10, {"s": 4}),
        ("fastfood", 4, {"tile": 16}),
        ("fastfood", 8, {"tile": 8}),
        ("fastfood", 2, {"tile": 64}),
        ("kronecker", 12, {"rows": 3}),
        ("kronecker", 8, {"rows": 2, "factors": "rademacher"}),
    ],
)
@pytest.mark.parametrize("shape", [(5, 3, 9), (21,), (1, 140)], ids=str)
def test_page_and_package_agree(type_name: str, dim: int, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    seed, name = 9, "transformer.blocks.0.ffn.weight"
    spec = mk.ProjectionSpec(type_name, dim, seed, options)
    draw = draws(f"motive/1/{type_name}/{seed}/{name}")
    by_page = TYPES[type_name](draw, shape, dim, spec.resolved_options())
    by_package = mk.Projector(spec, {f"module.{name}": shape}).matrix(name)
    np.testing.assert_allclose(by_package, by_page, rtol=0, atol=1e-12)


def vector_of(type_name: str, dim: int, options: dict[str, Any]) -> list[float]:
    shapes = {"blocks.0.weight": (4, 9), "blocks.0.bias": (5,)}
    projector = mk.Projector(mk.ProjectionSpec(type_name, dim, 7, options), shapes)
    grads = {n: torch.arange(math.prod(s)).reshape(1, *s) / math.prod(s) for n, s in shapes.items()}
    return projector.project(grads)[0].tolist()


GOLDEN: dict[str, tuple[int, dict[str, Any], list[float]]] = {
    "tensor_sketch": (6, {"terms": 2}, [0.318198, 3.731952, -2.015254, -1.390643, 0.129636, -0.357482]),
    "rademacher": (5, {}, [1.311827, -1.694443, 0.203731, -0.462121, 0.288204]),
    "gaussian": (5, {}, [2.033109, 2.183887, -0.271577, -0.018950, -1.352417]),
    "sjlt": (7, {"s": 2}, [-2.180246, 0.298556, 1.158870, -0.797459, -0.879955, -0.302484, 1.964185]),
    "fastfood": (8, {"tile": 16}, [1.881348, 0.326562, -1.624856, -3.418063, -2.380861, -0.432291, 0.744998, 0.277531]),
    "kronecker": (6, {"rows": 2}, [2.817417, 0.749547, -1.786671, 2.692225, -0.048088, -1.924731]),
}


@pytest.mark.parametrize("type_name", TYPES)
def test_vectors_never_change(type_name: str) -> None:
    """Stored vectors stay comparable: a difference here means a new format version, not new literals."""
    dim, options, want = GOLDEN[type_name]
    assert vector_of(type_name, dim, options) == pytest.approx(want, abs=2e-6)
