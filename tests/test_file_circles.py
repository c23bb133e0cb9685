"""No two files import each other, directly or through others."""

from __future__ import annotations

import ast

from tests.test_boundaries import PYTHON, ROOT, module_of, parse


def imports_of_files() -> dict[str, set[str]]:
    """Module -> the modules that its file names in imports, at its top, in a function or for a type checker alone."""
    modules = {module_of(path): path for path in PYTHON}
    found = {}
    for module, path in modules.items():
        named = set()
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{path.relative_to(ROOT)} has a relative import"
                for whole in (f"{node.module}.{alias.name}" for alias in node.names):
                    named.add(whole if whole in modules else node.module)
        found[module] = (named & set(modules)) - {module}
    return found


def test_files_have_no_circle() -> None:
    left = imports_of_files()
    while left:
        free = {module for module, to in left.items() if not to & set(left)}
        assert free, f"a circle of imports among {sorted(left)}"
        left = {module: to for module, to in left.items() if module not in free}
