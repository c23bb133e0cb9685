"""The generator: Random123's known answers, the same words in C++ and NumPy, and normal numbers that are normal."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from motive_kernels.rng import philox
from motive_kernels.runtime import native

KNOWN_ANSWERS = [  # Random123, kat_vectors, philox4x32-10: counter, key, words
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (
        [0xFFFFFFFF] * 4,
        (0xFFFFFFFF, 0xFFFFFFFF),
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter: list[int], key: tuple[int, int], words: list[int]) -> None:
    assert philox.philox4x32(np.array(counter, dtype=np.uint32), key).tolist() == words
    assert list(native.extension("cpu").philox4x32(*counter, *key)) == words


def test_cpp_and_numpy_agree_on_counters_beyond_32_bits() -> None:
    key, start = (0xDEADBEEF, 0x12345678), 2**32 - 3
    blocks = philox.philox4x32(philox.counter_blocks(start, 6, 2, 5), key)
    cpp = native.extension("cpu").philox4x32
    for index, words in zip(range(start, start + 6), blocks.tolist(), strict=True):
        assert list(cpp(index & 0xFFFFFFFF, index >> 32, 2, 5, *key)) == words


@pytest.mark.parametrize("name", ["w", "blocks.0.ffn.net.2.weight", "x" * 60, "naïve.größe", "n" * 200])
def test_parameter_key_is_the_start_of_md5(name: str) -> None:
    digest = hashlib.md5(f"motive/1/tensor_sketch/7/{name}".encode()).digest()
    wanted = tuple(int(word) for word in np.frombuffer(digest[:8], dtype="<u4"))
    assert philox.parameter_key("tensor_sketch", 7, name) == wanted
    assert native.extension("cpu").parameter_key("tensor_sketch", 7, name) == wanted


def test_normal_numbers_have_the_right_moments_and_do_not_depend_on_the_count() -> None:
    values = philox.normal((3, 4), 200_002).astype(np.float64)
    assert values[:1001].tolist() == philox.normal((3, 4), 1001).tolist()
    standard_error = 1 / np.sqrt(len(values))
    assert abs(values.mean()) < 4 * standard_error
    assert abs((values**2).mean() - 1) < 4 * np.sqrt(2) * standard_error
    assert abs((values**4).mean() - 3) < 4 * np.sqrt(96) * standard_error
    assert abs((values[::2] * values[1::2]).mean()) < 4 / np.sqrt(len(values) / 2)


def test_uniform_is_never_zero_and_reaches_one() -> None:
    ends = philox.uniform53(np.array([0, 2**32 - 1], dtype=np.uint32), np.array([0, 2**32 - 1], dtype=np.uint32))
    assert ends.tolist() == [2.0**-53, 1.0]


def test_keyed_normal_is_the_generator_under_its_key() -> None:
    import motive_kernels as mk

    found = mk.keyed_normal("noise", 3, "1", 1001)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, philox.normal(philox.parameter_key("noise", 3, "1"), 1001))
    np.testing.assert_array_equal(found[:10], mk.keyed_normal("noise", 3, "1", 10))
    assert not np.array_equal(found, mk.keyed_normal("noise", 3, "2", 1001))
