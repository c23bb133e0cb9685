"""Bytes of all kinds for every reader: the store's, the datasets', the configuration's. Only our own errors may come out."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

from tests.faults.fuzz_targets import TARGETS, Target
from tests.faults.rows import Row, require

QUICK_ROUNDS, FULL_ROUNDS = 300, 2000
"""Each round gives every reader one input."""
_GROWTH_MB = 64
_SLOW_S = 10.0
"""Of processor time, which does not run while a busy machine does other things."""


def run(quick: bool, folder: Path) -> list[Row]:
    """The given number of inputs for each reader in turn."""
    rounds, rng = QUICK_ROUNDS if quick else FULL_ROUNDS, random.Random(0)
    targets = {name: make(folder) for name, make in TARGETS.items()}
    counts, slowest = dict.fromkeys(targets, 0), 0.0
    for target in targets.values():
        for seed in target.seeds:
            target.check(seed)
        for _ in range(30):
            _once(target, rng)
    before = _memory_mb()
    for _ in range(rounds):
        for name, target in targets.items():
            worked = time.process_time()
            _once(target, rng)
            slowest = max(slowest, time.process_time() - worked)
            counts[name] += 1
    growth = _memory_mb() - before
    require(slowest < _SLOW_S, f"an input took {slowest:.1f} s of processor time")
    require(growth < _GROWTH_MB, f"memory grew by {growth:.0f} MB")
    note = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    note += f"; slowest {slowest:.2f} s of processor time, memory +{growth:.0f} MB"
    return [Row("fuzzing (mutated inputs)", sum(counts.values()), "only motive's own errors; no hang, no growth", note)]


def _once(target: Target, rng: random.Random) -> None:
    seed = rng.choice(target.seeds)
    target.check(seed[:1] + mutated(seed[1:], rng))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few changes of the kinds that parsers trip over."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        elif kind == 2:
            del changed[place : place + rng.randrange(1, 40)]
        elif kind == 3:
            changed[place:place] = changed[place : place + rng.randrange(1, 200)] * rng.randrange(1, 4)
        elif kind == 4:
            changed[place:place] = rng.choice(_TOKENS)
        else:
            changed = changed[: place or 1]
    return bytes(changed)


_TOKENS = (
    b"null", b"-1", b"1e999", b"NaN", b"true", b"[]", b"{}", b'""', b"9" * 400, b"\xff\xfe", b"\0" * 8, b'"\\ud800"',
    b"[" * 3000, b'{"a":' * 500, b"\xf0\x9f\x8e\xa5", b"\r", b"../../etc/passwd", b"=cmd()", b"\x1b[2J",
    (2**63).to_bytes(8, "little"), b"\xff" * 8,
)  # fmt: skip


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
