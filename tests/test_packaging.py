"""The wheel holds every module and page of the five folders and nothing else; the citation names its version."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import nas

ROOT = Path(__file__).parent.parent
FOLDERS = ("nas", "search_spaces", "students", "teachers", "runs")
PACKAGED = {".py", ".html", ".css", ".bash", ".typed", ".js"}
VENDOR = Path("nas/report/vendor")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with a package that no list names and results that hold a module."""
    copy = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "out"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("nas/new/deep/__init__.py", "nas/new/page.html", "runs/out/demo/recipe.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path) -> set[str]:
    """The names of the files in the wheel, without what says which wheel it is."""
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True)
    (built,) = (source / "dist").glob("*.whl")
    with ZipFile(built) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def test_it_holds_every_module_and_page_and_nothing_else(source: Path, wheel: set[str]):
    files = [path.relative_to(source) for folder in FOLDERS for path in (source / folder).rglob("*.*")]
    packed = [path for path in files if path.suffix in PACKAGED or path.is_relative_to(VENDOR)]
    expected = {str(path) for path in packed if not path.is_relative_to("runs/out")}
    assert wheel == expected


def test_a_new_package_comes_in_by_itself_and_results_stay_out(wheel: set[str]):
    assert {"nas/new/deep/__init__.py", "nas/new/page.html", "nas/py.typed", "nas/report/page.css"} <= wheel
    assert not any(name.startswith(("tests/", "runs/out/")) for name in wheel)


def test_the_package_and_the_citation_are_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE) == [version]
    assert nas.__version__ == version
