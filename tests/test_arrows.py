"""Imports go one way: runs -> nas -> {teachers, students} -> search_spaces, and a strategy sees its space alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("search_spaces", "teachers", "students", "nas", "runs")
ALLOWED = {
    "search_spaces": ("search_spaces",),
    "teachers": ("teachers", "search_spaces"),
    "students": ("students", "search_spaces"),
    "nas/strategies": ("nas.strategies", "nas.training.optimisers", "nas.system.files", "search_spaces"),
    "nas/data": ("nas.data", "nas.system.files", "nas.errors"),
    "nas/metrics": ("nas.metrics",),
    "nas": ("nas", "teachers", "students", "search_spaces"),
    "runs": FOLDERS,
}
"""For each folder what its files may import from this project; the first that fits holds."""
FILES = [
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.stat().st_size and "out" not in path.relative_to(ROOT).parts
]


def imported(tree: ast.Module) -> set[str]:
    """Modules of this project that a file imports; of `from a import b` both `a.b` and thereby `a`."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), "imports are absolute here"
    names = {
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in nodes
        for alias in node.names
    }
    return {name for name in names if name.partition(".")[0] in FOLDERS}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_one_way(path):
    may = next(allowed for folder, allowed in ALLOWED.items() if path.is_relative_to(folder))
    wrong = [
        name
        for name in imported(ast.parse((ROOT / path).read_text()))
        if not any(f"{name}.".startswith(f"{allowed}.") for allowed in may)
    ]
    assert not wrong, f"{path} imports {', '.join(sorted(wrong))}; of this project it may import {', '.join(may)}"


def test_every_folder_is_looked_at():
    assert {path.parts[0] for path in FILES} == set(FOLDERS)
    assert Path("nas/strategies/darts.py") in FILES
