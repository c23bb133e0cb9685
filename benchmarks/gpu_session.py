"""One session on a GPU machine, in minutes: build, tests, benchmarks, sanitizers, profiles.

    python benchmarks/gpu_session.py --out DIR [--budget-min 7.5] [--only build,tests,...]
    python benchmarks/gpu_session.py --dry                   # prints the plan
    python benchmarks/gpu_session.py --out DIR --rehearse    # without a GPU: the same commands with small shapes

Needs Python with torch, triton, numpy, safetensors, pybind11, ninja and pytest, and nvcc; no network. Every
step is a process of its own with a limit of its own, and is left out with a reason when the budget no longer allows it.
DIR gets session.log, summary.json, results.jsonl (the measurements) and cuda-resources.tsv, written as it goes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = "sketch_kernel|outer_kernel|inverse_kernel|residual_kernel|mix_kernel|resize_kernel"
LEAST_S = 20.0
"""A step is left out if the budget has less left than this."""

SHOWN = 3500
"""Characters of a step's output that are printed, from its end."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of the step.
        command: to run in the repository.
        limit_s: seconds it may take, less if the budget has less left.
        needs: program it cannot do without.
        required: the session stops if it fails.
        environment: variables added for it.
        rehearsal: what stands in for it where there is no GPU; None leaves it out there.
    """

    name: str
    command: list[str]
    limit_s: float
    needs: str | None = None
    required: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    rehearsal: list[str] | None = None


def steps(out: Path) -> list[Step]:
    """What a session does, the most valuable first."""
    python, here = sys.executable, str(Path(__file__).resolve())
    module = [python, "-m"]
    small = [*module, "benchmarks.kernels.gpu_small"]
    gpu = [*module, "benchmarks.kernels.gpu", "--out", str(out), "--only"]
    weighting = [*module, "benchmarks.kernels.weighting", "--device"]
    ncu = ["ncu", "--clock-control", "none", "--kernel-name", f"regex:{KERNELS}", "--launch-count", "60"]
    for section in ("SpeedOfLight", "MemoryWorkloadAnalysis", "Occupancy", "WarpStateStats", "LaunchStats"):
        ncu += ["--section", section]
    # A warning of another version of torch must not hide what a test would say.
    pytest = [*module, "pytest", "-q", "-rfE", "--maxfail=40", "-W", "default", "-p", "no:cacheprovider"]
    cuda_build = [*pytest, "tests/kernels/test_cuda_build.py", "-k", "resources or atomics or program"]
    return [
        Step("versions", [python, here, "--versions"], 60, rehearsal=[python, here, "--versions"]),
        Step("build", [python, here, "--build"], 240, needs="nvcc", required=True),
        Step("tests", [*pytest, "tests/gpu"], 150, rehearsal=[*pytest, "tests/gpu"]),
        Step("bench_flat", [*gpu, "flat"], 90, rehearsal=[*gpu, "flat", "--quick", "--rehearse"]),
        Step("bench_token", [*gpu, "token"], 90, rehearsal=[*gpu, "token", "--quick", "--rehearse"]),
        Step("bench_weighting", [*weighting, "cuda", "--out", str(out)], 75, rehearsal=[*weighting, "cpu", "--quick"]),
        *(
            Step(tool, ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *small], 75,
                 needs="compute-sanitizer", environment=(("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),),
                 rehearsal=[*small, "--rehearse"] if tool == "memcheck" else None)
            for tool in ("memcheck", "racecheck", "synccheck", "initcheck")
        ),
        Step("bench_kinds", [*gpu, "kinds"], 45, rehearsal=[*gpu, "kinds", "--quick", "--rehearse"]),
        Step("ncu", [*ncu, *module, "benchmarks.kernels.gpu", "--quick", "--only", "flat,token"], 90, needs="ncu"),
        Step("resources", cuda_build, 60, needs="cuobjdump"),
    ]  # fmt: skip


def versions() -> None:
    """The machine, for the record."""
    import torch

    print(json.dumps({"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda}))
    for command in (["nvidia-smi"], ["nvcc", "--version"], [sys.executable, "-m", "pip", "list"]):
        if shutil.which(command[0]):
            subprocess.run(command, check=False)


def build() -> None:
    """Compile both extensions and put them beside the Python code, without setuptools."""
    sys.path.insert(0, str(ROOT / "csrc"))
    native = importlib.import_module("build")
    native.run_ninja(["cuda", "cpu"], native.find_nvcc())
    for device in ("cpu", "cuda"):
        built = native.extension_path(device)
        shutil.copyfile(built, ROOT / "motive_kernels" / built.name)


def run(step: Step, log: Path, left_s: float) -> dict[str, object]:
    """Run one step, its output at the end of the log; what became of it."""
    if step.needs is not None and shutil.which(step.needs) is None:
        return {"step": step.name, "status": f"left out: no {step.needs}"}
    if left_s < min(LEAST_S, step.limit_s):
        return {"step": step.name, "status": f"left out: {left_s:.0f} s of the budget left"}
    begin = time.monotonic()
    environment = {**os.environ, **dict(step.environment), "PYTHONUNBUFFERED": "1"}
    with open(log, "a", encoding="utf-8") as file:
        print(f"\n=== {step.name}: {shlex.join(step.command)}", file=file, flush=True)
        try:
            code = subprocess.run(
                step.command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False,
                timeout=min(step.limit_s, left_s),
            ).returncode  # fmt: skip
            status = "done" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired as error:
            status = f"stopped after {error.timeout:.0f} s"
    return {"step": step.name, "status": status, "seconds": round(time.monotonic() - begin, 1)}


def session(plan: list[Step], out: Path, budget_s: float) -> int:
    """All steps within the budget; 0 if none failed."""
    begin = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    log, done = out / "session.log", []
    log.write_text("")
    for step in plan:
        before = log.stat().st_size
        result = run(step, log, budget_s - (time.monotonic() - begin))
        done.append(result)
        (out / "summary.json").write_text(json.dumps(done, indent=1) + "\n")
        print(log.read_bytes()[before:].decode(errors="replace")[-SHOWN:], flush=True)
        print(f"{result['step']:16} {result.get('seconds', ''):>7} s  {result['status']}", flush=True)
        if step.required and result["status"] != "done":
            break
    resources = ROOT / "build" / "cuda-resources.tsv"
    if resources.exists():
        shutil.copyfile(resources, out / resources.name)
    print("\n" + "\n".join(f"{r['step']:16} {r.get('seconds', ''):>7} s  {r['status']}" for r in done), flush=True)
    return 0 if all(r["status"] == "done" or str(r["status"]).startswith("left out") for r in done) else 1


def rehearsal(plan: list[Step]) -> list[Step]:
    """What of a plan can be run without a GPU."""
    return [Step(step.name, step.rehearsal, step.limit_s) for step in plan if step.rehearsal is not None]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-session"), help="folder of the log and the results")
    parser.add_argument("--budget-min", type=float, default=7.5, help="minutes that all steps together may take")
    parser.add_argument("--only", default="", help="steps to run, with commas between them; all if empty")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, small shapes")
    parser.add_argument("--dry", action="store_true", help="print the plan")
    parser.add_argument("--versions", action="store_true", help="print the versions of what is here")
    parser.add_argument("--build", action="store_true", help="build the extensions in place")
    options = parser.parse_args(arguments)
    if options.versions or options.build:
        versions() if options.versions else build()
        return 0
    plan = steps(options.out.resolve())
    unknown = set(filter(None, options.only.split(","))) - {step.name for step in plan}
    if unknown:
        parser.error(f"--only must name steps, got {', '.join(sorted(unknown))}; --dry lists them")
    plan = [step for step in plan if not options.only or step.name in options.only.split(",")]
    if options.rehearse:
        plan = rehearsal(plan)
    if not options.dry:
        return session(plan, options.out.resolve(), 60 * options.budget_min)
    for step in plan:
        needs = "" if step.needs is None else f" (needs {step.needs})"
        print(f"{step.name:16} {step.limit_s:4.0f} s{needs}: {shlex.join(step.command)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
