"""Stages that start again: what was finished stays until its successor is, whatever ends the process."""

import json
import multiprocessing
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.find_recipe import recipe_named
from nas.run import COMMANDS, RESULTS, STAGES_OF, Run, has_begun
from nas.stages.again import AGAIN, started
from nas.system.config import apply_overrides
from nas.system.files import digest
from nas.system.handover import LIST, READY, finish_handover, hand_over
from nas.system.run_config import read_config


def toy(epochs: int = 2):
    recipe = recipe_named("toy")[1]
    return replace(recipe, retrain=replace(recipe.retrain, epochs=epochs))


def do(run: Run, stage: str, text: str, finished: bool = True) -> None:
    """What a stage leaves, in short."""
    run.begin(stage)
    for name in (f"{stage}.history.jsonl", f"tensorboard/{stage}/events", *([RESULTS[stage]] if finished else [])):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_text(text)
    if not finished:
        (run.folder / f"{stage}.journal").write_text(text)


@pytest.fixture
def run(tmp_path) -> Run:
    """A finished run."""
    run = Run(tmp_path / "run", "toy", toy(), "run")
    for stage in RESULTS:
        do(run, stage, f"old {stage}")
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and AGAIN not in str(path.relative_to(folder))
    }


def longer(run: Run, command: str = "retrain") -> Run:
    return replace(run, recipe=toy(9), command=command)


class TestAttempt:
    def test_the_new_takes_the_place_of_the_old_at_the_end(self, run):
        before = content(run.folder)
        with started(longer(run), ["retrain"], True) as attempt:
            assert (attempt.folder / RESULTS["teach"]).read_text() == "old teach"
            do(attempt, "retrain", "new")
            assert content(run.folder) == before
        after = content(run.folder)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed == {
            "student.safetensors",
            "retrain.history.jsonl",
            str(Path("tensorboard", "retrain", "events")),
            "config.json",
        }
        assert Run.open(run.folder).recipe == toy(9) and not (run.folder / AGAIN).exists()
        assert read_config(run.folder)["stages"]["baseline"]["retrain"]["epochs"] == 2

    def test_results_that_are_of_the_former_student_are_said(self, run):
        students = {RESULTS["retrain"]: digest(run.folder / RESULTS["retrain"])}
        (run.folder / "metrics.json").write_text(json.dumps({"measured": students}))
        said = pytest.warns(UserWarning, match=r"earlier student.safetensors: `nas evaluate")
        with said, started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "new")

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RuntimeError])
    def test_what_fails_before_it_has_saved_anything_leaves_nothing(self, run, error):
        before = content(run.folder)
        with pytest.raises(error), started(longer(run), ["retrain"], True) as attempt:
            attempt.begin("retrain")
            raise error("CUT.pth is damaged")
        assert content(run.folder) == before and not (run.folder / AGAIN).exists()

    def test_what_is_killed_goes_on_with_the_same_call(self, run):
        with pytest.raises(KeyboardInterrupt), started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "half", finished=False)
            raise KeyboardInterrupt
        with started(longer(run), ["retrain"], True) as attempt:
            assert (attempt.folder / "retrain.journal").read_text() == "half"
            do(attempt, "retrain", "whole")
        assert (run.folder / RESULTS["retrain"]).read_text() == "whole"

    @pytest.mark.filterwarnings("ignore:.*is of another attempt")
    @pytest.mark.parametrize("change", ["configuration", "teacher"])
    def test_another_attempt_begins_afresh(self, run, change):
        with pytest.raises(KeyboardInterrupt), started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "half", finished=False)
            raise KeyboardInterrupt
        if change == "teacher":
            (run.folder / RESULTS["teach"]).write_text("another")
        with started(longer(run) if change == "teacher" else run, ["retrain"], True) as attempt:
            assert not has_begun(attempt.folder, "retrain")
            assert (attempt.folder / RESULTS["teach"]).read_bytes() == (run.folder / RESULTS["teach"]).read_bytes()

    def test_the_plain_command_says_that_there_is_one(self, run):
        with pytest.raises(KeyboardInterrupt), started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "half", finished=False)
            raise KeyboardInterrupt
        with pytest.warns(UserWarning, match="holds retrain, started again and not ended"):  # noqa: SIM117
            with started(run, ["retrain"]) as plain:
                assert plain.folder == run.folder

    def test_what_cannot_go_on_says_how_to_start_afresh(self, run):
        message = "the journal is torn; without .*again, .* it starts afresh"
        with pytest.raises(ValueError, match=message), started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "half", finished=False)
            raise ValueError("the journal is torn")

    def test_a_folder_without_links_is_copied(self, run, monkeypatch):
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError))
        with started(longer(run), ["retrain"], True) as attempt:
            do(attempt, "retrain", "new")
        assert (run.folder / RESULTS["teach"]).read_text() == "old teach"

    def test_in_a_new_folder_nothing_starts_again(self, tmp_path):
        run = Run(tmp_path / "new", "toy", toy(), "run")
        with started(run, run.stages("run"), True) as plain:
            assert plain == run


class TestWhatIsKept:
    def test_the_configuration_of_a_stage_that_cannot_begin_is_not(self, run):
        (run.folder / RESULTS["retrain"]).unlink()
        (run.folder / "retrain.history.jsonl").unlink()
        before = (run.folder / "config.json").read_bytes()
        with pytest.raises(ValueError, match="bad"), started(longer(run), ["retrain"]) as plain:
            plain.begin("retrain")
            raise ValueError("bad")
        assert (run.folder / "config.json").read_bytes() == before

    def test_a_new_folder_is_not(self, tmp_path):
        run = Run(tmp_path / "new", "toy", toy(), "run")
        with pytest.raises(ValueError, match="bad"), started(run, ["teach"]) as plain:
            plain.begin("teach")
            raise ValueError("bad")
        assert not run.folder.exists()


class TestAdvice:
    """What a refusal advises is what works."""

    CHANGES = {
        "seed": lambda recipe: replace(recipe, seed=5),
        "teacher": lambda recipe: apply_overrides(recipe, {"teacher.training.epochs": 9}),
        "search": lambda recipe: replace(recipe, search=replace(recipe.search, split="identity")),
        "retrain": lambda recipe: replace(recipe, retrain=replace(recipe.retrain, epochs=9)),
        "baseline": lambda recipe: replace(recipe, baseline=replace(recipe.baseline, embedding_dim=16)),
    }

    REFUSED_BY = {
        "seed": {"teach", "search", "pretrain", "retrain", "run"}, "teacher": {"teach", "run"},
        "search": {"search", "run"}, "retrain": {"retrain", "run"}, "baseline": {"retrain", "run"},
    }  # fmt: skip

    @pytest.mark.parametrize("command", STAGES_OF)
    @pytest.mark.parametrize("field", CHANGES)
    def test_it_is_accepted_and_no_narrower_one_is(self, run, command, field):
        changed = replace(run, recipe=self.CHANGES[field](run.recipe), command=command)
        stages = changed.stages(command)
        if command not in self.REFUSED_BY[field]:
            changed.check(*stages)
            return
        with pytest.raises(ValueError, match="holds this stage") as refusal:
            changed.check(*stages)
        advice = re.search(rf"`nas {command} \.\.\. --overwrite ?(\S*)` to start it again", str(refusal.value))
        names = advice[1].split(",") if advice[1] else stages
        for name in names:
            narrower = [each for each in names if each != name]
            with pytest.raises(ValueError, match="another folder"), started(changed, stages, narrower):
                pass
        with started(changed, stages, names) as attempt:
            for stage in names:
                do(attempt, stage, "new")
        assert {stage for stage in RESULTS if (run.folder / RESULTS[stage]).read_text() == "new"} == set(names)

    @pytest.mark.parametrize(("named", "needed"), [("teach", "teach,search,retrain"), ("search", "search,retrain")])
    def test_what_is_made_of_a_stage_must_be_named_with_it(self, run, named, needed):
        stages = run.stages("run")
        with pytest.raises(ValueError, match=f"give --overwrite {needed}, or"), started(run, stages, [named]):
            pass
        with started(run, stages, needed.split(",")) as attempt:
            assert attempt.folder == run.folder / AGAIN

    def test_a_stage_that_the_recipe_lacks_is_named(self, run):
        without = replace(run, recipe=replace(run.recipe, baseline=None))
        message, stages = "teach, search, retrain, not 'baseline'", without.stages("run")
        with pytest.raises(ValueError, match=message), started(without, stages, ["baseline"]):
            pass

    def test_each_stage_has_a_command_of_its_own(self):
        own = {stage: stage for stage in ("teach", "search", "pretrain")}
        assert {**own, **dict.fromkeys(STAGES_OF["retrain"], "retrain")} == COMMANDS


class TestHandover:
    NAMES = ("a", "b", "folder", "metrics.json", "tensorboard/x")

    def made(self, folder: Path, text: str) -> Path:
        for name in self.NAMES:
            path = folder / name / "file" if name in ("folder", "tensorboard/x") else folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    @pytest.mark.parametrize("survived", range(9))
    def test_a_kill_anywhere_leaves_old_or_new_and_the_next_one_ends_it(self, tmp_path, monkeypatch, survived):
        folder = self.made(tmp_path / "run", "old")
        (folder / "stale").write_text("old")
        source = self.made(folder / "side", "new")
        moved, replace_path = [], Path.replace

        def counted(self, target):
            if len(moved) == survived:
                raise KeyboardInterrupt
            moved.append(self)
            return replace_path(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", counted)
            try:
                hand_over(source, folder, ["stale"], gate="metrics.json")
            except KeyboardInterrupt:
                gate = folder / "metrics.json"
                texts = {(folder / name).read_text() for name in ("a", "b")}
                assert not gate.exists() or texts == {gate.read_text()}, "a gate says that all is there"
        finish_handover(folder)
        side = source.exists()
        assert {path.read_text() for path in folder.rglob("*") if path.is_file() and source not in path.parents} == (
            {"old"} if side else {"new"}
        )
        assert not (folder / READY).exists() and (folder / "stale").exists() == side

    @pytest.mark.parametrize("name", ["../precious", "", ".", "a/../../precious", "/tmp/precious", "link/precious"])
    @pytest.mark.parametrize("what", ["moves", "removes"])
    def test_a_strangers_list_reaches_nothing_outside(self, tmp_path, name, what):
        (tmp_path / "precious").write_text("precious")
        ready = tmp_path / "run" / READY
        ready.mkdir(parents=True)
        (tmp_path / "run" / "link").symlink_to(tmp_path)
        (ready / LIST).write_text(json.dumps({"moves": [], "removes": [], what: [name]}))
        with pytest.raises(ValueError, match="must name places in"):
            finish_handover(tmp_path / "run")
        assert (tmp_path / "precious").read_text() == "precious"


def test_several_that_take_part_end_with_one_result(run):
    """The one that is ready first waits for the other, and the other finds it done."""
    fork = multiprocessing.get_context("fork")
    inside, ready = fork.Event(), fork.Event()

    def other() -> None:
        with started(longer(run), ["retrain"], True) as attempt:
            inside.set()
            ready.wait(20)
            do(attempt, "retrain", "new")

    process = fork.Process(target=other)
    process.start()
    assert inside.wait(20)
    with started(longer(run), ["retrain"], True) as attempt:
        do(attempt, "retrain", "new")
        ready.set()
    process.join()
    assert process.exitcode == 0 and (run.folder / RESULTS["retrain"]).read_text() == "new"
    assert not (run.folder / AGAIN).exists()
