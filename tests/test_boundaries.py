"""Rules of the tree that only a machine can keep: which package may import which, sizes, and complete ops."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sorted([*(ROOT / "motive").rglob("*.py"), *(ROOT / "motive_kernels").rglob("*.py")])

GROUND_NAMES = ("addresses", "child", "config", "errors", "extras", "progress", "publish", "result", "versions")
GROUND = {f"motive.{name}" for name in GROUND_NAMES}
"""The ground floor: everyone may stand on it."""

MAY_IMPORT = {
    "motive.errors": set(),
    "motive.addresses": {"motive.errors", "motive.extras"},
    "motive.extras": {"motive.errors"},
    "motive.child": set(),
    "motive.config": {"motive.errors"},
    "motive.progress": {"motive.errors", "motive.extras"},
    "motive.publish": set(),
    "motive.result": {"motive.config"},
    "motive.versions": set(),
    "motive.data": GROUND,
    "motive.masks": {"motive.data", "motive_kernels"} | GROUND,
    "motive.adapters": {"motive.data", "motive_kernels"} | GROUND,
    "motive.testing": {"motive.adapters", "motive.data", "motive.masks"} | GROUND,
    "motive.toy": {"motive.adapters", "motive.data", "motive_kernels"} | GROUND,
    "motive.gradients": {"motive.adapters", "motive.data", "motive.masks", "motive_kernels"} | GROUND,
    "motive.store": {"motive.data"} | GROUND,
    "motive.workers": {"motive.data", "motive.store"} | GROUND,
    "motive.scores": {"motive.data", "motive.store"} | GROUND,
    "motive.scoring": {"motive.scores", "motive.store", "motive_kernels"} | GROUND,
    "motive.curate": {"motive.data", "motive.scores", "motive.store"} | GROUND,
    "motive.evaluate": {"motive.data", "motive.masks", "motive.scores", "motive.store"} | GROUND,
    "motive.reporting": {
        "motive.data",
        "motive.evaluate",
        "motive.gradients",
        "motive.masks",
        "motive.scores",
        "motive.store",
    }
    | GROUND,
    "motive.indexing": {
        "motive.adapters",
        "motive.data",
        "motive.gradients",
        "motive.masks",
        "motive.scores",
        "motive.store",
        "motive.workers",
        "motive_kernels",
    }
    | GROUND,
    "motive.demo": {
        "motive.curate",
        "motive.evaluate",
        "motive.gradients",
        "motive.indexing",
        "motive.masks",
        "motive.reporting",
        "motive.scoring",
        "motive.toy",
    }
    | GROUND,
    "motive.doctor": {"motive.data", "motive_kernels"} | GROUND,
    "motive.cli": {
        "motive.curate",
        "motive.demo",
        "motive.doctor",
        "motive.evaluate",
        "motive.indexing",
        "motive.reporting",
        "motive.scoring",
        "motive.store",
        "motive.workers",
    }
    | GROUND,
    "motive_kernels": set(),
}
"""The arrows: a package imports itself, these, and third parties. A new arrow is a decision, made here."""

ALWAYS_THERE = {"torch", "numpy", "safetensors", "typing_extensions"}
"""What a base install brings; anything else is imported where it is used."""

MAX_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_REFERENCE_LINES = 80
MAX_PARAMETERS = 8
EXEMPT = {
    "motive/gradients/clips.py __init__": "the settings of one gradient pass, each used by one caller",
    "motive_kernels/ops/motion_weights/api.py _motion_weights": "a registered op takes tensors and numbers only",
    "motive_kernels/ops/motion_weights/api.py _": "its fake implementation, with the same signature",
    "motive_kernels/ops/vote/api.py vote": "a public op: what is searched, how, and what is given back",
    "motive_kernels/ops/vote/api.py _vote": "a registered op takes tensors and numbers only",
    "motive_kernels/ops/vote/api.py _": "its fake implementation, with the same signature",
    "tests/kernels/test_projection_types.py": "one table of cases for every projection",
    "tests/masks/scenes.py scene": "a scene's parameters, all with defaults",
    "tests/reporting/world.py make_world": "a world's parameters, all with defaults",
    "tests/scoring/test_streaming.py": "one property of streaming over every option",
}
"""What may be larger, and why: a file, or a file and a function. An entry that is no longer needed must go."""


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] != "motive" or len(parts) == 1 else ".".join(parts[:2])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [f"{node.module}.{alias.name}" if node.module == "motive" else node.module for alias in node.names]
    return found


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    own = package_of(module_of(path))
    if own == "motive":
        return  # motive/__init__.py names the verbs, lazily; the next test checks that it loads nothing.
    for name in imported_modules(parse(path)):
        target = package_of(name)
        if target.split(".")[0] in ("motive", "motive_kernels") and target != own:
            assert target in MAY_IMPORT[own], f"{path.relative_to(ROOT)} imports {name}: {own} may not import {target}"


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_optional_packages_are_imported_where_used(path: Path) -> None:
    top = {name.split(".")[0] for node in parse(path).body for name in imported_modules(ast.Module([node], []))
           if isinstance(node, (ast.Import, ast.ImportFrom))}  # fmt: skip
    foreign = top - ALWAYS_THERE - {"motive", "motive_kernels", "__future__"} - set(sys.stdlib_module_names)
    if path.name == "triton.py" and "motive_kernels" in path.parts:
        foreign -= {"triton"}  # Loaded by its op only when the implementation is chosen.
    if module_of(path).startswith("motive.testing"):
        foreign -= {"pytest"}  # Suites for pytest; nothing else imports them.
    assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)} at its top; use motive.extras.require"


@pytest.mark.parametrize("package", ["motive", "motive_kernels"])
def test_importing_does_nothing_heavy(package: str) -> None:
    code = (
        f"import sys, {package}; import logging; "
        "heavy = {'av', 'cv2', 'pyarrow', 'diffusers', 'transformers', 'jinja2', 'matplotlib', 'triton.language'}; "
        "print(sorted(heavy & set(sys.modules)), logging.root.handlers, "
        "'torch' in sys.modules and __import__('torch').cuda.is_initialized())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[] [] False", f"import {package} loaded {answer.stdout.strip()}"


def test_kernels_stand_alone() -> None:
    """motive_kernels works where motive and every optional package are absent."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'motive', 'av', 'cv2', 'pyarrow', 'diffusers', 'safetensors'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import motive_kernels as mk, torch\n"
        "projector = mk.Projector(mk.ProjectionSpec(dim=8), {'w': (3, 5)})\n"
        "print(tuple(projector.project({'w': torch.ones(2, 3, 5)}).shape))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.stdout.strip() == "(2, 8)", answer.stderr


def test_one_converter_to_json() -> None:
    """motive.config.to_json: equal configs have equal JSON, also where one of them says 16 and the other 16.0."""
    others = {"asdict", "astuple"}
    for path in (path for path in sized_sources() if path.suffix == ".py"):
        for node in ast.walk(parse(path)):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            if isinstance(node, ast.Attribute):
                names = {node.attr}
            assert not names & others, f"{path.relative_to(ROOT)} uses {names & others}; use motive.config.to_json"


def sized_sources() -> list[Path]:
    folders = ("benchmarks", "csrc", "examples", "motive", "motive_kernels", "tests")
    kinds = {".py", ".h", ".cpp", ".cu", ".cuh"}
    return sorted(path for name in folders for path in (ROOT / name).rglob("*") if path.suffix in kinds)


def oversized(path: Path) -> dict[str, str]:
    """What is too large in a file: name -> why."""
    name = str(path.relative_to(ROOT))
    found = {}
    lines = path.read_text(encoding="utf-8").count("\n")
    if lines > MAX_LINES:
        found[name] = f"has {lines} lines; split it along its meaning"
    functions = ast.walk(parse(path)) if path.suffix == ".py" else ()
    for node in functions:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if length > MAX_FUNCTION_LINES:
                found[f"{name} {node.name}"] = f"has {length} lines after its docstring; split it"
            count = len(node.args.args) + len(node.args.kwonlyargs) + len(node.args.posonlyargs)
            count -= bool(node.args.args and node.args.args[0].arg in ("self", "cls", "ctx"))
            if path.name != "triton.py" and count > MAX_PARAMETERS:  # a kernel takes pointers and sizes
                found[f"{name} {node.name}"] = f"takes {count} parameters; use a dataclass"
    return found


def test_sizes() -> None:
    found = {what: why for path in sized_sources() for what, why in oversized(path).items()}
    surplus = sorted(set(found) - set(EXEMPT))
    assert not surplus, "; ".join(f"{what} {found[what]}" for what in surplus)
    stale = sorted(set(EXEMPT) - set(found))
    assert not stale, f"these are small enough now, so take them off EXEMPT: {', '.join(stale)}"


def ops() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "motive_kernels").glob("**/api.py"))


@pytest.mark.parametrize("op", ops(), ids=lambda p: p.name)
def test_every_op_is_whole(op: Path) -> None:
    reference = op / "reference.py"
    assert reference.is_file(), f"{op.name} has no reference.py"
    code = [line for line in reference.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= MAX_REFERENCE_LINES, f"{op.name}/reference.py has {len(code)} lines of code and docstrings"
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "kernels").glob("test_*.py"))
    assert op.name in tests, f"no file of tests/kernels names {op.name}"
    benchmarks = "".join(path.read_text() for path in (ROOT / "benchmarks").rglob("*.py"))
    assert op.name in benchmarks, f"no benchmark names {op.name}"


@pytest.mark.parametrize("path", [path for path in PYTHON if path.is_relative_to(ROOT / "motive")], ids=str)
def test_motive_takes_public_names_of_the_kernels_only(path: Path) -> None:
    """What motive needs of the kernels is public there, so that the documented op is the op that is used."""
    import motive_kernels

    tree, aliases = parse(path), {"motive_kernels"}
    used: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "motive_kernels":
                    aliases.add(alias.asname or alias.name)
                elif alias.name.startswith("motive_kernels."):
                    used.append(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "motive_kernels":
            used += [alias.name if node.module == "motive_kernels" else node.module for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            used.append(node.attr)
    internal = sorted(set(used) - set(motive_kernels.__all__))
    assert not internal, (
        f"{path.relative_to(ROOT)} uses {internal}; give them a public name in motive_kernels/__init__.py"
    )


def test_public_names() -> None:
    import motive
    import motive_kernels

    for package in (motive, motive_kernels):
        assert sorted(package.__all__) == list(package.__all__), f"{package.__name__}.__all__ must be sorted"
        for name in package.__all__:
            value = getattr(package, name)
            if typing.get_origin(value) is typing.Literal:
                continue  # a list of choices, explained where an argument takes one
            assert value.__doc__, f"{package.__name__}.{name} must have a docstring"


def test_no_unfinished_code() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "pickle.load")
    for path in PYTHON:
        text = path.read_text(encoding="utf-8")
        for word in words:
            assert word not in text, f"{path.relative_to(ROOT)} contains {word}"


KERNEL_ARROWS = {
    "capture": {"projection", "ops", "runtime"},
    "projection": {"ops", "rng", "runtime"},
    "ops": {"search", "rng", "runtime"},
    "search": {"runtime"},
    "rng": set(),
    "runtime": set(),
}
"""The rooms of motive_kernels and what each may import besides itself; __init__ may import all of them."""

MAX_ROOMS = 8


def test_kernel_rooms_follow_the_arrows() -> None:
    folder = ROOT / "motive_kernels"
    rooms = {path.name for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert rooms == set(KERNEL_ARROWS)
    assert len(rooms) <= MAX_ROOMS
    assert [path.name for path in folder.glob("*.py")] == ["__init__.py"], "a module belongs to a room"
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0]
        for name in imported_modules(parse(path)):
            parts = name.split(".")
            if own != "__init__.py" and parts[0] == "motive_kernels" and len(parts) > 1 and parts[1] != own:
                where = f"{path.relative_to(ROOT)} imports {name}"
                assert parts[1] in KERNEL_ARROWS[own], f"{where}: {own} may not import {parts[1]}"


@pytest.mark.parametrize("arrows", [KERNEL_ARROWS, MAY_IMPORT], ids=["motive_kernels", "motive"])
def test_arrows_have_no_circle(arrows: dict[str, set[str]]) -> None:
    left = {room: set(to) for room, to in arrows.items()}
    while left:
        free = {room for room, to in left.items() if not to & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {room: to for room, to in left.items() if room not in free}


MAX_OP_FILES = 15
LIST_OF_OPS = 5
"""A shared file that names at least this many ops is a list, which a new op would have to be added to."""

_SHARES_NAMES = "it is about projection types, which share names with ops"
NOT_FOR_A_NEW_OP = {
    **dict.fromkeys(["benchmarks/harness/counted.py", "benchmarks/harness/machine_code.py"], "code of chosen kernels"),
    "benchmarks/harness/targets.py": "promised figures of chosen kernels",
    "benchmarks/harness/tuning.py": "predicted times of chosen kernels",
    "benchmarks/kernels/gpu.py": _SHARES_NAMES,
    "benchmarks/kernels/projection_types.py": _SHARES_NAMES,
    "tests/gpu/test_gpu_sketch.py": _SHARES_NAMES,
    "tests/kernels/test_cuda_build.py": "machine code of chosen kernels",
    "tests/kernels/test_projection_types.py": _SHARES_NAMES,
}
"""Files that name many ops and that a new op does not have to be added to, with the reason."""


def tracked(*folders: str) -> list[str]:
    """Source files of folders, without the emulation of AVX-512, which a new op does not get."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    paths = (path for path in paths if path.suffix in {".py", ".h", ".cpp", ".cu", ".cuh"})
    names = (path.relative_to(ROOT).as_posix() for path in paths)
    return sorted(name for name in names if "emulat" not in name)


def own_files(op: str, files: list[str]) -> set[str]:
    """The files that make up an op, by their names.

    Further parts of a long source (csrc/cuda/<op>_plan.h beside <op>.cu) are not counted: a new op needs none.
    """
    stems = {op, f"bind_{op}", f"test_{op}"}
    return {
        name for name in files
        if f"/ops/{op}/" in name or (Path(name).stem in stems and name.startswith(("csrc/", "tests/")))
    }  # fmt: skip


@functools.cache
def files_of_ops() -> dict[str, set[str]]:
    """For each op its own files, and the lists that name it."""
    files, every = tracked("motive_kernels", "csrc", "tests", "benchmarks"), [path.name for path in ops()]
    found = {op: own_files(op, files) for op in every}
    for name in sorted(set(files).difference(*found.values()) - {"tests/test_boundaries.py"}):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = {op for op in every if re.search(rf"\b{op}(_into)?\b", text)}
        if len(named) >= LIST_OF_OPS and name not in NOT_FOR_A_NEW_OP:
            for op in named:
                found[op].add(name)
    return found


@pytest.mark.parametrize("op", ops(), ids=lambda p: p.name)
def test_an_op_costs_few_files(op: Path) -> None:
    """docs/adding-an-op.md has the list: the op's own files, and those that list ops by name."""
    files = files_of_ops()[op.name]
    assert len(files) >= 5, f"only {sorted(files)} belong to {op.name}"
    assert len(files) <= MAX_OP_FILES, f"{op.name} is in {len(files)} files: {sorted(files)}"


def test_lists_of_ops_come_from_the_folders() -> None:
    """The only list by hand is the public API."""
    own = set().union(*(own_files(op.name, tracked("motive_kernels", "csrc", "tests")) for op in ops()))
    assert set().union(*files_of_ops().values()) - own <= {"motive_kernels/__init__.py"}
    for name in NOT_FOR_A_NEW_OP:
        assert (ROOT / name).is_file(), f"{name} has gone; remove it here"
