"""Imports go one way: each room names the rooms it may import. An import by name, a program started in a process of its
own and an import for its side effect count as well."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("search_spaces", "students", "teachers", "nas", "runs")
GROUND = ("nas.errors", "search_spaces.ranges", "nas.system")
LEARNING = ("nas.losses", "nas.models", "nas.training")
NETWORKS = ("search_spaces", "students", "teachers")
ALLOWED = {
    "nas/__init__.py": (),
    "nas/__main__.py": ("nas.cli",),
    "search_spaces": (),
    "students": ("search_spaces",),
    "teachers": ("search_spaces", "students"),
    "nas/errors.py": (),
    "nas/system": ("nas.errors", "search_spaces.ranges"),
    "nas/metrics": ("search_spaces.ranges",),
    "nas/data": GROUND,
    "nas/report": (*GROUND, "nas.data", "nas.metrics"),
    "nas/models": (*GROUND, "nas.data", *NETWORKS),
    "nas/losses": (*GROUND, "nas.data", "students", "teachers"),
    "nas/training": (*GROUND, "nas.data", "nas.losses", "nas.models", *NETWORKS),
    "nas/strategies/settings.py": ("search_spaces.ranges", "nas.data", "nas.losses.base", "nas.system.config"),
    "nas/strategies": (*GROUND, "nas.metrics", "nas.training", "nas.losses.base", "search_spaces"),
    "nas/tasks": (*GROUND, "nas.data", "nas.metrics", "nas.report", *LEARNING, *NETWORKS),
    "nas/bench": (
        *(*GROUND, "nas.data", "nas.metrics", "nas.report", *LEARNING, "nas.strategies", "nas.study", "nas.tasks"),
        *NETWORKS,
    ),
    "nas/recipe.py": (*GROUND, "nas.data", *LEARNING, "nas.strategies", "nas.tasks", *NETWORKS),
    "nas/run.py": (*GROUND, "nas.recipe", "nas.training", "search_spaces"),
    "nas/study": (
        *GROUND,
        "nas.data",
        "nas.metrics",
        "nas.report",
        *LEARNING,
        "nas.recipe",
        "nas.strategies",
        "nas.tasks.base",
        *NETWORKS,
    ),
    "nas/stages": (
        *(*GROUND, "nas.data", "nas.metrics", "nas.report", *LEARNING, "nas.recipe", "nas.run", "nas.strategies"),
        *("nas.study", "nas.tasks.base", *NETWORKS),
    ),
    "nas/cli": ("nas", "runs", *NETWORKS),
    "runs": (*GROUND, "nas.data", *LEARNING, "nas.recipe", "nas.strategies", "nas.study", "nas.tasks", *NETWORKS),
}
"""For each room what its files may import from this project besides the room itself; the first that fits holds."""
FILES = [
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.stat().st_size and "out" not in path.relative_to(ROOT).parts
]
NAMED = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:\.[a-z_0-9]+)*:\w+")
MODULE = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:\.[a-z_0-9]+)*")


def imported(tree: ast.Module) -> set[str]:
    """Modules of this project that a file imports, in whatever way; of `from a import b` `a.b` and thereby `a`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=module, names=names, level=level):
                assert not level, "imports are absolute here"
                found |= {f"{module}.{alias.name}" for alias in names}
            case ast.Call() if is_import(node):
                found |= {text for text in map(text_of, node.args) if text and MODULE.match(text)}
            case ast.Constant(value=str(text)) if NAMED.fullmatch(
                text
            ):  # "nas.cli.teach:main", as resolve_name takes it
                found.add(text.partition(":")[0])
            case ast.List() | ast.Tuple():  # a command line: [sys.executable, "-m", "nas.cli.main"]
                words = [text_of(item) for item in node.elts]
                found |= {word for flag, word in pairwise(words) if flag == "-m" and word}
    return {name for name in found if name.partition(".")[0] in FOLDERS}


def is_import(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in ("import_module", "__import__", "find_spec", "run_module")


def text_of(node: ast.expr) -> str:
    """A text as far as it is written there: of f"{a}.b" nothing, of f"a.{b}" what stands in front of `.{b}`."""
    if isinstance(node, ast.JoinedStr):
        return text_of(node.values[0]).rstrip(".") if node.values else ""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def room_of(path: Path) -> str:
    return next(room for room in ALLOWED if path.is_relative_to(room))


def is_allowed(name: str, room: str) -> bool:
    own = room.removesuffix(".py").replace("/", ".")
    return any(f"{name}.".startswith(f"{other}.") for other in (own, *ALLOWED[room]))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_one_way(path):
    room = room_of(path)
    wrong = [name for name in imported(ast.parse((ROOT / path).read_text())) if not is_allowed(name, room)]
    assert not wrong, f"{path} imports {', '.join(sorted(wrong))}; it may import {', '.join(ALLOWED[room])}"


def test_no_files_import_each_other_in_a_circle():
    arrows = {path: files_of(imported(ast.parse((ROOT / path).read_text()))) - {path} for path in FILES}
    left = dict(arrows)
    while ready := [path for path, others in left.items() if not others & left.keys()]:
        for path in ready:
            del left[path]
    assert not left, f"these import each other, or stand above such: {', '.join(map(str, left))}"


def files_of(names: set[str]) -> set[Path]:
    """The files that hold the modules, or the names in them."""
    found = set()
    for name in names:
        path = Path(*name.split("."))
        for candidate in (path, path.parent):
            held = [p for p in (candidate.with_suffix(".py"), candidate / "__init__.py") if (ROOT / p).is_file()]
            if held:
                found.add(held[0])
                break
    return found


def test_every_folder_is_looked_at():
    assert {path.parts[0] for path in FILES} == set(FOLDERS)
    assert Path("nas/strategies/darts.py") in FILES
    assert {room_of(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import nas.run", "nas.run"),
        ("from nas import run", "nas.run"),
        ("if TYPE_CHECKING:\n    from nas.run import Run", "nas.run.Run"),
        ("def f():\n    from nas.cli import main", "nas.cli.main"),
        ("importlib.import_module('runs.tables')", "runs.tables"),
        ("import_module(f'nas.strategies.nni.{name}')", "nas.strategies.nni"),
        ("subprocess.run([sys.executable, '-m', 'nas.cli.main', 'search'])", "nas.cli.main"),
        ("CALL = 'nas.cli.teach:main'", "nas.cli.teach"),
        ("import nas.recipe  # noqa: F401", "nas.recipe"),
    ],
)
def test_every_way_to_import_is_seen(code, seen):
    assert imported(ast.parse(code)) == {seen}
