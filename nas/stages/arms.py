"""A study whose trials are runs of arms: what `nas ablate` and `nas tabulate` share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from optuna import Trial
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from nas.recipe import Recipe
from nas.run import RESULTS, Run, decided
from nas.stages.search import check_search
from nas.stages.teach import teach_once
from nas.study.engine import Engine, Outcome, Plan
from nas.study.place import Place
from nas.study.progress import watching
from nas.study.storage import join_study, open_storage, reached, retry
from nas.study.watch import note_study
from nas.system.config import portable, training_key
from nas.system.progress import clock, tell
from search_spaces.ranges import Name, Ranged

STUDENT = "student"
MOST_SEEDS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Arm(Ranged):
    """One way to do it: a recipe under a name of its own."""

    name: Name
    """What contrasts and tables call it."""
    recipe_name: Name
    """What `nas recipes` calls its recipe."""
    recipe: Recipe

    @property
    def roles(self) -> list[str]:
        """The networks that a run of it ends with, beside a teacher."""
        baseline = ["baseline"] * (self.recipe.baseline is not None)
        return [STUDENT, *baseline, *self.recipe.controls]


def check_arms(arms: Sequence[Arm]) -> None:
    """Raises ValueError for two arms of one name, for two that do not differ, and for such as cannot be paired by their
    seeds."""
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two arms are called {twice[0]!r}: give each a name of its own")
    by_recipe: dict[str, str] = {}
    for arm in arms:
        key = training_key(replace(arm.recipe, machine=arms[0].recipe.machine))
        same = by_recipe.setdefault(key, arm.name)
        if same != arm.name:
            raise ValueError(f"the arms {same!r} and {arm.name!r} do not differ: take one out, or change one")
    for name in ("seed", "data", "images", "evaluation"):
        values = {str(portable(getattr(arm.recipe, name))): arm.name for arm in arms}
        if len(values) > 1:
            raise ValueError(
                f"arms are paired by seed, on the same images and queries, and {' and '.join(values.values())} "
                f"differ in {name}: give all arms the same"
            )


class ArmStudy(ABC):
    """A study of arms and seeds: what its workers share, and the work of one of them."""

    word: ClassVar[str]
    """The command that works at it."""

    def __init__(self, arms: Sequence[Arm], place: Place, num_trials: int, facts: Mapping[str, Any]) -> None:
        """Joins the study, or begins it. `facts`: what it is about, beside its arms.

        Raises ValueError before anything is written for what cannot be run.
        """
        self.arms, self.place = {arm.name: arm for arm in arms}, place
        for arm in arms:
            _check(arm)
        machine = arms[0].recipe.machine
        about = {arm.name: portable(replace(arm.recipe, machine=machine)) for arm in arms}
        self.storage = open_storage(place.address)
        with reached(self.place.address):
            self.study = join_study(
                self.storage,
                place.address,
                place.name,
                {"arms": about, **facts},
                ["maximize"],
                RandomSampler(seed=0),
                NopPruner(),
            )
            self.engine = Engine(self.study, self.storage, self.plan, num_trials, place.grace_s)
        note_study(place, self.word, num_trials)

    @abstractmethod
    def plan(self, number: int, ended: Sequence[FrozenTrial]) -> Plan:
        """The arm and the seed of a trial, as its parameters `arm` and `seed`."""

    @abstractmethod
    def run(self, trial: Trial, arm: Arm, seed: int) -> Outcome:
        """Works at a trial."""

    @abstractmethod
    def name_of(self, trial: FrozenTrial) -> str:
        """What a line says that has ended."""

    def work(self) -> None:
        """Takes part until every arm has all of its seeds."""
        with reached(self.place.address):
            if not self.engine.is_over:
                for arm in self.arms.values():
                    self._teach(arm)
                self.engine.work(self._run)

    @contextmanager
    def telling(self, also: Callable[[], object] = lambda: None) -> Iterator[None]:
        """While inside, each trial that ends is said in a line, whoever worked at it; its result is not. `also` is
        called behind the lines."""
        told = {trial.number for trial in self.engine.ended}

        def say() -> None:
            ended = self.engine.ended
            new = [trial for trial in ended if trial.number not in told]
            for trial in new:
                told.add(trial.number)
                tell(self._line(trial, ended), self.place.folder)
            if new:
                also()

        with watching(say, self.place.address):
            yield

    def recipe(self, arm: Arm, seed: int) -> Recipe:
        """The arm's recipe of one seed, with the teacher that its seeds share."""
        teacher = arm.recipe.teacher
        if teacher is not None and teacher.weights is None:
            teacher = replace(teacher, weights=self._teacher_folder(arm) / RESULTS["teach"], members=())
        return replace(arm.recipe, seed=seed, teacher=teacher)

    def diverged(self) -> list[FrozenTrial]:
        """The trials whose training diverged, each with its reason as the attribute `why`."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [trial for trial in trials if "why" in trial.user_attrs]

    def _run(self, trial: Trial) -> Outcome:
        name = retry(lambda: trial.suggest_categorical("arm", list(self.arms)))
        seed = retry(lambda: trial.suggest_int("seed", 0, MOST_SEEDS))
        return self.run(trial, self.arms[name], seed)

    def _teach(self, arm: Arm) -> None:
        """One teacher, of the first seed, for all seeds and all arms that have the same."""
        if arm.recipe.teacher is not None and arm.recipe.teacher.weights is None:
            teach_once(Run(self._teacher_folder(arm), arm.recipe_name, arm.recipe))

    def _teacher_folder(self, arm: Arm) -> Path:
        return self.place.folder / f"teacher-{decided(arm.recipe, 'teach')[:8]}"

    def _line(self, trial: FrozenTrial, ended: Sequence[FrozenTrial]) -> str:
        took = [
            (each.datetime_complete - each.datetime_start).total_seconds()
            for each in ended
            if each.datetime_complete and each.datetime_start
        ]
        working = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        left = (self.engine.num_trials - len(ended)) * sum(took) / len(took) / max(1, len(working))
        return "  ".join(
            [
                f"{self.word} {len(ended)}/{self.engine.num_trials}",
                self.name_of(trial),
                f"{took[ended.index(trial)] / 60:.1f} min",
                f"eta {clock(left)}",
            ]
        )


def student_value(metrics: Mapping[str, Any]) -> float:
    """The student's mAP in what an evaluation has measured."""
    return next(row["mAP"] for row in metrics["rows"] if row["role"] == STUDENT)


def _check(arm: Arm) -> None:
    """Raises ValueError naming the arm for what its run would end with after hours."""
    recipe = arm.recipe
    try:
        recipe.machine.check_alone()
        if recipe.strategy is not None and recipe.architecture is None:
            check_search(recipe)
        recipe.load()
    except ValueError as error:
        raise ValueError(f"the arm {arm.name!r}: {error}") from error
