import json
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nas.losses.kd import KDLoss
from nas.system import plugins

OWN = """
from dataclasses import dataclass
from nas.losses.kd import KDLoss

@dataclass(frozen=True, kw_only=True)
class MyLoss(KDLoss):
    share: float = 0.5
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that has run no file, of a user who trusts none."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    plugins.load_packages.cache_clear()


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def written(path: Path) -> list[dict]:
    """What a configuration with a loss of the file names, in a process that has not run it."""
    found = plugins.sources((KDLoss(), plugins.load(path).MyLoss()))
    plugins._loaded.clear()
    return json.loads(json.dumps(found))


def test_a_trusted_file_is_run_again(own):
    sources = written(own)
    assert [source["classes"] for source in sources] == [["MyLoss"]] and sources[0]["file"] == str(own)
    plugins.load_sources(Path("config.json"), sources)
    assert plugins.loaded() == [own]


def test_the_toolkits_own_classes_need_no_file():
    assert plugins.sources((KDLoss(), [KDLoss()], 3)) == []


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        (lambda own: own.write_text(OWN + "\n"), r"has changed since: .*--plugin \S+own\.py"),
        (lambda own: own.unlink(), "is not there: .*--plugin FILE"),
        (lambda own: os.environ.update(XDG_CONFIG_HOME="elsewhere"), "no command of yours has named yet"),
    ],
)
def test_any_other_file_is_refused_in_one_line(own, meanwhile, why):
    sources = written(own)
    meanwhile(own)
    with pytest.raises(ValueError, match=rf"config\.json has classes \(MyLoss\) of \S+own\.py, which {why}") as refused:
        plugins.load_sources(Path("config.json"), sources)
    assert plugins.loaded() == [] and "\n" not in str(refused.value)


def test_a_file_that_the_command_names_stands_in_for_it(own, tmp_path):
    sources = written(own)
    moved = own.rename(tmp_path / "moved.py")
    plugins.load(moved)
    plugins.load_sources(Path("config.json"), sources)
    assert plugins.loaded() == [moved]


def test_one_without_the_class_does_not(own, tmp_path):
    sources = written(own)
    own.unlink()
    (tmp_path / "other.py").write_text("MyLoss = 3")
    plugins.load(tmp_path / "other.py")
    with pytest.raises(ValueError, match="is not there"):
        plugins.load_sources(Path("config.json"), sources)


def test_a_file_that_stays_as_it_is_is_run_once(own):
    first = plugins.load(own)
    assert plugins.load(own) is first
    own.write_text(f"{OWN}\n# changed")
    assert plugins.load(own) is not first


def test_two_files_of_one_name_are_two_modules(own, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "own.py").write_text(OWN)
    modules = [plugins.load(own), plugins.load(tmp_path / "b" / "own.py")]
    assert len({module.__name__ for module in modules}) == 2
    assert all(sys.modules[module.__name__] is module for module in modules)


def test_no_compiled_file_is_run(own):
    import py_compile

    compiled = py_compile.compile(str(own), doraise=True)
    harmful = own.with_name("harmful.py")
    harmful.write_text(OWN.replace("0.5", "9.5"))
    stat = own.stat()
    os.utime(harmful, (stat.st_atime, stat.st_mtime))
    py_compile.compile(str(harmful), cfile=compiled, doraise=True)
    assert plugins.load(own).MyLoss().share == 0.5


def test_a_list_that_cannot_be_written_is_said(own, tmp_path, capsys):
    (tmp_path / "config").write_text("a file")
    assert plugins.load(own).MyLoss().share == 0.5
    said = capsys.readouterr().err
    assert said.startswith("nas: cannot note that you trust") and "--plugin" in said


def test_a_user_without_a_home_has_no_list(own, monkeypatch, capsys):
    monkeypatch.delenv("XDG_CONFIG_HOME")

    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    sources = written(own)
    assert "cannot note" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no command of yours"):
        plugins.load_sources(Path("config.json"), sources)


class TestPackages:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        (tmp_path / "somebodys").mkdir()
        (tmp_path / "somebodys" / "losses.py").write_text(OWN)
        monkeypatch.syspath_prepend(tmp_path)
        entries = [EntryPoint("mine", "somebodys.losses", plugins.GROUP)]
        monkeypatch.setattr(plugins, "_entries", lambda: entries)
        yield entries
        for name in ("somebodys", "somebodys.losses"):
            sys.modules.pop(name, None)

    def test_what_an_entry_point_names_is_imported(self, package):
        assert "somebodys.losses" not in sys.modules
        plugins.load_packages()
        sources = plugins.sources(sys.modules["somebodys.losses"].MyLoss())
        assert sources == [{"module": "somebodys.losses", "classes": ["MyLoss"]}]
        plugins.load_sources(Path("config.json"), sources)

    def test_no_name_in_a_configuration_imports_a_module(self, package):
        package.clear()
        with pytest.raises(ValueError, match=r"of the module somebodys\.losses, which no installed package names"):
            plugins.load_sources(Path("config.json"), [{"module": "somebodys.losses", "classes": ["MyLoss"]}])
        assert "somebodys.losses" not in sys.modules
