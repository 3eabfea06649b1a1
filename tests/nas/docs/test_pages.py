"""README and the manual: links lead somewhere, and commands can be read."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest

import nas.cli.run_command
from nas.bench import BENCHES
from nas.cli.commands import COMMANDS
from nas.cli.find_recipe import in_recipe_file, recipe_named, recipes
from nas.data.images import Images
from nas.run import Run
from tests.nas.docs.shown import MANUAL, PAGES, ROOT, commands

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
RUN = re.compile(r"runs/out/(\w+)-[\w-]*seed0")
EXAMPLES = "the program's own examples"
WITH_COMMANDS = [*(name for name, page in PAGES.items() if commands(page)), EXAMPLES]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = PAGES[name]
    for file, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = page.parent / file if file else page
        assert target.is_file(), file
        slugs = [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in HEADING.findall(target.read_text())]
        assert not anchor or anchor in slugs, anchor


def test_each_page_is_in_the_table_of_contents():
    listed = re.findall(r": (\S+\.md)$", (MANUAL.parent / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(MANUAL)) for page in MANUAL.rglob("*.md"))


def test_commands_and_their_recipes_exist():
    for page in PAGES.values():
        for word, *rest in commands(page):
            assert word in COMMANDS
            if COMMANDS[word].subject.startswith("RECIPE"):
                assert in_recipe_file(rest[0]) or rest[0] in recipes() or word in ("ablate", "tabulate"), rest[0]


class Begun(Exception):
    """A command has read all that its line says, and begins to work."""


def begin(*_: object, **__: object) -> None:
    raise Begun


@pytest.fixture
def reading(monkeypatch, tmp_path) -> Path:
    """A folder in which commands stop where they would begin to work; runs that they name are there, and empty."""
    for name in ("evaluate.evaluate_other", "data.data_set", "show.show", "compare.compare", "reproduce.Reproduction"):
        monkeypatch.setattr(f"nas.cli.{name}", begin)
    monkeypatch.setattr("nas.cli.cost.costs", begin)
    monkeypatch.setattr("nas.cli.reproduce.untrained", begin)
    monkeypatch.setattr("nas.cli.runs.list_runs", begin)
    monkeypatch.setattr("nas.training.track.import_module", lambda name: None)
    monkeypatch.setattr("nas.stages.tune.Tuner", begin)
    monkeypatch.setattr("nas.stages.serve.serve", begin)
    monkeypatch.setattr("nas.cli.ablate.Ablation", begin)
    monkeypatch.setattr("nas.cli.tabulate.Tabulation", begin)
    monkeypatch.setattr("nas.cli.tabulate._show_plan", begin)
    for engine in ("on_submitit", "on_ray"):
        monkeypatch.setattr(f"nas.cli.submit.{engine}.start", begin)
    monkeypatch.setattr("nas.cli.completion.script", begin)
    for name in ("features.check_new", "find.check_new", "match.check_new", "verify.check_images"):
        monkeypatch.setattr(f"nas.cli.{name}", begin)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/studies").symlink_to(ROOT / "runs/studies")
    monkeypatch.setattr("nas.tasks.person_search.table.TableOfCrops.made", begin)
    monkeypatch.setattr("nas.cli.identity_table._network", lambda path: (path, Images(height=256, width=128)))
    monkeypatch.setattr("nas.cli.run_command.entry_run", lambda run, *_: run)
    monkeypatch.setattr(Run, "open", staticmethod(lambda folder: Run(folder, *recipe_named(RUN.match(str(folder))[1]))))
    monkeypatch.setattr(Run, "architecture", lambda _: None)
    for name, bench in BENCHES.items():
        monkeypatch.setitem(BENCHES, name, functools.wraps(bench)(lambda **_: begin()))
    for word in ("teach", "search", "pretrain", "retrain", "evaluate", "draw", "export", "report", "run"):
        monkeypatch.setattr(
            f"nas.cli.{word}.run_command", functools.partial(run_nothing, nas.cli.run_command.run_command)
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_nothing(run_command: Callable[..., int], word: str, arguments: list[str], _: object, *options: type) -> int:
    return run_command(word, arguments, begin, *options)


@pytest.mark.medium
@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_can_be_read(name, reading):
    examples = [command.example.split()[1:] for command in COMMANDS.values()]
    for word, *rest in examples if name == EXAMPLES else commands(PAGES[name]):
        if word == "recipes" or in_recipe_file(rest[0]):
            continue
        for argument in rest:
            if RUN.match(argument) and not Path(argument).suffix:
                Path(argument).mkdir(parents=True, exist_ok=True)
            elif argument == "t.safetensors" or "tuned.json" in argument:
                Path(argument).parent.mkdir(parents=True, exist_ok=True)
                Path(argument).write_text('{"format": 1, "changes": {}}')
        with pytest.raises(Begun):
            resolve_name(f"nas.cli.{word.replace('-', '_')}:main")(rest)
