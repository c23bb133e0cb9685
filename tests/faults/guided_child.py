"""Fuzzes one reader under atheris, which looks for inputs that reach new code; tests.faults.guided starts it.

python -m tests.faults.guided_child TARGET FOLDER [libFuzzer's flags]
"""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["motive", "tarfile", "json", "csv"]):
    from tests.faults.fuzz import mutated
    from tests.faults.fuzz_targets import TARGETS


def main() -> None:
    name, folder, flags = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    corpus = folder / "corpus"
    corpus.mkdir()
    target = TARGETS[name](folder)
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return atheris.Mutate(data, max_size)
        return (data[:1] + mutated(data[1:], rng))[:max_size]

    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
