"""Whatever step of whatever stage of person search a process is killed at, the same command goes on to the bit."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from safetensors.torch import load_file

from nas.cli.main import main
from nas.system.weights import load_state

OWN = """
from dataclasses import replace
from nas.data.sampling import QueryPairs
from nas.losses.oim import OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from nas.recipe import Recipe
from nas.strategies.darts import DARTS
from nas.strategies.random_search import RandomSearch
from runs.recipes.person_search import toy_street
from search_spaces.cell import Cells
from students.query_guided import QueryGuided

def fixed() -> Recipe:
    '''A searched backbone with the teacher's table.'''
    recipe = toy_street()
    space = replace(recipe.space, backbone=Cells(channels=4, cells=3, reductions=(2,)))
    return replace(recipe, space=space, strategy=DARTS(epochs=2))

def own() -> Recipe:
    '''The same with a table and a queue of its own; persons without identity join the queue first.'''
    recipe = fixed()
    matching = replace(recipe.space.matching, queue_first=True, queue=5)
    return replace(recipe, space=replace(recipe.space, matching=matching), loss=OIMLoss(weight=0.6))

def trials() -> Recipe:
    '''Backbones that are tried one by one.'''
    return replace(fixed(), strategy=RandomSearch(trials=2, epochs=2), baseline=None)

def guided() -> Recipe:
    '''A query-guided network that nobody teaches, whom much is a person to.'''
    recipe = toy_street()
    space = QueryGuided(**{**vars(recipe.space), "found": replace(recipe.space.found, score=0.1)}, reduction=2)
    return replace(
        recipe,
        space=space,
        baseline=None,
        teacher=None,
        loss=QueryGuidedLoss(),
        retrain=replace(recipe.retrain, sampling=QueryPairs(batch_size=4, pairs_per_id=2), validate_every=0),
        evaluation=replace(recipe.evaluation, min_score=0.1, num_strips=1),
    )
"""
STEP, SAVED, ENDED = "nas.training.stage:Loop.add", "nas.training.stage:Loop.save", "nas.training.stage:Loop.end_epoch"
LEARNT, QUEUED = ("students.identity_table:IdentityTable." + name for name in ("update", "enqueue"))
PLACED = "pathlib:Path.replace"
FRAMES, DRAWN = "nas.tasks.person_search.found:scenes_of", "nas.tasks.person_search.measure:draw_sheets"
COMPARED, KEPT = "nas.tasks.person_search.guided:_columns", "nas.tasks.person_search.guided:_Kept.save"
"""What is counted: the process is killed when it is called."""
KILLS = {
    "teach": [(STEP, 1), (LEARNT, 3), (SAVED, 3), (QUEUED, 2), (FRAMES, 1)],
    "search": [(STEP, 3), (LEARNT, 2), (SAVED, 2), (PLACED, 2)],
    "retrain": [(STEP, 2), (QUEUED, 3), (ENDED, 1), (PLACED, 3), (STEP, 6)],
    "evaluate": [(FRAMES, 14), (DRAWN, 1), (PLACED, 12)],
}
"""For each stage the calls at which one process after the other is killed; each counts from where it goes on."""
TIMES = ("ms_per_image_1", "seconds", "timing")


def killed_at(target: str, times: int) -> None:
    """From now on this process is killed by SIGKILL when it calls `target` for that time."""
    where, _, name = target.rpartition(".") if "." in target.partition(":")[2] else target.rpartition(":")
    owner, left = resolve_name(where), [times]
    real = getattr(owner, name)

    def counted(*args, **kwargs):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def ended(words: list[str], kill: tuple[str, int] | None = None) -> int:
    """How a process of its own ends that does the command, everything being imported; below 0: by which signal."""
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if kill:
                killed_at(*kill)
            status = main(words)
        except BaseException:  # noqa: BLE001 - whatever it is, the child prints it and ends
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def done(recipe: str, folder: Path, kills: dict[str, list[tuple[str, int]]], end: Callable = ended) -> int:
    """All stages of a run, each killed at its `kills`, then brought to its `end`; how many processes were killed."""
    num_killed = 0
    for stage in ("teach", "search", "retrain", "evaluate"):
        words = [stage, recipe, "--out", str(folder)] if stage in ("teach", "search") else [stage, str(folder)]
        words += [] if stage == "evaluate" else ["--machine.checkpoint-minutes", "0"]
        words += ["--machine.device", "cpu", "--json"]
        for kill in kills.get(stage, []):
            status = ended(words, kill)
            assert status in (0, -signal.SIGKILL), (stage, kill, status)
            num_killed += status != 0
        assert end(words) == 0, stage
    return num_killed


def without_times(held: object) -> object:
    if isinstance(held, dict):
        return {name: without_times(value) for name, value in held.items() if name not in TIMES}
    return [without_times(each) for each in held] if isinstance(held, list) else held


def assert_same(one: Path, other: Path) -> None:
    """Tensors, histories and results of two runs, times apart."""
    for pattern, read in READERS.items():
        names = sorted(str(path.relative_to(one)) for path in one.glob(pattern))
        assert names == sorted(str(path.relative_to(other)) for path in other.glob(pattern))
        for name in names:
            assert read(one / name) == read(other / name), name


def tensors(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


READERS: dict[str, Callable[[Path], object]] = {
    "*.safetensors": tensors,
    "features/*": tensors,
    "queries/*": Path.read_bytes,
    "strips/*": Path.read_bytes,
    "sheets/*": Path.read_bytes,
    "architecture*.json": Path.read_bytes,
    "*.history.jsonl": lambda path: [without_times(json.loads(line)) for line in path.read_text().splitlines()],
    "metrics.json": lambda path: without_times(json.loads(path.read_text())),
}


@pytest.mark.medium
def test_a_teacher_that_is_killed_at_some_steps_is_that_of_nobody_killed(tmp_path):
    words = ["teach", "toy_street", "--machine.checkpoint-minutes", "0", "--machine.device", "cpu", "--json", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    for kill in ((LEARNT, 2), (SAVED, 1), (QUEUED, 3)):
        assert ended([*words, str(tmp_path / "killed")], kill) == -signal.SIGKILL
    assert main([*words, str(tmp_path / "killed")]) == 0
    whole, killed = (tensors(tmp_path / name / "teacher.safetensors") for name in ("whole", "killed"))
    assert whole == killed and whole.keys() >= {"identities.table", "identities.queue", "identities.pointer"}


@pytest.mark.medium
def test_a_query_guided_run_that_is_killed_at_some_steps_is_that_of_nobody_killed(tmp_path):
    (tmp_path / "recipes.py").write_text(OWN)
    words = ["run", f"{tmp_path / 'recipes.py'}:guided", "--machine.checkpoint-minutes", "0", "--machine.device", "cpu"]
    words += ["--json", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    for kill in ((LEARNT, 2), (SAVED, 1), (COMPARED, 14), (KEPT, 30), (DRAWN.replace("sheets", "strips"), 1)):
        assert ended([*words, str(tmp_path / "killed")], kill) == -signal.SIGKILL
    assert load_state(tmp_path / "killed" / "evaluate.ckpt")["parts"]["student"]["num_steps"] == 18 * 5
    assert main([*words, str(tmp_path / "killed")]) == 0
    assert_same(tmp_path / "whole", tmp_path / "killed")
    found = load_file(tmp_path / "killed" / "features" / "student.safetensors")
    assert len(found["similar"]) > 100 and not (tmp_path / "killed" / "evaluate.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stages"), [("fixed", KILLS), ("own", ["teach", "search", "retrain"]), ("trials", ["search"])]
)
def test_a_run_that_is_killed_at_many_steps_is_that_of_nobody_killed(tmp_path, name, stages):
    (tmp_path / "recipes.py").write_text(OWN)
    recipe, kills = f"{tmp_path / 'recipes.py'}:{name}", {stage: KILLS[stage] for stage in stages}
    assert done(recipe, tmp_path / "whole", {}, main) == 0  # in this process: the others need not import anything
    num_killed = done(recipe, tmp_path / "killed", kills)
    assert num_killed >= 0.8 * sum(map(len, kills.values()))
    assert_same(tmp_path / "whole", tmp_path / "killed")
    trained = [load_file(tmp_path / "killed" / f"{weights}.safetensors") for weights in ("teacher", "student")]
    is_fixed, tables = name != "own", [tensors["identities.table"] for tensors in trained]
    assert torch.equal(*tables) == is_fixed == bool(trained[1]["identities.fixed"])
    assert all(tensors["identities.queue_filled"].any() for tensors in trained)
