"""The native build: writes a ninja file for the C++ library, the Python extensions and the C++ programs, and runs it.

    python csrc/build.py [target ...]     targets: libmotive.a libmotive_cuda.a standalone standalone_cuda cpp_tests aarch64 emulated_avx512 cpu cuda

setup.py uses the same functions. Everything lands in build/native-<platform>; nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
JOBS = os.cpu_count() or 2

COMMON_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-Wno-psabi"]
"""No -ffast-math: NaN and inf must reach the result."""

X86_LEVELS = {
    "baseline": ["-march=x86-64"],
    "avx2": ["-march=x86-64", "-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-march=x86-64", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
}
SANITIZE_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CHECKED_FLAGS = ["-O1", "-g1", "-fno-omit-frame-pointer", "-Wno-attributes", *SANITIZE_FLAGS]
ON_CPU_FLAGS = ["-std=c++17", "-g1", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-fno-strict-aliasing"]
ON_CPU_PROGRAMS = {
    "threads": ["-O1", "-fsanitize=thread", "-DMOTIVE_THREAD_SANITIZER"],
    "addresses": [
        *["-O1", "-fno-omit-frame-pointer", "-DMOTIVE_ADDRESS_SANITIZER"],
        *["-fsanitize=address,signed-integer-overflow,alignment", "-fno-sanitize-recover=all"],
    ],
    "banks": ["-O0", "-DMOTIVE_BANK_OBSERVER"],
}
"""csrc/cuda on the CPU under ThreadSanitizer, under AddressSanitizer, and with counts of bank conflicts. The last needs
each access of the source as one access, so nothing is optimized."""

CUDA_FLAGS = ["-std=c++17", "-O3", "-lineinfo", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-cudart", "static"]
CUDA_ARCHITECTURES = ["compute_90a,code=sm_90a", "compute_80,code=[sm_80,compute_80]"]
"""Machine code for Hopper with its own instructions and for A100, and PTX for everything else from there on."""


@dataclass
class Ninja:
    """A ninja file in the making."""

    lines: list[str] = field(default_factory=list)

    def rule(self, name: str, command: str, **variables: str) -> None:
        self.lines.append(f"rule {name}\n  command = {command}\n  description = {name} $out")
        self.lines.extend(f"  {key} = {value}" for key, value in variables.items())

    def build(self, rule: str, out: str, inputs: Sequence[str], flags: Sequence[str] = ()) -> str:
        paths = " ".join(_escape(path) for path in inputs)
        self.lines.append(f"build {_escape(out)}: {rule} {paths}\n  flags = {_join(flags)}")
        return out

    def alias(self, name: str, inputs: Sequence[str]) -> None:
        self.lines.append(f"build {name}: phony {' '.join(_escape(path) for path in inputs)}")

    def text(self) -> str:
        return "\n".join(["ninja_required_version = 1.5", *self.lines, ""])


def _escape(path: str) -> str:
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def _join(flags: Sequence[str]) -> str:
    return " ".join(shlex.quote(flag) for flag in flags).replace("$", "$$")


def build_dir() -> Path:
    """Where objects and results are kept between builds."""
    return ROOT / "build" / f"native-{sysconfig.get_platform()}"


def extension_path(device: str) -> Path:
    """The built extension module of a device (cpu or cuda) for the running Python."""
    return build_dir() / f"python-{sys.implementation.cache_tag}" / f"_{device}{_extension_suffix()}"


def _extension_suffix() -> str:
    return sysconfig.get_config_var("EXT_SUFFIX") or ".so"


def find_nvcc() -> str | None:
    """nvcc on PATH or in its usual place."""
    usual = Path("/usr/local/cuda/bin/nvcc")
    return shutil.which("nvcc") or (str(usual) if usual.exists() else None)


def is_x86_64() -> bool:
    return sysconfig.get_platform().endswith(("x86_64", "amd64"))


def write_ninja(nvcc: str | None) -> Path:
    """Write build.ninja: every target, with CUDA if a compiler is given. Returns its path."""
    out = build_dir()
    ninja = Ninja()
    cxx = os.environ.get("CXX") or "c++"
    ninja.rule("cxx", f"{cxx} $flags -MD -MF $out.d -c $in -o $out", depfile="$out.d", deps="gcc")
    ninja.rule("link", f"{cxx} $in $flags -o $out")
    ninja.rule("archive", "rm -f $out && ar rcs $out $in")
    objects = _library(ninja, "cpu", _levels(), [])
    ninja.build("archive", "libmotive.a", objects)
    _programs(ninja)
    _cross(ninja)
    _cpu_extension(ninja, objects)
    _cuda_on_cpu(ninja)
    if is_x86_64():
        _emulated(ninja)
    if nvcc is not None:
        _cuda(ninja, nvcc)
    path = out / "build.ninja"
    _write_if_new(path, ninja.text())
    return path


def _include() -> list[str]:
    return [f"-I{CSRC / 'include'}", f"-I{CSRC / 'cpu'}"]


def _library(
    ninja: Ninja, folder: str, levels: Mapping[str, Sequence[str]], extra: Sequence[str], rule: str = "cxx"
) -> list[str]:
    """csrc/cpu/*.cpp once per SIMD level, csrc/cpu/common/*.cpp once. The baseline comes first in every link."""
    dispatch = [f"-DMOTIVE_X86_LEVELS={len(levels)}"] if len(levels) > 1 else []
    base = [*COMMON_FLAGS, *extra, *_include(), *dispatch]
    objects = []
    for source in sorted((CSRC / "cpu" / "common").glob("*.cpp")):
        flags = [*base, *levels["baseline"]]
        objects.append(ninja.build(rule, f"{folder}/common/{source.stem}.o", [str(source)], flags))
    for level, simd in levels.items():
        chosen = [f"-DMOTIVE_LEVEL={level}", f"-DMOTIVE_IS_BASELINE={int(level == 'baseline')}"]
        for source in sorted((CSRC / "cpu").glob("*.cpp")):
            flags = [*base, *simd, *chosen]
            objects.append(ninja.build(rule, f"{folder}/{level}/{source.stem}.o", [str(source)], flags))
    return objects


def _levels() -> dict[str, list[str]]:
    return X86_LEVELS if is_x86_64() else {"baseline": []}


def _programs(ninja: Ninja) -> None:
    """The example, linked with the static library, and the C++ tests, for which the library is built once more."""
    source = CSRC / "examples" / "standalone.cpp"
    obj = ninja.build("cxx", "examples/standalone.o", [str(source)], [*COMMON_FLAGS, f"-I{CSRC / 'include'}"])
    ninja.build("link", "standalone", [obj, "libmotive.a"], ["-pthread"])
    # AVX-512 is the same source once more, and few machines could run it here.
    library = _library(ninja, "checked", {k: v for k, v in _levels().items() if k != "avx512"}, CHECKED_FLAGS)
    ninja.alias("cpp_tests", _checked_tests(ninja, library))


def _checked_tests(ninja: Ninja, library: Sequence[str], suffix: str = "") -> list[str]:
    """csrc/tests/*.cpp as programs with a library that was built with CHECKED_FLAGS."""
    tests = []
    for source in sorted((CSRC / "tests").glob("*.cpp")):
        name = f"checked/{source.stem}{suffix}"
        if not suffix:
            flags = [*COMMON_FLAGS, *CHECKED_FLAGS, *_include()]
            ninja.build("cxx", f"checked/tests/{source.stem}.o", [str(source)], flags)
        inputs = [f"checked/tests/{source.stem}.o", *library]
        tests.append(ninja.build("link", name, inputs, ["-pthread", *SANITIZE_FLAGS]))
    return tests


def _cuda_on_cpu(ninja: Ninja) -> None:
    """The driver of every CUDA launcher, and kernels with faults, as programs for the CPU (csrc/cuda_on_cpu).

    Only kernels are instrumented; the driver is the same in all of them.
    """
    here = CSRC / "cuda_on_cpu"
    include = [f"-I{path}" for path in (here / "include", here, CSRC / "include", CSRC / "cuda")]

    def compiled(folder: str, sources: Sequence[Path], flags: Sequence[str]) -> list[str]:
        every = [*ON_CPU_FLAGS, *flags, *include]
        return [
            ninja.build("cxx", f"cuda_on_cpu/{folder}/{source.stem}.o", [str(source)], ["-x", "c++", *every])
            for source in sorted(sources)
        ]

    driver = compiled("driver", list(here.glob("driv*.cpp")), ["-O2"])
    for program, flags in ON_CPU_PROGRAMS.items():
        plain = [flag for flag in flags if "sanitize" not in flag]
        instrumented = [*plain, "-fsanitize=thread"] if program == "banks" else flags
        others = [path for path in here.glob("*.cpp") if not path.stem.startswith("driv")]
        machine = [*compiled(f"{program}/machine", others, plain), "libmotive.a"]
        kernels = compiled(f"{program}/kernels", list((CSRC / "cuda").glob("*.cu")), instrumented)
        faults = compiled(f"{program}/faults", list((here / "faults").glob("*.cu")), instrumented)
        link = [*(f for f in flags if "sanitize" in f), "-no-pie", "-pthread", f"-Wl,-T,{here / 'shared_memory.ld'}"]
        ninja.build("link", f"cuda_on_cpu/{program}/drive", [*driver, *kernels, *machine], link)
        ninja.build("link", f"cuda_on_cpu/{program}/fail", [*faults, *machine], link)
    ninja.alias(
        "cuda_on_cpu", [f"cuda_on_cpu/{name}/{which}" for name in ON_CPU_PROGRAMS for which in ("drive", "fail")]
    )


def _emulated(ninja: Ninja) -> None:
    """The AVX-512 code for a processor without it: the C++ tests, with VNNI and without, and the Python extension.

    Needs SIMDe's headers where the compiler looks (a system package, or their parent folder in CPATH).
    """
    header = CSRC / "tests" / "emulated_avx512.h"
    levels = {**X86_LEVELS, "avx512": [*X86_LEVELS["avx2"], "-include", str(header)]}
    built = []
    for folder, extra in (("emulated-checked", CHECKED_FLAGS), ("emulated", [])):
        library = _library(ninja, folder, levels, [*extra, "-DMOTIVE_EMULATED_VNNI=1"])
        if extra:
            built += _checked_tests(ninja, library, "_vnni")
            features = f"{folder}/common/features.o"
            flags = [*COMMON_FLAGS, *extra, *_include(), "-DMOTIVE_X86_LEVELS=3", "-DMOTIVE_EMULATED_VNNI=0"]
            source = CSRC / "cpu" / "common" / "features.cpp"
            without = ninja.build("cxx", f"{folder}/features_avx512.o", [str(source)], flags)
            built += _checked_tests(ninja, [without, *(o for o in library if o != features)], "_avx512")
        elif _python_flags() is not None:
            bindings = _relative(extension_path("cpu").parent / "cpu_bindings.o")
            module = f"{folder}/{extension_path('cpu').name}"
            built.append(ninja.build("link", module, [bindings, *library], ["-shared", "-pthread"]))
    ninja.alias("emulated_avx512", built)


def _cross(ninja: Ninja) -> None:
    """The same programs for 64-bit Arm, if there is a compiler for it: static, so that an emulator can run them."""
    cross = shutil.which("aarch64-linux-gnu-g++")
    if cross is None:
        return
    ninja.rule("cxx_aarch64", f"{cross} $flags -MD -MF $out.d -c $in -o $out", depfile="$out.d", deps="gcc")
    ninja.rule("link_aarch64", f"{cross} $in $flags -o $out")
    extra = ["-O1", "-Wno-maybe-uninitialized"]  # In a hurry the compiler misses that a loop sets all of a vector.
    library = _library(ninja, "aarch64", {"baseline": []}, extra, "cxx_aarch64")
    programs = []
    for source in [CSRC / "examples" / "standalone.cpp", *sorted((CSRC / "tests").glob("*.cpp"))]:
        flags = [*COMMON_FLAGS, *extra, *_include()]
        obj = ninja.build("cxx_aarch64", f"aarch64/programs/{source.stem}.o", [str(source)], flags)
        built = ninja.build("link_aarch64", f"aarch64/{source.stem}", [obj, *library], ["-static", "-pthread"])
        programs.append(built)
    ninja.alias("aarch64", programs)


def _python_flags() -> list[str] | None:
    """What bindings are compiled with; None without pybind11, which the library and the programs do not need."""
    try:
        import pybind11
    except ImportError:
        return None

    paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude"), pybind11.get_include()}
    return [*COMMON_FLAGS, "-O1", *_include(), *(f"-I{path}" for path in sorted(paths))]  # They run once a call.


def _bindings(ninja: Ninja, device: str, flags: Sequence[str]) -> str:
    """All bindings of a module as one file: pybind11's templates take 7 seconds a file, however little it binds."""
    python = CSRC / "python"
    binds = sorted(python.glob("bind_*.cpp"))
    if device == "cuda":
        flags = [*flags, "-DMOTIVE_CUDA_MODULE"]
        binds = [path for path in binds if (CSRC / "include" / "motive" / "cuda" / f"{op_of(path)}.h").exists()]
    together = extension_path(device).parent / f"{device}_bindings.cpp"
    text = "".join(f'#include "{path}"\n' for path in [*binds, python / f"{device}_module.cpp"])
    _write_if_new(together, text)
    return ninja.build("cxx", _relative(together.with_suffix(".o")), [str(together)], [*flags, f"-I{python}"])


def op_of(binding: Path) -> str:
    """The op of a bind_<op>.cpp."""
    return binding.stem.removeprefix("bind_")


def _write_if_new(path: Path, text: str) -> None:
    """Leaves a file alone that is as it should be, so that nothing is rebuilt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _cpu_extension(ninja: Ninja, library: Sequence[str]) -> None:
    """motive_kernels._cpu: csrc/python/cpu_module.cpp and bind_<op>.cpp with the CPU library."""
    flags = _python_flags()
    if flags is None:
        return
    bindings = _bindings(ninja, "cpu", flags)
    module = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    built = ninja.build("link", _relative(extension_path("cpu")), [bindings, *library], [*module, "-pthread"])
    ninja.alias("cpu", [built])


def _cuda(ninja: Ninja, nvcc: str) -> None:
    """motive_kernels._cuda: csrc/cuda/*.cu with csrc/python/cuda_module.cpp and bind_<op>.cpp."""
    architectures = [f"-gencode=arch={architecture}" for architecture in CUDA_ARCHITECTURES]
    compiler = shlex.quote(nvcc)
    ninja.rule("nvcc", f"{compiler} $flags -MD -MF $out.d -c $in -o $out", depfile="$out.d", deps="gcc")
    ninja.rule("link_cuda", f"{compiler} $in $flags -o $out")
    include = [f"-I{CSRC / 'include'}", f"-I{CSRC / 'cuda'}"]
    kernels = [
        ninja.build("nvcc", f"cuda/{source.stem}.o", [str(source)], [*CUDA_FLAGS, *architectures, *include])
        for source in sorted((CSRC / "cuda").glob("*.cu"))
    ]
    archive = ninja.build("archive", "libmotive_cuda.a", kernels)
    source = CSRC / "examples" / "standalone_cuda.cpp"
    obj = ninja.build("nvcc", "examples/standalone_cuda.o", [str(source)], [*CUDA_FLAGS, include[0]])
    ninja.build("link_cuda", "standalone_cuda", [obj, archive, "libmotive.a"], ["-cudart", "static"])
    here = CSRC / "cuda_on_cpu"
    driver = [
        ninja.build("nvcc", f"cuda_driver_objects/{source.stem}.o", [str(source)], [*CUDA_FLAGS, include[0]])
        for source in sorted(here.glob("driv*.cpp"))
    ]
    ninja.build("link_cuda", "cuda_drive", [*driver, archive, "libmotive.a"], ["-cudart", "static"])
    faults = ninja.build("nvcc", "cuda_fail.o", [str(here / "faults" / "faults.cu")], [*CUDA_FLAGS, *architectures])
    ninja.build("link_cuda", "cuda_fail", [faults], ["-cudart", "static"])
    flags = _python_flags()
    if flags is None:
        return
    bindings = _bindings(ninja, "cuda", [*flags, *include])
    shared = ["-shared", "-cudart", "static", *architectures]
    built = ninja.build("link_cuda", _relative(extension_path("cuda")), [bindings, *kernels], shared)
    ninja.alias("cuda", [built])


def _relative(path: Path) -> str:
    return path.relative_to(build_dir()).as_posix()


def run_ninja(targets: Sequence[str], nvcc: str | None) -> None:
    """Build targets, one process at a time.

    Raises:
        subprocess.CalledProcessError: a step failed; the compiler's output has been shown.
    """
    with _lock():
        file = write_ninja(nvcc)
        command = [_ninja_program(), "-C", str(file.parent), "-j", str(JOBS), *targets]
        subprocess.run(command, check=True)


def _ninja_program() -> str:
    try:
        import ninja
    except ImportError:
        return "ninja"
    return str(Path(ninja.BIN_DIR) / "ninja")


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Two builds in one tree wait for each other; the system drops the lock of a killed one."""
    import fcntl

    build_dir().mkdir(parents=True, exist_ok=True)
    with (build_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["libmotive.a"]
    try:
        run_ninja(wanted, find_nvcc() if any("cuda" in target for target in wanted) else None)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
