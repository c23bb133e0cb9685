"""One entry for every benchmark: each checks its results first, then prints a table and adds rows to a JSONL file.

python -m benchmarks.run --suite kernels|capture|pipeline|quality|scoring|all [--quick] --out DIR
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SUITES = {
    "kernels": (
        "benchmarks.kernels.flat_route",
        "benchmarks.kernels.kinds",
        "benchmarks.kernels.token_route",
        "benchmarks.kernels.token_accuracy",
        "benchmarks.kernels.weighting",
    ),
    "capture": ("benchmarks.capture.forward_backward",),
    "pipeline": ("benchmarks.pipeline.masks",),
    "quality": ("benchmarks.quality.per_draw",),
    "scoring": ("benchmarks.scoring.search", "benchmarks.scoring.large"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=(*SUITES, "all"), default="all")
    parser.add_argument("--quick", action="store_true", help="smaller inputs, fewer repetitions")
    parser.add_argument("--out", type=Path, required=True, help="folder whose results.jsonl the rows are added to")
    options = parser.parse_args()
    chosen = [name for suite in SUITES if options.suite in (suite, "all") for name in SUITES[suite]]
    failed = []
    for name in chosen:
        print(f"\n{name}\n", flush=True)
        # A process of its own, so that one benchmark's threads and memory do not touch the next.
        command = [sys.executable, "-m", name, "--out", str(options.out), *(["--quick"] if options.quick else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
